"""ArrayRecord files that are either whole or absent: written under a temporary name, checksummed, read by number."""

import dataclasses
import errno
import functools
import hashlib
import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from audio_data.errors import InputError
from audio_data.storage import StoragePath, check_utf8, disk_errors, local_partial, publish

# One record a chunk: with more, reading one record decodes its whole group (4-6 times slower, measured).
_GROUPS = "group_size:1"
_READER_OPTIONS = "readahead_buffer_size:0"
_READER_BUFFER_BYTES = 32768
_MAX_OPEN_FILES = 256


@dataclasses.dataclass(frozen=True)
class RecordFile:
    """What is known of a finished file.

    Attributes:
        num_records: Records in it.
        num_bytes: Its size.
        sha256: Checksum of its content, 64 hexadecimal digits.
    """

    num_records: int
    num_bytes: int
    sha256: str


class RecordWriter:
    """Writes one file; a context manager, which drops what was written if its block ends in an error.

    Args:
        path: The file, here or on an object store. It appears when `finish` is called, or the block ends.
        compressed: Whether records are compressed. Token planes are already near their entropy, and every record
            carries a hash whether it is compressed or not.

    Raises:
        InputError: The disk refuses, here and in every method.
    """

    def __init__(self, path: StoragePath, *, compressed: bool = True):
        self._path = path
        self._partial = local_partial(path)
        # What a refusal names: the file as it is to be, or, where that is elsewhere, the one being written here.
        self._named = path if isinstance(path, Path) else self._partial
        self._num_records = 0
        check_utf8(self._partial)
        with disk_errors(self._named), _system_errors():
            self._writer = ArrayRecordWriter(str(self._partial), _GROUPS if compressed else f"{_GROUPS},uncompressed")
            if not self._writer.ok():
                # The reason why it could not be opened is told on closing.
                self._writer.close()

    def __enter__(self) -> "RecordWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.discard()
        elif self._writer.is_open():
            self.finish()

    def write(self, record: bytes) -> None:
        """Add a record at the end.

        Args:
            record: Its bytes.
        """
        with disk_errors(self._named), _system_errors():
            self._writer.write(record)
        self._num_records += 1

    def close(self) -> RecordFile:
        """End the file, which still has its temporary name, and say what is in it."""
        with disk_errors(self._named), _system_errors():
            self._writer.close()
            with open(self._partial, "rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            return RecordFile(self._num_records, self._partial.stat().st_size, sha256)

    def publish(self, path: StoragePath | None = None) -> None:
        """Give the closed file its name.

        Args:
            path: Another name in the same folder, if not the one that the writer was opened with.
        """
        publish(self._partial, self._path if path is None else path)

    def finish(self) -> RecordFile:
        """Publish the file and say what is in it."""
        file = self.close()
        self.publish()
        return file

    def discard(self) -> None:
        """Drop what was written."""
        # What made writing fail makes closing fail once more, and is known already.
        with suppress(RuntimeError):
            self._writer.close()
        self._partial.unlink(missing_ok=True)


def write_records(path: StoragePath, records: Iterable[bytes]) -> RecordFile:
    """Write a file, whole or not at all; memory is bounded by one record.

    Args:
        path: The file, here or on an object store.
        records: Bytes of the records, in order; may be none.

    Raises:
        InputError: The disk or the store refuses.
    """
    with RecordWriter(path) as writer:
        for record in records:
            writer.write(record)
        return writer.finish()


@functools.lru_cache(maxsize=_MAX_OPEN_FILES)
def open_records(path: str, sha256: str, num_records: int) -> ArrayRecordReader:
    """Return the one handle of a file in this process; `read` may be called from several threads.

    Args:
        path: A local file.
        sha256: Its checksum, as the manifest has it.
        num_records: How many records it must hold.

    Raises:
        InputError: It holds another number, is no ArrayRecord file, or its path is not UTF-8.

    The cache is bounded because a mixture of dozens of corpora has more shards than a process may have open files; a
    reader that is dropped while another thread reads from it lives on until that read is done. The checksum is part of
    the key so that a rebuilt shard is not read through the handle of the old one.
    """
    check_utf8(Path(path))
    reader = ArrayRecordReader(path, _READER_OPTIONS, file_reader_buffer_size=_READER_BUFFER_BYTES)
    # A file that is no ArrayRecord opens without an exception, with 0 records.
    if not reader.ok() or reader.num_records() != num_records:
        raise InputError(
            f"expected {num_records} records, got {reader.num_records()!r} in a file that is damaged or replaced"
        )
    return reader


@contextmanager
def _system_errors() -> Generator[None, None, None]:
    """Raise the `OSError` that ArrayRecord tells of in the text of its own error only."""
    try:
        yield
    except RuntimeError as error:
        for number in errno.errorcode:
            if os.strerror(number) in str(error):
                raise OSError(number, os.strerror(number)) from error
        raise
