"""Shard files: documents as ArrayRecord records, and where each document begins.

```
DATASET/
├── manifest.json               what makes the folder a dataset; written last
├── shard-00000.arrayrecord     encoded documents, one or more records each
├── shard-00000.offsets.npy     int64 [num_documents + 1]: where each document begins, in tokens of the shard
└── ...
```

A document longer than ``tokens_per_record`` lies in several records, so that reading a window out of an hour of speech
does not read the hour.
"""

import functools
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from jaxtyping import Int64

from audio_data.errors import InputError
from audio_data.manifest import ShardInfo, publish
from audio_data.records import Document, encode_document
from audio_data.vocabulary import Vocabulary

_RECORDS_SUFFIX = ".arrayrecord"
_OFFSETS_SUFFIX = ".offsets.npy"
# One record a chunk: with more, reading one record decodes its whole group (4-6 times slower, measured). Token planes
# are already near their entropy, and every chunk carries a hash whether it is compressed or not.
_WRITER_OPTIONS = "group_size:1,uncompressed"
_READER_OPTIONS = "readahead_buffer_size:0"
_READER_BUFFER_BYTES = 32768
_MAX_OPEN_SHARDS = 256


class ShardWriter:
    """Writes one shard under a temporary name, and renames it when it is complete.

    Args:
        folder: The dataset.
        name: Name of the shard, without suffix.
        vocabulary: What the ids mean; every id is checked against it.
        tokens_per_record: Longer documents are stored in several records of this many tokens.
    """

    def __init__(self, folder: Path, name: str, vocabulary: Vocabulary, tokens_per_record: int):
        self._folder, self._name = folder, name
        self._vocabulary, self._tokens_per_record = vocabulary, tokens_per_record
        self._temporary = folder / f".{name}{_RECORDS_SUFFIX}.tmp"
        self._writer = ArrayRecordWriter(str(self._temporary), _WRITER_OPTIONS)
        self._offsets = [0]
        self._counts = np.zeros(len(vocabulary.kinds), np.int64)
        self._seconds = 0.0

    def write(self, document: Document) -> None:
        """Adds a document at the end.

        Args:
            document: Its ids must belong to the vocabulary.

        Raises:
            InputError: They do not, its ``seconds`` is no duration, or the disk is full.
        """
        counts = np.bincount(self._vocabulary.kind_of(document.ids), minlength=self._counts.size)
        seconds = document.metadata.get("seconds", 0.0)
        if not isinstance(seconds, (int, float)) or seconds < 0:
            raise InputError(f"metadata `seconds`: expected a number >= 0, got {seconds!r}")
        for record in _records_of(document, self._tokens_per_record):
            self._append(record)
        self._offsets.append(self._offsets[-1] + len(document))
        self._counts += counts
        self._seconds += seconds

    def is_full(self, documents_per_shard: int, tokens_per_shard: int) -> bool:
        """Whether the shard holds that many documents or tokens."""
        return len(self._offsets) > documents_per_shard or self._offsets[-1] >= tokens_per_shard

    def finish(self) -> tuple[ShardInfo, Int64[np.ndarray, " kinds"], float]:
        """Publishes the shard.

        Returns:
            What the manifest says of it, its tokens by kind, and its seconds of audio.
        """
        try:
            self._writer.close()
        except RuntimeError as error:
            raise self._failed(error) from error
        sha256 = _sync_and_hash(self._temporary)
        num_bytes = self._temporary.stat().st_size
        temporary_offsets = self._folder / f".{self._name}{_OFFSETS_SUFFIX}.tmp"
        with open(temporary_offsets, "wb") as file:
            np.save(file, np.array(self._offsets, np.int64), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        publish(temporary_offsets, self._folder / f"{self._name}{_OFFSETS_SUFFIX}")
        publish(self._temporary, self._folder / f"{self._name}{_RECORDS_SUFFIX}")
        info = ShardInfo(self._name, len(self._offsets) - 1, self._offsets[-1], num_bytes, sha256)
        return info, self._counts, self._seconds

    def discard(self) -> None:
        """Drops what was written."""
        self._writer.close()
        self._temporary.unlink(missing_ok=True)

    def _append(self, record: bytes) -> None:
        try:
            self._writer.write(record)
        except RuntimeError as error:
            raise self._failed(error) from error

    def _failed(self, error: RuntimeError) -> InputError:
        return InputError(
            f"shard `{self._temporary}` cannot be written ({error}); free some space and run the command again"
        )


def check_shard_size(folder: Path, shard: ShardInfo) -> None:
    """Checks that a shard is there and as large as its manifest says.

    Args:
        folder: The dataset.
        shard: The shard as the manifest describes it.

    Raises:
        InputError: It is not.
    """
    file = shard_file(folder, shard)
    if not file.is_file():
        raise InputError(f"shard `{file}` is missing, though the manifest lists it; restore it or rebuild the dataset")
    if file.stat().st_size != shard.num_bytes:
        raise InputError(
            f"shard `{file}`: expected {shard.num_bytes} bytes, got {file.stat().st_size!r}; "
            f"it is truncated or replaced, so restore it or rebuild the dataset"
        )


def load_offsets(folder: Path, shard: ShardInfo) -> Int64[np.ndarray, " offsets"]:
    """Where each document of a shard begins, in tokens, with the end of the last.

    Args:
        folder: The dataset.
        shard: The shard as the manifest describes it.

    Raises:
        InputError: The file is missing or does not agree with the manifest.
    """
    file = folder / f"{shard.name}{_OFFSETS_SUFFIX}"
    try:
        offsets = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"offsets `{file}` cannot be read ({error}); restore the file or rebuild the dataset"
        ) from error
    good = offsets.dtype == np.int64 and offsets.shape == (shard.num_documents + 1,) and offsets[0] == 0
    if not (good and offsets[-1] == shard.num_tokens and (np.diff(offsets) >= 0).all()):
        raise InputError(
            f"offsets `{file}`: expected {shard.num_documents + 1} growing int64 from 0 to "
            f"{shard.num_tokens}, got {offsets.dtype} of shape {offsets.shape!r} ending in {offsets[-1:].tolist()!r}; "
            f"rebuild the dataset"
        )
    return offsets


