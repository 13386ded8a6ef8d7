"""Shard files: documents as ArrayRecord records, and where each document begins.

```
DATASET/
├── manifest.json               what makes the folder a dataset; written last
├── shard-00000.arrayrecord     encoded documents, one or more records each
├── shard-00000.offsets.npy     int64 [num_documents + 1]: where each document begins, in tokens of the shard
├── shard-00000.holdout.npy     uint64 [num_documents]: `holdout_key` of each, where all state `base_id` or `id`
└── ...
```

A document longer than `tokens_per_record` lies in several records, so that reading a window out of an hour of speech
does not read the hour.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, Int64, UInt64

from audio_data.arrays import decode_array, encode_array
from audio_data.errors import InputError
from audio_data.holdouts import base_id_of, holdout_key
from audio_data.manifest import ShardInfo
from audio_data.record_files import RecordWriter
from audio_data.records import Document, encode_document
from audio_data.storage import StoragePath, file_sizes, read_bytes, write_bytes
from audio_data.vocabulary import Vocabulary

_RECORDS_SUFFIX = ".arrayrecord"
_OFFSETS_SUFFIX = ".offsets.npy"
_HOLDOUT_SUFFIX = ".holdout.npy"
OFFSETS_PATTERN = f"shard-*{_OFFSETS_SUFFIX}"
# The header of a `.npy` file ends at a multiple of the first; what we write is far shorter than the second.
_NPY_ALIGNMENT, _MAX_NPY_HEADER = 64, 1024
_SHARD_FILE = re.compile(
    r"(?P<temporary>\.)?(?P<shard>shard-([0-9a-f]+-)?\d{5,})(?P<suffix>\.arrayrecord|\.offsets\.npy|\.holdout\.npy)"
    r"(?P<partial>(?(temporary)\.partial))"
)
_MAX_INT32 = 2**31 - 1
_MAX_SECONDS = 10**9


class ShardWriter:
    """Writes one shard under a temporary name, and renames it when it is complete.

    Args:
        folder: The dataset.
        index: Number of the shard, from 0.
        vocabulary: What the ids mean; every id is checked against it.
        tokens_per_record: Longer documents are stored in several records of this many tokens.
        named_by_content: Whether its name has the checksum of the records, so that no other shard is replaced.
    """

    def __init__(
        self,
        folder: StoragePath,
        index: int,
        vocabulary: Vocabulary,
        tokens_per_record: int,
        *,
        named_by_content: bool = False,
    ):
        self._folder, self._index, self._named_by_content = folder, index, named_by_content
        self._vocabulary, self._tokens_per_record = vocabulary, tokens_per_record
        self._writer = RecordWriter(folder / f"shard-{index:05d}{_RECORDS_SUFFIX}", compressed=False)
        self._offsets = [0]
        self._holdout_keys: list[int] | None = []
        self._counts = np.zeros(len(vocabulary.kinds), np.int64)
        self._seconds = 0.0

    def write(self, document: Document) -> None:
        """Add a document at the end.

        Args:
            document: Its ids must belong to the vocabulary.

        Raises:
            InputError: They do not, its `seconds` is no duration, or the disk is full.
        """
        counts = tokens_by_kind(document, self._vocabulary)
        for record in _records_of(document, self._tokens_per_record):
            self._writer.write(record)
        self._offsets.append(self._offsets[-1] + len(document))
        base_id = base_id_of(document)
        if base_id is None:
            self._holdout_keys = None
        elif self._holdout_keys is not None:
            self._holdout_keys.append(holdout_key(base_id))
        self._counts += counts
        self._seconds += document.metadata.get("seconds", 0.0)

    def is_full(self, documents_per_shard: int, tokens_per_shard: int) -> bool:
        """Whether the shard holds that many documents or tokens."""
        return len(self._offsets) > documents_per_shard or self._offsets[-1] >= tokens_per_shard

    def finish(self) -> tuple[ShardInfo, Int64[np.ndarray, " kinds"], float]:
        """Publish the shard.

        Returns:
            What the manifest says of it, its tokens by kind, and its seconds of audio.
        """
        file = self._writer.close()
        name = f"shard-{file.sha256[:16]}-{self._index:05d}" if self._named_by_content else f"shard-{self._index:05d}"
        keys = self._holdout_keys
        holdout = "" if keys is None else self._write(f"{name}{_HOLDOUT_SUFFIX}", keys, np.uint64)
        offsets = self._write(f"{name}{_OFFSETS_SUFFIX}", self._offsets, np.int64)
        self._writer.publish(self._folder / f"{name}{_RECORDS_SUFFIX}")
        size = (len(self._offsets) - 1, self._offsets[-1], file.num_bytes)
        return ShardInfo(name, *size, file.sha256, offsets, holdout), self._counts, self._seconds

    def discard(self) -> None:
        """Drop what was written."""
        self._writer.discard()

    def _write(self, name: str, values: Sequence[int], dtype: type[np.integer]) -> str:
        """Write an array beside the shard, and return its checksum."""
        content = encode_array(np.array(values, dtype))
        write_bytes(self._folder / name, content)
        return hashlib.sha256(content).hexdigest()


def tokens_by_kind(document: Document, vocabulary: Vocabulary) -> Int64[np.ndarray, " kinds"]:
    """Tokens of each of `Vocabulary.kinds` in a document, which is thereby checked.

    Args:
        document: The document.
        vocabulary: What its ids mean.

    Raises:
        InputError: An id means nothing, or `seconds` is no duration.
    """
    seconds = document.metadata.get("seconds", 0.0)
    if not isinstance(seconds, int | float) or not 0 <= seconds <= _MAX_SECONDS:
        raise InputError(f"metadata `seconds`: expected a number 0..{_MAX_SECONDS}, got {seconds!r:.40}")
    return np.bincount(vocabulary.kind_of(document.ids), minlength=len(vocabulary.kinds))


def check_shard_size(folder: StoragePath, shard: ShardInfo, sizes: Mapping[str, int]) -> None:
    """Check that a shard is there and as large as its manifest says.

    Args:
        folder: The dataset.
        shard: The shard as the manifest describes it.
        sizes: Bytes of every file of the folder, see `file_sizes`.

    Raises:
        InputError: It is not.
    """
    file = shard_file(folder, shard)
    if file.name not in sizes:
        raise InputError(f"shard `{file}` is missing, though the manifest lists it; restore it or rebuild the dataset")
    if sizes[file.name] != shard.num_bytes:
        raise InputError(
            f"shard `{file}`: expected {shard.num_bytes} bytes, got {sizes[file.name]!r}; "
            f"it is truncated or replaced, so restore it or rebuild the dataset"
        )


def check_offsets_size(folder: StoragePath, shard: ShardInfo, sizes: Mapping[str, int]) -> None:
    """Check that the offsets of a shard are there and as many as it has documents; they are read when needed.

    Args:
        folder: The dataset.
        shard: The shard as the manifest describes it.
        sizes: Bytes of every file of the folder, see `file_sizes`.

    Raises:
        InputError: They are not.
    """
    file, num_bytes = folder / f"{shard.name}{_OFFSETS_SUFFIX}", 8 * (shard.num_documents + 1)
    found = sizes.get(file.name)
    header = 0 if found is None else found - num_bytes
    if not 0 < header <= _MAX_NPY_HEADER or header % _NPY_ALIGNMENT:
        got = "no such file" if found is None else f"{found} bytes"
        raise InputError(
            f"offsets `{file}`: expected {shard.num_documents + 1} growing int64, got {got}; "
            f"restore the file or rebuild the dataset"
        )


def load_offsets(folder: StoragePath, shard: ShardInfo) -> Int[np.ndarray, " offsets"]:
    """Where each document of a shard begins, in tokens, with the end of the last: int32 if that holds them.

    Args:
        folder: The dataset.
        shard: The shard as the manifest describes it.

    Raises:
        InputError: The file is missing or does not agree with the manifest: its checksum, its size or its values.
    """
    file = folder / f"{shard.name}{_OFFSETS_SUFFIX}"
    offsets = _load_array(file, "offsets", shard.num_documents + 1, shard.offsets_sha256)
    good = offsets.dtype == np.int64 and offsets.shape == (shard.num_documents + 1,) and offsets[0] == 0
    if not (good and offsets[-1] == shard.num_tokens and (np.diff(offsets) >= 0).all()):
        raise InputError(
            f"offsets `{file}`: expected {shard.num_documents + 1} growing int64 from 0 to "
            f"{shard.num_tokens}, got {offsets.dtype} of shape {offsets.shape!r} ending in {offsets[-1:].tolist()!r}; "
            f"rebuild the dataset"
        )
    return offsets.astype(np.int32) if shard.num_tokens <= _MAX_INT32 else offsets


def load_holdout_keys(folder: StoragePath, shard: ShardInfo) -> UInt64[np.ndarray, " documents"]:
    """Return the `holdout_key` of each document of a shard.

    Args:
        folder: The dataset.
        shard: The shard as the manifest describes it.

    Raises:
        InputError: There are none, or they do not agree with the manifest.
    """
    file = folder / f"{shard.name}{_HOLDOUT_SUFFIX}"
    if not shard.holdout_sha256 and not file.exists():
        raise InputError(
            f"holdout keys `{file}` are missing, so nothing of the dataset can be held out: a document states neither "
            f"`base_id` nor `id`, or an older version wrote it; build it again, with ids"
        )
    keys = _load_array(file, "holdout keys", shard.num_documents, shard.holdout_sha256)
    if keys.dtype != np.uint64 or keys.shape != (shard.num_documents,):
        raise InputError(
            f"holdout keys `{file}`: expected {shard.num_documents} uint64, got {keys.dtype} of shape {keys.shape!r}; "
            f"rebuild the dataset"
        )
    return keys


def has_holdout_keys(folder: StoragePath, shard: ShardInfo) -> bool:
    """Whether a shard comes with `load_holdout_keys`, as the manifest has it, or, in an older dataset, the folder.

    Args:
        folder: The dataset.
        shard: The shard as the manifest describes it.
    """
    return bool(shard.holdout_sha256) or (folder / f"{shard.name}{_HOLDOUT_SUFFIX}").exists()


def _load_array(file: StoragePath, what: str, num_values: int, sha256: str) -> np.ndarray:
    """Return the array of a side file, whose checksum is compared where the manifest has one."""
    try:
        if isinstance(file, Path) and file.is_file() and file.stat().st_size > 8 * num_values + _MAX_NPY_HEADER:
            raise InputError(f"expected {num_values} numbers, got {file.stat().st_size:,} bytes")
        content = read_bytes(file)
        found = hashlib.sha256(content).hexdigest()
        if sha256 and found != sha256:
            raise InputError(f"expected content of SHA-256 {sha256!r}, got {found!r}")
        return decode_array(content)
    except (InputError, OSError) as error:
        raise InputError(
            f"{what} `{file}` cannot be read ({error}); restore the file or rebuild the dataset"
        ) from error


def shard_file(folder: StoragePath, shard: ShardInfo) -> StoragePath:
    """Return the file that holds the records of a shard.

    Args:
        folder: The dataset.
        shard: The shard as the manifest describes it.
    """
    return folder / f"{shard.name}{_RECORDS_SUFFIX}"


def shard_files(folder: StoragePath) -> dict[str, str]:
    """Names of the files of shards in a folder, with the shard that each belongs to ("" for temporary files).

    A shard's offsets are written before its records. Records without offsets are therefore not a dataset's and are left
    out: shards of codes have the same names.

    Args:
        folder: The dataset.
    """
    found = {name: match for name in sorted(file_sizes(folder)) if (match := _SHARD_FILE.fullmatch(name))}
    return {
        name: "" if match["partial"] else match["shard"]
        for name, match in found.items()
        if match["suffix"] != _RECORDS_SUFFIX or match["partial"] or f"{match['shard']}{_OFFSETS_SUFFIX}" in found
    }


def is_shard_file(name: str) -> bool:
    """Whether a file has a name that `ShardWriter` gives, whoever wrote it.

    Args:
        name: Name of the file, without its folder.
    """
    return _SHARD_FILE.fullmatch(name) is not None


def _records_of(document: Document, tokens_per_record: int) -> Iterator[bytes]:
    """Yield the records of one document: the first carries the metadata, all but the last are full."""
    for start in range(0, max(len(document), 1), tokens_per_record):
        part = slice(start, start + tokens_per_record)
        mask = None if document.loss_mask is None else document.loss_mask[part]
        yield encode_document(Document(document.ids[part], mask, document.metadata if start == 0 else {}))
