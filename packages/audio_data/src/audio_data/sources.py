"""Documents from other producers' files: parquet, JSONL, numpy arrays, datasets, and folders of these.

Only token ids are accepted: turning audio or text into ids is another package's work. What one record may unpack to is
bounded: a line of JSON by `MAX_LINE_BYTES`, rows of a parquet table by `MAX_ROWS_BYTES`, a `.npz` file
by `MAX_NPZ_BYTES`; a `.npy` file is read where it lies.
"""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from audio_data.arrays import load_arrays, map_array
from audio_data.dataset import TokenDataset
from audio_data.errors import InputError
from audio_data.holdouts import Holdout
from audio_data.json_files import decode_object
from audio_data.manifest import MANIFEST_NAME, Manifest
from audio_data.parquet_tables import table_batches
from audio_data.progress import Progress
from audio_data.quarantine import Budget, Quarantine
from audio_data.records import Document, encode_metadata
from audio_data.roots import find_datasets
from audio_data.seen_ids import SeenIds
from audio_data.shards import tokens_by_kind
from audio_data.storage import AnyPath, StoragePath, disk_errors, fetch, hash_file, storage_path
from audio_data.suggestions import nearest_paths
from audio_data.vocabulary import Vocabulary
from audio_data.writer import DatasetWriter, finished_dataset

MAX_LINE_BYTES = 2**26
_MASK = "loss_mask"
_ROWS_PER_BATCH = 256
_BYTES_SKIPPED = 2**16


