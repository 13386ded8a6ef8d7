"""Tar archives, packed or not, as streams of members; one member is in memory at a time."""

import gzip
import tarfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from audio_data import InputError
from audio_tokenize.corpora.record_rules import size_problem

_BLOCK_BYTES = 512  # an archive ends with two blocks of zeros
_GZIP_MAGIC = b"\x1f\x8b"
# What the tarfile module raises for headers that it cannot parse includes plain errors of `int` and of slices.
_DAMAGE = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, OverflowError, IndexError, KeyError)
_EXTENDED_HEADERS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
_MAX_HEADER_BYTES = 1 << 20


class _BoundedHeader(tarfile.TarInfo):
    """A header whose extensions, which the tarfile module reads into memory whole, are of limited size."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_BoundedHeader":
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in _EXTENDED_HEADERS and header.size > _MAX_HEADER_BYTES):
            raise tarfile.ReadError(
                f"an extended header of {header.size:,} bytes, at most {_MAX_HEADER_BYTES:,} are read"
            )
        return header


@dataclass(frozen=True)
class Member:
    """A file in an archive; its content can be read until the next member is asked for.

    Attributes:
        archive: The archive it lies in.
        name: Its path there, with `/`, without a leading `./`.
        num_bytes: Its size.
        link: What it is a link to; None for a file.
    """

    archive: Path
    name: str
    num_bytes: int
    link: str | None
    _tar: tarfile.TarFile = field(repr=False)
    _info: tarfile.TarInfo = field(repr=False)

    @property
    def where(self) -> str:
        """Archive and member, for messages."""
        return f"`{self.archive}`, member `{self.name}`"

    def problem(self, max_bytes: int) -> str | None:
        """Why its content is not read: it is a link or too large.

        Args:
            max_bytes: What the caller can hold.
        """
        if self.link is not None:
            return f"{self.where}: expected a file, got a link to `{self.link}`; pack the file itself (`tar -h`)"
        too_large = size_problem(self.num_bytes, max_bytes)
        return None if too_large is None else f"{self.where}: {too_large}"

    def read(self) -> bytes:
        """Its whole content; `problem` says whether that can be held.

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
def _damage(where: str) -> Generator[None, None, None]:
    try:
        yield
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(f"{where}: expected a whole tar archive, got {str(error)!r}; {_ADVICE}") from error


def tar_members(path: Path) -> Iterator[Member]:
    """Stream the files in a tar archive, compressed with gzip or not, in the order in which they lie there.

    Folders are passed over; a link is a member without content.

    Args:
        path: The archive.

    Raises:
        InputError: If it is missing, not a tar archive, damaged, or ends without its end mark; names the archive and
            the last member that was seen.
    """
    if not path.is_file():
        raise InputError(f"`{path}`: expected a tar archive, got no such file; download it or correct the path")
    where = f"`{path}`"
    with (
        _unpacked(path) as stream,
        _damage(where),
        tarfile.open(fileobj=stream, mode="r|", tarinfo=_BoundedHeader) as tar,
    ):
        members = iter(tar)
        while True:
            with _damage(where):
                info = next(members, None)
            if info is None:
                break
            name = info.name.removeprefix("./")
            where = f"`{path}`, after member `{name}`"
            if info.isfile() or info.issym() or info.islnk():
                link = None if info.isfile() else info.linkname
                yield Member(path, name, info.size, link, tar, info)
            # The tarfile module keeps every header it has seen, which in an archive of a million clips is a gigabyte.
            tar.members = []  # pyright: ignore[reportAttributeAccessIssue]
    _require_end(path, where)


@contextmanager
def _unpacked(path: Path) -> Generator[BinaryIO, None, None]:
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
    """Refuse an archive that stops between two members, which the tarfile module takes for its end."""
    with path.open("rb") as raw:
        if raw.read(2) == _GZIP_MAGIC:
            return
        raw.seek(-min(_BLOCK_BYTES, path.stat().st_size), 2)
        if raw.read().strip(b"\0"):
            raise InputError(f"{where}: expected the end mark of a tar archive, got none; {_ADVICE}")
