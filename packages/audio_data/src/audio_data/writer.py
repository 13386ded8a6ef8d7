"""The writer of datasets: shards that appear whole, a manifest that appears last, and resuming after a crash."""

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from audio_data.dataset import TokenDataset
from audio_data.document_index import DocumentIndex
from audio_data.errors import InputError
from audio_data.json_files import decode_object
from audio_data.manifest import MANIFEST_NAME, SCHEMA_VERSION, UNFINISHED_NAME, Manifest
from audio_data.quarantine import DAMAGED_NAME, QUARANTINE_NAME, Quarantine
from audio_data.records import Document
from audio_data.seen_ids import SeenIds
from audio_data.shards import ShardWriter, check_shard_size, is_shard_file, load_offsets, shard_files
from audio_data.storage import (
    AnyPath,
    StoragePath,
    disk_errors,
    file_sizes,
    local_partial,
    remove_file,
    sole_writer,
    storage_path,
)
from audio_data.vocabulary import Vocabulary

# Two writers that agree on these write the same dataset, given the same documents.
_IDENTITY = ("corpus", "vocabulary", "codec", "provenance", "tokens_per_record")


class DatasetWriter:
    """Writes documents as a dataset; a context manager.

    Nothing is a dataset until the `with` block ends without an error: only then is the manifest written. A shard is
    written under a temporary name and renamed when it is complete. After a crash, open the writer again with the same
    arguments and write the same documents in the same order: those of complete shards are recognised and passed over
    (or not even made, see `skip_resumed`), and the result is the same, byte for byte, as without the crash.

    Args:
        path: Folder of the dataset, here or on an object store; made if it does not exist. One process writes
            at a time.
        corpus: What to call the dataset.
        vocabulary: What the ids mean; every id is checked against it.
        provenance: How the dataset is made, as JSON: whatever somebody needs who wants to make it again.
        codec: What is known of the codec: `id`, attention window, frame rate; `{"id": vocabulary.codec_id}` if
            None.
        documents_per_shard: A shard ends after this many documents,
        tokens_per_shard: Or when it holds at least this many tokens.
        tokens_per_record: Longer documents are stored in several records of this many tokens.
        overwrite: Replace the dataset that is there, at the moment when the new one is complete. If False and there is
            one, opening raises.
        quarantine: What the documents' source leaves out. When the dataset is complete, its budget is checked, and
            what is in it is counted in the manifest and listed in `quarantine.jsonl`.

    Raises:
        InputError: On opening, if another process writes there, or the folder cannot be written, holds a dataset, or
            holds an unfinished one made differently.
    """

    def __init__(
        self,
        path: AnyPath,
        *,
        corpus: str,
        vocabulary: Vocabulary,
        provenance: Mapping[str, Any],
        codec: Mapping[str, Any] | None = None,
        documents_per_shard: int = 8192,
        tokens_per_shard: int = 2**26,
        tokens_per_record: int = 8192,
        overwrite: bool = False,
        quarantine: Quarantine | None = None,
    ):
        limits = {"documents_per_shard": documents_per_shard, "tokens_per_shard": tokens_per_shard}
        for name, value in {**limits, "tokens_per_record": tokens_per_record}.items():
            if value < 1:
                raise InputError(f"`{name}`: expected at least 1, got {value!r}")
        self.path = storage_path(path)
        self.num_resumed = 0
        self._limits = limits
        self._overwrite = overwrite
        self._quarantine = Quarantine(None) if quarantine is None else quarantine
        self._shard: ShardWriter | None = None
        self._late_provenance: dict[str, Any] = {}
        self._hold = ExitStack()
        self._ids: SeenIds | None = None
        self._num_seen = 0
        self._resumed_lengths = np.zeros(0, np.int64)
        self._totals = Manifest(
            schema_version=SCHEMA_VERSION,
            corpus=corpus,
            num_documents=0,
            num_tokens=0,
            tokens_by_kind=dict.fromkeys(vocabulary.kinds, 0),
            audio_seconds=0.0,
            vocabulary=vocabulary,
            codec=_as_json({"id": vocabulary.codec_id} if codec is None else codec, "codec"),
            shards=(),
            provenance=_as_json(provenance, "provenance"),
            tokens_per_record=tokens_per_record,
            generation=int(overwrite),
        )

    def __enter__(self) -> "DatasetWriter":
        with ExitStack() as hold:
            hold.enter_context(sole_writer(self.path))
            self._ids = hold.enter_context(SeenIds())
            with disk_errors(self.path):
                self._begin()
            self._hold = hold.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._hold:
            if kind is None:
                with disk_errors(self.path):
                    self._finish()
            elif self._shard is not None:
                self._shard.discard()

    @property
    def manifest(self) -> Manifest:
        """What the complete shards hold; after the `with` block, the manifest of the dataset."""
        return self._totals

    def write(self, document: Document) -> None:
        """Add a document at the end.

        Args:
            document: Its ids must belong to the vocabulary, and its metadata `id`, where it has one, to no other
                document. Empty documents are kept.

        Raises:
            InputError: An id outside the vocabulary, the `id` of a document before it, or, after a crash, a document
                unlike the one that is already there.
        """
        position = self._num_seen
        self._note_id(position, document.metadata.get("id"))
        self._num_seen += 1
        if position < self.num_resumed:
            self._check_resumed(position, document)
            return
        if self._shard is None:
            self._shard = self._open_shard()
        try:
            self._shard.write(document)
        except InputError as error:
            raise InputError(f"document {position} (id {document.metadata.get('id')!r}): {error.message}") from error
        if self._shard.is_full(**self._limits):
            self._close_shard()

    def skip_resumed(self) -> int:
        """Pass over the documents that complete shards already hold, for a producer that can start in the middle.

        Returns:
            How many documents from the beginning the producer must leave out. 0 unless an earlier writer was
            interrupted.
        """
        index = DocumentIndex(
            self._totals.shards,
            self._totals.tokens_per_record,
            lambda number: load_offsets(self.path, self._totals.shards[number]),
        )
        resumed = TokenDataset(self.path, self._totals, index)
        for position in range(self.num_resumed):
            self._note_id(position, resumed.metadata(position).get("id"))
        self._num_seen = self.num_resumed
        return self.num_resumed

    def add_provenance(self, entries: Mapping[str, Any]) -> None:
        """Add to the provenance what only the end knows, such as how many documents were left out and why.

        Args:
            entries: JSON values by name.
        """
        self._late_provenance |= _as_json(entries, "provenance")

    def _note_id(self, position: int, name: object) -> None:
        if name is not None and self._ids is not None and not self._ids.add(str(name)):
            raise InputError(
                f"document {position}: expected an `id` of its own, got {name!r:.80}, which a document before it has; "
                "give each document another"
            )

    def _begin(self) -> None:
        self._check_claim()
        manifest, unfinished = self.path / MANIFEST_NAME, self.path / UNFINISHED_NAME
        begun = _read_unfinished(unfinished) if unfinished.exists() and not self._overwrite else None
        if manifest.exists() and not self._overwrite:
            # A process that was killed between its manifest and its last step left both: what is missing is cleaning.
            if begun is None or begun.shards != Manifest.read(manifest).shards:
                raise InputError(f"dataset `{self.path}` exists; choose another folder, or overwrite it")
        elif manifest.exists() and not _is_manifest(manifest):
            remove_file(manifest)
        if begun is not None:
            self._resume(begun)
        else:
            self._totals.write(unfinished)
        self._remove_strays()

    def _check_claim(self) -> None:
        """Refuses a folder with files that this would replace, where nothing shows that a dataset was begun there."""
        marks = [self.path / name for name in (MANIFEST_NAME, UNFINISHED_NAME) if (self.path / name).exists()]
        # Only datasets have offsets: beside them, what is no manifest is a damaged one.
        if any(map(_is_manifest, marks)) or (marks and shard_files(self.path)):
            return
        own = (MANIFEST_NAME, UNFINISHED_NAME, QUARANTINE_NAME, DAMAGED_NAME)
        taken = [name for name in sorted(file_sizes(self.path)) if name in own or is_shard_file(name)]
        if taken:
            raise InputError(
                f"folder `{self.path}` holds `{taken[0]}` but no manifest of a dataset, so that it is not known to be "
                "a dataset's: move that file, or choose another folder"
            )

    def _resume(self, found: Manifest) -> None:
        sizes = file_sizes(self.path)
        for name in _IDENTITY:
            expected, got = getattr(self._totals, name), getattr(found, name)
            if expected != got:
                raise InputError(
                    f"unfinished dataset `{self.path}` was made with another `{name}`: "
                    f"expected {expected!r}, got {got!r}; overwrite it, or choose another folder"
                )
        self._totals = found
        self.num_resumed = found.num_documents
        for shard in found.shards:
            check_shard_size(self.path, shard, sizes)
        offsets = [load_offsets(self.path, shard) for shard in found.shards]
        self._resumed_lengths = np.concatenate([np.diff(o) for o in offsets]) if offsets else self._resumed_lengths

    def _check_resumed(self, position: int, document: Document) -> None:
        expected = int(self._resumed_lengths[position])
        if len(document) != expected:
            raise InputError(
                f"unfinished dataset `{self.path}`: document {position} was written with {expected} tokens, "
                f"got {len(document)!r}; its source has changed, so overwrite the dataset"
            )

    def _open_shard(self) -> ShardWriter:
        # A shard of other content has another name, so that the old dataset stays whole until the new manifest replaces
        # its own; one of the same content has the same, so that the same command always ends in the same files.
        totals = self._totals
        return ShardWriter(
            self.path,
            len(totals.shards),
            totals.vocabulary,
            totals.tokens_per_record,
            named_by_content=totals.generation > 0,
        )

    def _close_shard(self) -> None:
        if self._shard is None:
            return
        info, counts, seconds = self._shard.finish()
        self._shard = None
        totals = self._totals
        by_kind = {kind: total + int(n) for (kind, total), n in zip(totals.tokens_by_kind.items(), counts, strict=True)}
        self._totals = dataclasses.replace(
            totals,
            num_documents=totals.num_documents + info.num_documents,
            num_tokens=totals.num_tokens + info.num_tokens,
            tokens_by_kind=by_kind,
            audio_seconds=totals.audio_seconds + seconds,
            shards=(*totals.shards, info),
        )
        self._totals.write(self.path / UNFINISHED_NAME)

    def _finish(self) -> None:
        if self._num_seen < self.num_resumed:
            raise InputError(
                f"unfinished dataset `{self.path}` holds {self.num_resumed} documents, got {self._num_seen!r}; "
                f"its source has changed, so overwrite the dataset"
            )
        self._close_shard()
        if not self._totals.num_documents:
            raise InputError(f"dataset `{self.path}`: no document was written; check what the documents are made from")
        self._quarantine.check(self._totals.num_documents + len(self._quarantine))
        checksum = self._quarantine.write(self.path)
        self._totals = dataclasses.replace(
            self._totals,
            provenance=self._totals.provenance | self._late_provenance,
            num_quarantined=len(self._quarantine),
            quarantine_sha256=checksum,
        )
        self._totals.write(self.path / MANIFEST_NAME)
        _clean(self.path, self._totals)

    def _remove_strays(self) -> None:
        """Remove what no manifest mentions: temporary files, shards of an older dataset or an abandoned attempt."""
        keep, manifest = [self._totals], self.path / MANIFEST_NAME
        if manifest.exists():
            keep.append(Manifest.read(manifest))
        _remove_strays(self.path, keep)


