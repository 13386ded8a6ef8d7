"""One entry of a folder of codes or a dataset, for `inspect` and `decode`."""

import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Integer

from audio_data import (
    InputError,
    StoragePath,
    TokenDataset,
    decode_json,
    disk_errors,
    fetch,
    file_errors,
    read_bytes,
    storage_path,
)
from audio_tokenize.documents.passages import Passage, Passages, read_ids, read_string
from audio_tokenize.encoding.encoded import MANIFEST_NAME, EncodedCorpus
from audio_tokenize.vocabularies.folder import FOLDER_NAME, VOCABULARY_NAME, VocabularyFolder

# Of sources that do not say; Mimi and the codec that ships have it.
FRAME_RATE_HZ = 12.5
_NPY_MAGIC = b"\x93NUMPY"
_BEGIN = "<|begin_of_text|>"
_SOURCES = (
    "a folder of codes, a token dataset, a `.npy` or `.json` file of codes or ids, "
    "or a `.txt`, `.parquet` or `.jsonl` file of document strings"
)


@dataclass(frozen=True, eq=False)
class Excerpt:
    """One utterance or document.

    Attributes:
        name: Of the source and the entry.
        passages: Its specials, texts and audio, in order.
        num_tokens: Of the document, or of mere codes their number.
        unit: What is counted, `ids`, `characters` or `codes`.
        problem: Why it could not be read to its end, with the position; `None` of a whole one.
        codec: What the source says of the codec: of a manifest everything, of a vocabulary the `id`, else nothing.
        metadata: What else the source says of the entry.
    """

    name: str
    passages: tuple[Passage, ...]
    num_tokens: int
    unit: str
    problem: str | None
    codec: Mapping[str, Any]
    metadata: Mapping[str, Any]

    @property
    def frame_rate_hz(self) -> int | float:
        """Frames of audio a second."""
        return self.codec.get("frame_rate_hz", FRAME_RATE_HZ)

    @property
    def audio(self) -> tuple[Passage, ...]:
        """The passages of audio."""
        return tuple(passage for passage in self.passages if passage.kind == "audio")


def read_excerpt(source: str | StoragePath, index: int = 0, *, vocabulary: str | StoragePath | None = None) -> Excerpt:
    """Read one entry of whatever holds codes or documents. A broken document is read up to its first wrong token.

    Args:
        source: A folder of codes; a token dataset; a `.npy` or `.json` file of codes [frames, codebooks] or of the ids
            of one document; a `.txt` file of published document strings one after another; a `.parquet` or `.jsonl`
            (`.gz`, `.zst`) file of them in a column `text`.
        index: Which utterance or document; a file of codes or ids holds one.
        vocabulary: Vocabulary folder for ids; a dataset has its own beside it.

    Raises:
        InputError: No such entry, none of these sources, or ids without a vocabulary.
    """
    source = storage_path(source)
    with disk_errors(source, "read"):
        is_folder = source.is_dir()
    if is_folder:
        return _from_folder(source, index, vocabulary)
    if not source.is_file():
        raise InputError(f"`{source}` does not exist; expected {_SOURCES}: check the path")
    if source.suffix in (".npy", ".json"):
        _check_index(index, 1, source)
        return _from_numbers(source, _load_numbers(source), vocabulary)
    if source.suffix == ".txt":
        return _from_text(source, index)
    if source.suffix in (".parquet", ".jsonl", ".gz", ".zst", ".zstd"):
        return _from_rows(source, index)
    raise InputError(f"`{source}` must be {_SOURCES}: check the path")


def _from_folder(source: StoragePath, index: int, vocabulary: str | StoragePath | None) -> Excerpt:
    if (source / "manifest.json").is_file():
        return _from_dataset(TokenDataset.open(source), index, vocabulary)
    if (source / MANIFEST_NAME).is_file() or (source / "plan.json").is_file():
        return _from_codes(EncodedCorpus.open(source), index)
    raise InputError(f"`{source}` must be {_SOURCES}: check the path")


def _from_codes(corpus: EncodedCorpus, index: int) -> Excerpt:
    utterance = corpus[_check_index(index, len(corpus), corpus.path)]
    metadata = {
        name: getattr(utterance, name) for name in ("id", "speaker", "language", "recording", "split", "frame_offset")
    }
    passages = (
        Passage("text", None, None, utterance.text),
        Passage("audio", None, None, codes=utterance.codes),
    )
    name = f"{corpus.path.name}[{index}]"
    return Excerpt(name, passages, utterance.codes.size, "codes", None, corpus.manifest.codec, metadata)