def build_dataset(
    inputs: Sequence[AnyPath],
    vocabulary: Vocabulary,
    out: AnyPath,
    *,
    codec: Mapping[str, Any] | None = None,
    ids_column: str = "ids",
    holdout: Holdout | None = None,
    max_quarantined: Budget | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Make one dataset of other producers' files. An interrupted call, made again, goes on from the last whole shard.

    Made again when it is done, it changes nothing.

    Args:
        inputs: What `read_documents` reads, in this order.
        vocabulary: What the ids mean.
        out: Folder of the dataset, whose name becomes that of the corpus.
        codec: What is known of the codec; what datasets among the inputs state if None.
        ids_column: What the column, key or array of ids is called.
        holdout: Takes the documents of one side only; None takes all.
        max_quarantined: Most documents, as a number or as a share of all, that may be left out because they cannot be
            used; None for none at all.
        overwrite: Replace a dataset that is there.

    Returns:
        What the dataset holds.

    Raises:
        InputError: An input cannot be read, more is unusable than allowed, no document is left, or `out` cannot be
            written.
    """
    out, quarantine = storage_path(out), Quarantine(max_quarantined)
    codec = codec_of(inputs) if codec is None else codec
    described = [describe_input(path) for path in inputs]
    provenance: dict[str, Any] = {"command": "audio-data build", "inputs": described, "ids_column": ids_column}
    if holdout is not None:
        provenance["holdout"] = holdout.to_json()
    writer = DatasetWriter(
        out,
        corpus=out.name,
        vocabulary=vocabulary,
        codec=codec,
        provenance=provenance,
        overwrite=overwrite,
        quarantine=quarantine,
    )
    if not overwrite and (done := finished_dataset(out, writer.manifest)) is not None:
        return done
    with contextlib.ExitStack() as stack:
        seen = stack.enter_context(SeenIds())
        documents = itertools.chain.from_iterable(
            read_documents(path, vocabulary, ids_column=ids_column, holdout=holdout, quarantine=quarantine, seen=seen)
            for path in inputs
        )
        progress = stack.enter_context(Progress("build", None, "documents"))
        # Before the writer opens: a folder begun for nothing would have to be overwritten by the next attempt.
        first = next(documents, None)
        if first is None:
            raise _explain_nothing(inputs, holdout, quarantine)
        with writer:
            for document in itertools.chain([first], documents):
                writer.write(document)
                progress.advance()
    return writer.manifest


def read_documents(
    path: AnyPath,
    vocabulary: Vocabulary,
    *,
    ids_column: str = "ids",
    holdout: Holdout | None = None,
    quarantine: Quarantine | None = None,
    seen: SeenIds | None = None,
) -> Iterator[Document]:
    """Documents of a file or folder, in a fixed order; memory is bounded.

    - `.parquet`: a document a row, with a column of lists of ids, perhaps `loss_mask` (lists of booleans); all
      other columns are metadata.
    - `.jsonl`: a document a line, an object with the same keys.
    - `.npz`: the ids of all documents end to end, `offsets` (where each begins, and the end of the last), perhaps
      `loss_mask`; an array of one value for each document is metadata.
    - `.npy`: one row of ids; a document ends after each end of text, and at the end.
    - a dataset: its documents, whose vocabulary must be the same.
    - a folder: every such file in it by name, then every dataset below it.

    Args:
        path: The file or folder, here or on an object store.
        vocabulary: Says which id ends a text, and which ids there are.
        ids_column: What the column, key or array of ids is called.
        holdout: Takes the documents of one side only; None takes all.
        quarantine: Takes documents that cannot be used; without one, or with one that is off, the first raises.
        seen: Ids of documents that were read before, to refuse those that come again; None forgets them at the end.

    Raises:
        InputError: The file is of another kind, or a document cannot be used: no token, an id outside the vocabulary,
            metadata that is not JSON, the `id` of a document before it. The message names file and line.
    """
    if seen is None:
        with SeenIds() as seen:
            yield from read_documents(
                path, vocabulary, ids_column=ids_column, holdout=holdout, quarantine=quarantine, seen=seen
            )
        return
    quarantine = Quarantine(None) if quarantine is None else quarantine
    for source in inputs_of(path):
        for name, found in _candidates(source, vocabulary, ids_column):
            try:
                document = _checked(found, vocabulary, seen)
                taken = holdout is None or holdout.keeps(document)
            except InputError as error:
                quarantine.add(name, f"{name}: {error.message}")
                continue
            if taken:
                yield document


def inputs_of(path: AnyPath) -> list[StoragePath]:
    """Return the files and datasets that `read_documents` reads, in its order.

    Args:
        path: A file, a dataset, or a folder.

    Raises:
        InputError: There is none.
    """
    path = storage_path(path)
    with disk_errors(path, "read"):
        if path.is_file():
            found: list[StoragePath] = [path]
        elif (path / MANIFEST_NAME).is_file():
            return [path]
        else:
            files: list[StoragePath] = [file for file in path.glob("*") if file.suffix in _READERS]
            found = [*sorted(files, key=lambda file: file.name), *find_datasets(path)]
    if not found or (path.is_file() and path.suffix not in _READERS):
        raise InputError(
            f"input `{path}`: expected a file or folder of {', '.join(_READERS)}, or datasets, got none; "
            f"check the path{nearest_paths(path)}"
        )
    return found


def describe_input(path: AnyPath) -> dict[str, Any]:
    """Return what a dataset's provenance says of an input: its name, and the checksum of each file by its place in it.

    Args:
        path: A file, folder or dataset.
    """
    root = storage_path(path)
    content = {
        _place(source, root): hash_file(source) if source.suffix in _READERS else TokenDataset.open(source).fingerprint
        for source in inputs_of(path)
    }
    return {"input": root.name, "sha256": content}


def _place(source: StoragePath, root: StoragePath) -> str:
    return str(source).removeprefix(str(root)).strip("/") or source.name


def codec_of(paths: Iterable[AnyPath]) -> dict[str, Any] | None:
    """Return the codec that the datasets among the inputs state; None where there is no dataset.

    Args:
        paths: Files, folders and datasets.

    Raises:
        InputError: Two datasets state different codecs, so that their audio may differ though its ids do not.
    """
    datasets = [source for path in paths for source in inputs_of(path) if source.suffix not in _READERS]
    codecs = {source: TokenDataset.open(source).manifest.codec for source in datasets}
    if not codecs:
        return None
    (first, codec), *others = codecs.items()
    for other, found in others:
        if found != codec:
            raise InputError(
                f"dataset `{other}`: expected the codec of `{first}`, {codec!r}, got {found!r}; "
                f"build one dataset of each, and mix them when they are read"
            )
    return codec


_Candidate = tuple[str, Document | InputError]


def _candidates(source: StoragePath, vocabulary: Vocabulary, ids_column: str) -> Iterator[_Candidate]:
    if source.suffix in _READERS:
        return _READERS[source.suffix](source, vocabulary, ids_column)
    return _read_dataset(source, vocabulary)


def _explain_nothing(inputs: Sequence[AnyPath], holdout: Holdout | None, quarantine: Quarantine) -> InputError:
    names = ", ".join(f"`{path}`" for path in inputs)
    if holdout is None or len(quarantine):
        return InputError(
            f"inputs {names}: expected at least 1 document that can be used, got none and {len(quarantine)} left out; "
            f"check what the documents are made from"
        )
    part = "sets none apart" if holdout.heldout else "sets all apart"
    return InputError(
        f"`holdout` {holdout.fraction!r} {part} of the documents of {names}; "
        f"choose another fraction, or add documents with other `base_id`"
    )


def _checked(found: Document | InputError, vocabulary: Vocabulary, seen: SeenIds) -> Document:
    """Return the document, if it can be used. The writer would refuse what cannot, but knows no file and line."""
    if isinstance(found, InputError):
        raise found
    if not len(found):
        raise InputError("expected at least 1 token id, got none; leave the document out")
    tokens_by_kind(found, vocabulary)
    encode_metadata(found)
    name = found.metadata.get("id")
    if name is not None and not seen.add(str(name)):
        raise InputError(f"expected an `id` of its own, got {name!r:.80}, which a document before it has")
    return found


def _document(ids: Any, mask: Any, metadata: Mapping[str, Any]) -> Document | InputError:
    try:
        ids = np.asarray(ids)
        ids = ids.astype(np.int32) if ids.shape == (0,) else ids
        return Document(ids, None if mask is None else np.asarray(mask), dict(metadata))
    except InputError as error:
        return error
    except ValueError as error:
        return InputError(f"expected a list of integer ids ({error})")


def _read_dataset(path: StoragePath, vocabulary: Vocabulary) -> Iterator[_Candidate]:
    dataset = TokenDataset.open(path)
    if dataset.vocabulary != vocabulary:
        raise InputError(
            f"dataset `{path}`: expected the vocabulary {vocabulary.fingerprint!r}, "
            f"got {dataset.vocabulary.fingerprint!r}; rebuild it with the vocabulary given"
        )
    for index in range(len(dataset)):
        try:
            found = dataset[index]
        except InputError as error:
            found = error
        yield f"`{path}` document {index}", found


def _read_jsonl(file: StoragePath, vocabulary: Vocabulary, ids_column: str) -> Iterator[_Candidate]:
    with fetch(file).open("rb") as lines:
        for number in itertools.count(1):
            line = lines.readline(MAX_LINE_BYTES)
            if not line:
                return
            name = f"`{file}` line {number}"
            if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                del line
                while (rest := lines.readline(_BYTES_SKIPPED)) and not rest.endswith(b"\n"):
                    pass
                yield name, InputError(f"expected a line of fewer than {MAX_LINE_BYTES:,} bytes; split the document")
            elif line.strip():
                yield name, _parse_line(line, ids_column)


def _parse_line(line: bytes, ids_column: str) -> Document | InputError:
    try:
        value = decode_object(line)
    except InputError as error:
        return InputError(f"expected an object with integer `{ids_column}` ({error})")
    if ids_column not in value:
        return InputError(f"expected an object with a key {ids_column!r} of token ids, got none")
    return _document(value.pop(ids_column), value.pop(_MASK, None), value)


def _read_parquet(file: StoragePath, vocabulary: Vocabulary, ids_column: str) -> Iterator[_Candidate]:
    import pyarrow as pa

    local, row = fetch(file), 0
    try:
        for batch in table_batches(local, _ROWS_PER_BATCH):
            if not isinstance(batch, InputError) and ids_column not in batch.schema.names:
                raise InputError(f"expected a column {ids_column!r}, got {batch.schema.names!r}")
            for found in [batch] if isinstance(batch, InputError) else _documents_of_batch(batch, ids_column):
                yield f"`{file}` row {row}", found
                row += 1
    except InputError as error:
        raise InputError(f"`{file}`: {error.message}") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"`{file}` cannot be read ({error}); expected a parquet file") from error


def _documents_of_batch(batch: Any, ids_column: str) -> Iterator[Document | InputError]:
    """Documents of a `pyarrow.RecordBatch`; ids pass as arrays, without a Python object for each."""
    names = [name for name in batch.schema.names if name not in (ids_column, _MASK)]
    metadata = batch.select(names).to_pylist() if names else [{}] * batch.num_rows
    ids, masks = batch.column(ids_column), batch.column(_MASK) if _MASK in batch.schema.names else None
    for index in range(batch.num_rows):
        value = getattr(ids[index], "values", None)
        if value is None:
            yield InputError(f"expected a list of ids in column `{ids_column}`, got {ids[index].as_py()!r}")
            continue
        mask = None if masks is None else masks[index]
        bits = getattr(mask, "values", None)
        mask = bits.to_numpy(zero_copy_only=False) if bits is not None else None if mask is None else mask.as_py()
        kept = {name: field for name, field in metadata[index].items() if field is not None}
        yield _document(value.to_numpy(zero_copy_only=False), mask, kept)


def _read_npz(file: StoragePath, vocabulary: Vocabulary, ids_column: str) -> Iterator[_Candidate]:
    try:
        with fetch(file).open("rb") as content:
            columns = load_arrays(content)
        if missing := [name for name in (ids_column, "offsets") if name not in columns]:
            raise InputError(f"no array {missing[0]!r}")
    except InputError as error:
        raise InputError(
            f"`{file}` cannot be read ({error}); expected arrays `{ids_column}` and `offsets` saved by numpy.savez"
        ) from error
    ids, offsets = columns.pop(ids_column), columns.pop("offsets")
    mask = columns.pop(_MASK, None)
    bounds = offsets.tolist() if offsets.ndim == 1 and np.issubdtype(offsets.dtype, np.integer) else []
    if not bounds or bounds[0] != 0 or bounds[-1] != ids.size or (np.diff(offsets) < 0).any():
        raise InputError(f"`{file}`: expected `offsets` that grow from 0 to {ids.size}, got {offsets!r}")
    wrong = {name: array.shape for name, array in columns.items() if array.shape != (len(bounds) - 1,)}
    if wrong:
        raise InputError(f"`{file}`: expected one value for each of {len(bounds) - 1} documents, got {wrong!r}")
    for number, (start, stop) in enumerate(itertools.pairwise(bounds)):
        metadata = {name: array[number].item() for name, array in columns.items()}
        part = None if mask is None else mask[start:stop]
        yield f"`{file}` document {number}", _document(ids[start:stop], part, metadata)


def _read_npy(file: StoragePath, vocabulary: Vocabulary, ids_column: str) -> Iterator[_Candidate]:
    try:
        stream = map_array(fetch(file))
    except InputError as error:
        raise InputError(
            f"`{file}` cannot be read ({error}); expected one row of integer ids saved by numpy.save"
        ) from error
    if stream.ndim != 1 or not np.issubdtype(stream.dtype, np.integer):
        raise InputError(f"`{file}`: expected one row of integer ids, got {stream.dtype} of shape {stream.shape!r}")
    ends = np.append(np.flatnonzero(stream == vocabulary.end_of_text) + 1, stream.size)
    start = 0
    for number, stop in enumerate(np.unique(ends).tolist()):
        if stop > start:
            yield f"`{file}` document {number}", _document(stream[start:stop], None, {"id": f"{file.stem}-{number}"})
        start = stop


_READERS = {".parquet": _read_parquet, ".jsonl": _read_jsonl, ".npz": _read_npz, ".npy": _read_npy}