def finished_dataset(path: AnyPath, wanted: Manifest, *, ignored: Collection[str] = ()) -> Manifest | None:
    """Return the manifest of a finished dataset of the same sources and choices, if that is what a folder holds.

    What a process left that was killed at the very end is removed.

    Args:
        path: Folder of the dataset.
        wanted: `DatasetWriter.manifest` of a writer that has written nothing yet.
        ignored: Entries of the provenance that only the end knows.

    Raises:
        InputError: The dataset there is damaged, or another process is writing there.
    """
    folder = storage_path(path)
    if not (folder / MANIFEST_NAME).is_file():
        return None
    found = TokenDataset.open(folder).manifest
    kept = {name: value for name, value in found.provenance.items() if name not in ignored}
    same = dataclasses.replace(found, provenance=kept)
    if any(getattr(same, name) != getattr(wanted, name) for name in _IDENTITY):
        return None
    unfinished = folder / UNFINISHED_NAME
    if unfinished.exists() and _read_unfinished(unfinished).shards != found.shards:
        return None
    with sole_writer(folder), disk_errors(folder):
        _clean(folder, found)
    return found


def _clean(folder: StoragePath, manifest: Manifest) -> None:
    """Remove all that is of no more use when the manifest is there; what says that it was begun goes last."""
    _remove_strays(folder, [manifest])
    for name in (MANIFEST_NAME, UNFINISHED_NAME, QUARANTINE_NAME, DAMAGED_NAME):
        if isinstance(folder, Path):
            remove_file(local_partial(folder / name))
    unfinished = folder / UNFINISHED_NAME
    if unfinished.exists():
        # A list of damage that is older than the dataset.
        remove_file(folder / DAMAGED_NAME)
        remove_file(unfinished)


def _remove_strays(folder: StoragePath, keep: Sequence[Manifest]) -> None:
    names = {shard.name for manifest in keep for shard in manifest.shards}
    for file, shard in shard_files(folder).items():
        if shard not in names:
            remove_file(folder / file)


def _read_unfinished(path: StoragePath) -> Manifest:
    return Manifest.read(path, remedy="overwrite the dataset, or choose another folder")


def _is_manifest(path: StoragePath) -> bool:
    try:
        Manifest.read(path)
    except InputError:
        return False
    return True


def _as_json(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a mapping as it will read back from a file, so that a resumed writer compares like with like."""
    try:
        return decode_object(json.dumps(dict(value)))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"`{name}`: expected JSON values, got {value!r:.200} ({error})") from error
