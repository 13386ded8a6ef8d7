"""Sources of audio bytes: files, parts of files, and the information that is read from them."""

import io
import mmap
from bisect import bisect_right
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

from audio_data import InputError

# A part of a file made of another: bytes that are given, or a range of the other file's bytes.
Piece = bytes | range
Buffer = bytes | mmap.mmap


@dataclass(frozen=True)
class AudioBytes:
    """An audio file that lies in memory, as a member of an archive or a cell of a table does.

    Attributes:
        name: Where it came from, for messages and for people.
        content: The file's bytes.
    """

    name: str
    content: bytes = field(repr=False)

    def __str__(self) -> str:
        return self.name


AudioSource = Path | AudioBytes


@contextmanager
def open_buffer(source: AudioSource) -> Generator[Buffer, None, None]:
    """Give the bytes of a source; those of a file on disk are mapped, not read.

    Raises:
        InputError: There is no such file, it is no regular file, it is empty, or the disk refuses.
    """
    if isinstance(source, AudioBytes):
        _require_bytes(source, len(source.content))
        yield source.content
        return
    _require_file(source)
    try:
        with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            yield mapped
    except OSError as error:
        raise InputError(f"`{source}`: expected readable audio, got {error.strerror!r}; replace the file") from error


def _require_file(path: Path) -> None:
    try:
        exists, is_file = path.exists(), path.is_file()
    except (OSError, ValueError) as error:
        raise InputError(f"`{path!s:.200}`: expected the path of an audio file, got {error}; correct it") from error
    if not exists:
        raise InputError(
            f"`{path}`: expected readable audio, got 'there is no such file'; correct the path, or restore the file"
        )
    if not is_file:
        kind = "a folder" if path.is_dir() else "a device, a pipe or a socket"
        raise InputError(f"`{path}`: expected readable audio, got 'it is {kind}'; give a file")
    _require_bytes(path, path.stat().st_size)


def _require_bytes(source: AudioSource, num_bytes: int) -> None:
    if not num_bytes:
        raise InputError(
            f"`{source}`: expected readable audio, got 'the file is empty (0 bytes)'; replace or remove the file"
        )


def open_stream(source: AudioSource) -> io.BufferedIOBase:
    """Open a source for reading; close it."""
    return io.BytesIO(source.content) if isinstance(source, AudioBytes) else source.open("rb")


class PieceStream:
    """A file made of pieces of another, in the form that `soundfile` reads.

    Args:
        stream: The other file; closed by `close`.
        pieces: What this one consists of, in order.
    """

    def __init__(self, stream: io.BufferedIOBase, pieces: Sequence[Piece]):
        self._stream, self._pieces = stream, tuple(piece for piece in pieces if len(piece))
        self._stops = list(accumulate(map(len, self._pieces)))
        self._position = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to an offset in bytes, and return it."""
        base = (0, self._position, self._stops[-1] if self._stops else 0)[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def read(self, num_bytes: int = -1) -> bytes:
        """Read up to so many bytes; fewer only at the end."""
        total = self._stops[-1] if self._stops else 0
        left = max(0, total - self._position)
        left = left if num_bytes < 0 else min(num_bytes, left)
        found = []
        while left:
            index = bisect_right(self._stops, self._position)
            piece = self._pieces[index]
            start = self._position - (self._stops[index] - len(piece))
            part = piece[start : start + left]
            if isinstance(part, range):
                self._stream.seek(part.start)
                content = self._stream.read(len(part))
            else:
                content = part
            if not content:
                break
            found.append(content)
            self._position += len(content)
            left -= len(content)
        return b"".join(found)

    def close(self) -> None:
        """Close the file that the pieces lie in."""
        self._stream.close()


CONVERT = "convert it, e.g. `ffmpeg -i IN OUT.flac`"


@dataclass(frozen=True)
class Section:
    """A stretch of a file that is a whole file to a decoder: all of it, or a link of a chain.

    Attributes:
        pieces: What the decoder is given; `None` is the file as it is.
        num_frames: Samples of a channel, where the bytes say more surely than the decoder; `None` asks the decoder.
    """

    pieces: tuple[Piece, ...] | None = None
    num_frames: int | None = None


@dataclass(frozen=True)
class Scan:
    """The sound in a file, by its bytes.

    Attributes:
        sections: In order of time; what lies behind a fault is not among them.
        fault: What is wrong with the file, as the end of `expected ..., got ...`; empty where it is whole.
        remedy: What to do about it.
    """

    sections: tuple[Section, ...]
    fault: str = ""
    remedy: str = "replace the file"


def cut_short(stated: int, there: int, unit: str = "bytes of sound") -> str:
    """Return the fault of a file that states more than it has."""
    return f"a file that is cut short: it states {stated:,} {unit}, {there:,} are there"