@functools.lru_cache(maxsize=_MAX_OPEN_SHARDS)
def open_reader(path: str, sha256: str, num_records: int) -> ArrayRecordReader:
    """The one handle of a shard in this process; `read` may be called from several threads.

    Args:
        path: The file.
        sha256: Its checksum, as the manifest has it.
        num_records: How many records it must hold.

    Raises:
        InputError: It holds another number, or is no ArrayRecord file.

    The cache is bounded because a mixture of dozens of corpora has more shards than a process may have open files; a
    reader that is dropped while another thread reads from it lives on until that read is done. The checksum is part of
    the key so that a rebuilt shard is not read through the handle of the old one.
    """
    reader = ArrayRecordReader(path, _READER_OPTIONS, file_reader_buffer_size=_READER_BUFFER_BYTES)
    # A file that is no ArrayRecord opens without an exception, with 0 records.
    if not reader.ok() or reader.num_records() != num_records:
        raise InputError(
            f"expected {num_records} records, got {reader.num_records()!r} in a file that is damaged or replaced"
        )
    return reader


def shard_file(folder: Path, shard: ShardInfo) -> Path:
    """The file that holds the records of a shard.

    Args:
        folder: The dataset.
        shard: The shard as the manifest describes it.
    """
    return folder / f"{shard.name}{_RECORDS_SUFFIX}"


def shard_files(folder: Path) -> dict[Path, str]:
    """Files of shards in a folder, with the name of the shard that each belongs to ("" for temporary files).

    Args:
        folder: The dataset.
    """
    files: dict[Path, str] = {}
    for suffix in (_RECORDS_SUFFIX, _OFFSETS_SUFFIX):
        files.update({file: file.name.removesuffix(suffix) for file in folder.glob(f"shard-*{suffix}")})
        files.update(dict.fromkeys(folder.glob(f".shard-*{suffix}.tmp"), ""))
    return files


def hash_file(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits.

    Args:
        path: The file.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _records_of(document: Document, tokens_per_record: int) -> Iterator[bytes]:
    """The records of one document: the first carries the metadata, all but the last are full."""
    for start in range(0, max(len(document), 1), tokens_per_record):
        part = slice(start, start + tokens_per_record)
        mask = None if document.loss_mask is None else document.loss_mask[part]
        yield encode_document(Document(document.ids[part], mask, document.metadata if start == 0 else {}))


def _sync_and_hash(path: Path) -> str:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()
