"""Tar archives, packed or not, as streams of members; one member is in memory at a time."""

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from audio_data import InputError

_BLOCK_BYTES = 512  # an archive ends with two blocks of zeros
_GZIP_MAGIC = b"\x1f\x8b"
_DAMAGE = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True)
class Member:
    """A file in an archive; its content can be read until the next member is asked for.

    Attributes:
        archive: The archive it lies in.
        name: Its path there, with `/`, without a leading `./`.
        num_bytes: Its size.
    """

    archive: Path
    name: str
    num_bytes: int
    _tar: tarfile.TarFile = field(repr=False)
    _info: tarfile.TarInfo = field(repr=False)

    @property
    def where(self) -> str:
        """Archive and member, for messages."""
        return f"`{self.archive}`, member `{self.name}`"

    def read(self) -> bytes:
        """Its whole content.

        Raises:
            InputError: If the archive ends inside it or is damaged there; names both.
        """
        with _damage(self.where):
            content = cast(BinaryIO, self._tar.extractfile(self._info)).read()
        if len(content) < self.num_bytes:
            raise InputError(f"{self.where}: expected {self.num_bytes} bytes, got {len(content)}; {_ADVICE}")
        return content


_ADVICE = "the archive is cut short or damaged, download it again"


@contextmanager
def _damage(where: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise InputError(f"{where}: expected a whole tar archive, got {str(error)!r}; {_ADVICE}") from error


def tar_members(path: Path) -> Iterator[Member]:
    """Streams the files in a tar archive, compressed with gzip or not, in the order in which they lie there.

    Folders and links are passed over.

    Args:
        path: The archive.

    Raises:
        InputError: If it is missing, not a tar archive, damaged, or ends without its end mark; names the archive and
            the last member that was seen.
    """
    if not path.is_file():
        raise InputError(f"`{path}`: expected a tar archive, got no such file; download it or correct the path")
    where = f"`{path}`"
    with _unpacked(path) as stream, _damage(where), tarfile.open(fileobj=stream, mode="r|") as tar:
        members = iter(tar)
        while True:
            with _damage(where):
                info = next(members, None)
            if info is None:
                break
            name = info.name.removeprefix("./")
            where = f"`{path}`, after member `{name}`"
            if info.isfile():
                yield Member(path, name, info.size, tar, info)
            # The tarfile module keeps every header it has seen, which in an archive of a million clips is a gigabyte.
            tar.members = []  # pyright: ignore[reportAttributeAccessIssue]
    _require_end(path, where)


@contextmanager
def _unpacked(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as raw:
        packed = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
        if not packed:
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as stream:
            yield cast(BinaryIO, stream)
            # Reading to the end compares the checksum; tarfile stops at its own end mark.
            with _damage(f"`{path}`"):
                while stream.read(1 << 20):
                    pass


def _require_end(path: Path, where: str) -> None:
    """Refuses an archive that stops between two members, which the tarfile module takes for its end."""
    with path.open("rb") as raw:
        if raw.read(2) == _GZIP_MAGIC:
            return
        raw.seek(-min(_BLOCK_BYTES, path.stat().st_size), 2)
        if raw.read().strip(b"\0"):
            raise InputError(f"{where}: expected the end mark of a tar archive, got none; {_ADVICE}")