def _from_dataset(dataset: TokenDataset, index: int, vocabulary: str | StoragePath | None) -> Excerpt:
    document = dataset[_check_index(index, len(dataset), dataset.path)]
    beside = dataset.path.parent / FOLDER_NAME
    if vocabulary is None and (beside / VOCABULARY_NAME).is_file():
        vocabulary = beside
    decode_text = None if vocabulary is None else _load_vocabulary(vocabulary, dataset).text.decode
    found = read_ids(document.ids, dataset.vocabulary, decode_text)
    return _excerpt(f"{dataset.path.name}[{index}]", found, dataset.manifest.codec, document.metadata)


def _load_vocabulary(vocabulary: str | StoragePath, dataset: TokenDataset) -> VocabularyFolder:
    folder = VocabularyFolder.load(vocabulary)
    if folder.vocabulary != dataset.vocabulary:
        raise InputError(
            f"`vocabulary` of `{dataset.path}` must be {dataset.vocabulary.name!r} with fingerprint "
            f"{dataset.vocabulary.fingerprint[:12]}, got {folder.vocabulary.name!r} with "
            f"{folder.vocabulary.fingerprint[:12]} in `{vocabulary}`: give the folder that the dataset was built with"
        )
    return folder


def _load_numbers(path: StoragePath) -> Integer[np.ndarray, "..."]:
    """Integers of one or two dimensions: ids, or codes [frames, codebooks]."""
    try:
        found = np.asarray(_load_json(path)) if path.suffix == ".json" else _load_array(path)
    except (ValueError, EOFError, OverflowError, SyntaxError, tokenize.TokenError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"`{path}` cannot be read ({error}): `numpy.save` integers, or write a JSON list") from error
    if found.ndim not in (1, 2) or not np.issubdtype(found.dtype, np.integer):
        raise InputError(
            f"`{path}` must hold integers [ids] or [frames, codebooks], got {found.dtype} of shape {found.shape!r}"
        )
    return found


def _load_array(path: StoragePath) -> np.ndarray:
    local = fetch(path)
    with local.open("rb") as file:
        if file.read(len(_NPY_MAGIC)) != _NPY_MAGIC:
            raise ValueError("it does not begin as a .npy file")
    # Mapped first, which compares the shape with the size of the file: a header may state any number of elements.
    return np.array(np.load(local, mmap_mode="r", allow_pickle=False))


def _load_json(path: StoragePath) -> list[Any]:
    with file_errors(path, "write a JSON list of ids or of rows of codes"):
        found = decode_json(read_bytes(path))
        if not isinstance(found, list) or not found:
            raise InputError(f"expected a list of ids or of rows of codes, got {str(found)[:60]!r}")
    return found


def _from_numbers(path: StoragePath, numbers: np.ndarray, vocabulary: str | StoragePath | None) -> Excerpt:
    if numbers.ndim == 2:
        return Excerpt(path.name, (Passage("audio", None, None, codes=numbers),), numbers.size, "codes", None, {}, {})
    if vocabulary is None:
        raise InputError(f"`{path}` holds {len(numbers)} ids, which need `vocabulary`: give the folder that made them")
    folder = VocabularyFolder.load(vocabulary)
    found = read_ids(numbers, folder.vocabulary, folder.text.decode)
    return _excerpt(path.name, found, {"id": folder.vocabulary.codec_id}, {})


def _from_text(path: StoragePath, index: int) -> Excerpt:
    try:
        # Not `read_text`: it would turn carriage returns inside a transcript into line feeds.
        content = read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"`{path}` must be UTF-8, got {error.reason} at byte {error.start}: convert it") from error
    # What precedes the first mark is a document too, and so is a file without any.
    documents = [part for part in content.split(_BEGIN) if part.strip()] if _BEGIN in content else [content]
    prefix = _BEGIN if _BEGIN in content else ""
    document = prefix + documents[_check_index(index, len(documents), path)].rstrip("\r\n")
    return _excerpt(f"{path.name}[{index}]", read_string(document), {}, {})


def _from_rows(path: StoragePath, index: int) -> Excerpt:
    from audio_tokenize.corpora.corpus import Skipped
    from audio_tokenize.corpora.texts import read_text_documents

    number = -1
    for number, document in enumerate(read_text_documents(path)):
        if number == index:
            if isinstance(document, Skipped):
                raise InputError(document.reason)
            metadata = {"id": document.id, **document.metadata}
            return _excerpt(f"{path.name}[{index}]", read_string(document.text), {}, metadata)
    raise InputError(f"`index` into `{path}` must be in 0..{number}, got {index!r}")


def _excerpt(name: str, found: Passages, codec: Mapping[str, Any], metadata: Mapping[str, Any]) -> Excerpt:
    return Excerpt(name, found.passages, found.num_tokens, found.unit, found.problem, codec, metadata)


def _check_index(index: int, length: int, path: StoragePath) -> int:
    if not 0 <= index < length:
        raise InputError(f"`index` into `{path}` must be in 0..{length - 1}, got {index!r}")
    return index
