"""Text files of users: UTF-8, or UTF-16 and UTF-32 with a byte order mark, packed with gzip or zstd or not.

A byte that is not UTF-8 becomes a lone surrogate (`surrogateescape`), which `record_rules.text_problem` names; so it
costs the record it lies in and not the file.
"""

import codecs
import io
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from audio_data import InputError
from audio_tokenize.corpora.record_rules import MAX_TEXT_BYTES, size_problem

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_HEAD_BYTES = 4096
# Of UTF-16 without a mark half the bytes of Latin letters are zero; one zero among text is a fault of one record.
_ZEROS_OF_UTF16 = 8
# Libraries read ahead in blocks of this size; lines are cut out of them here.
_BLOCK_BYTES = 1 << 20

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
"""Compression of a text file by the end of its name."""
DAMAGED = "the file is cut short or damaged: get it again"


class Line(NamedTuple):
    """A line of a text file.

    Attributes:
        where: File and number, for messages, in backticks.
        number: Its number in the file, from 1.
        name: Name of the file and number, for the id of a record without one.
        text: Without its end; empty where there is a problem.
        problem: Why it is not read.
    """

    where: str
    number: int
    name: str
    text: str
    problem: str | None = None


def text_encoding(head: bytes, where: str) -> tuple[str, str]:
    """Name and error handler of the encoding of a text, by its byte order mark; UTF-8 without one.

    Args:
        head: The first bytes, or all of them.
        where: The file, for messages, in backticks.

    Raises:
        InputError: If there are zero bytes and no byte order mark, as in UTF-16 without one.
    """
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if head.startswith(mark)), "utf-8")
    if not encoding.startswith("utf-8"):
        return encoding, "surrogatepass"
    if head.count(0) * _ZEROS_OF_UTF16 > len(head):
        order = "LE" if head.index(b"\0") % 2 else "BE"
        raise InputError(
            f"{where}: expected UTF-8, or UTF-16 with a byte order mark, got zero bytes without such a mark; if it is "
            f"UTF-16, convert it with `iconv -f UTF-16{order} -t UTF-8`"
        )
    return encoding, "surrogateescape"


def decode_text(content: bytes, where: str) -> str:
    """Text of a file's bytes, without a byte order mark; what is not UTF-8 as lone surrogates.

    Args:
        content: The bytes.
        where: The file, for messages, in backticks.

    Raises:
        InputError: If it is UTF-16 or UTF-32 that is cut short, or holds zero bytes.
    """
    encoding, errors = text_encoding(content, where)
    try:
        return content.decode(encoding, errors)
    except UnicodeDecodeError as error:
        raise _not_whole(where, error) from error


def read_text(path: Path, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Read a whole text file, unpacking it where its name ends in one of `COMPRESSIONS`; see `decode_text`.

    Args:
        path: The file.
        max_bytes: What it may hold at most, unpacked.

    Raises:
        InputError: If it cannot be opened, is cut short, too large or of another encoding.
    """
    with unpacked(path) as stream:
        content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise InputError(f"`{path}`: expected at most {max_bytes:,} bytes of text, got more; cut it into parts")
    return decode_text(content, f"`{path}`")


def numbered_lines(path: Path, *, max_size: int = MAX_TEXT_BYTES, may_be_empty: bool = False) -> Iterator[Line]:
    """Stream the lines that hold anything; a line that is too long comes without its text.

    Only line feeds end a line: a transcript may hold the other line separators of Unicode.

    Args:
        path: The file.
        max_size: Characters of a line at most.
        may_be_empty: Whether the file may hold no line.

    Raises:
        InputError: If the file cannot be opened, is cut short or of another encoding, or holds no line.
    """
    number, is_empty = 0, True
    with unpacked(path) as stream:
        try:
            with _text_stream(stream, f"`{path}`") as text:
                while line := text.readline(max_size + 1):
                    number += 1
                    names = f"`{path}:{number}`", number, f"{path.name}:{number}"
                    if len(line) > max_size:
                        num_characters = len(line) + _pass_over_line(text, line)
                        yield Line(*names, "", size_problem(num_characters, max_size))
                    elif not line.isspace():
                        line = line.removesuffix("\n").removesuffix("\r")  # one copy while others work on it
                        yield Line(*names, line)
                    else:
                        continue
                    is_empty = False
        except UnicodeDecodeError as error:
            raise _not_whole(f"`{path}`", error) from error
        except OSError as error:
            raise InputError(f"`{path}:{number + 1}`: {error}; {DAMAGED}") from error
    if is_empty and not may_be_empty:
        raise InputError(f"`{path}`: expected at least 1 line, got an empty file")


def _pass_over_line(text: io.TextIOWrapper, line: str) -> int:
    """Read to the end of a line without holding it; return how many characters there were."""
    num_characters = 0
    while line and not line.endswith("\n"):
        line = text.readline(1 << 20)
        num_characters += len(line)
    return num_characters


@contextmanager
def _text_stream(stream: io.BufferedReader, where: str) -> Generator[io.TextIOWrapper, None, None]:
    encoding, errors = text_encoding(stream.peek(_HEAD_BYTES)[:_HEAD_BYTES], where)
    text = io.TextIOWrapper(stream, encoding, errors, newline="\n")
    try:
        yield text
    finally:
        text.detach()


@contextmanager
def unpacked(path: Path) -> Generator[io.BufferedReader, None, None]:
    """Open a file for its bytes, unpacked where its name ends in one of `COMPRESSIONS`.

    Args:
        path: The file.

    Raises:
        InputError: If it cannot be opened or read.
    """
    compression = COMPRESSIONS.get(path.suffix.lower())
    try:
        if compression is None:
            with path.open("rb") as raw:
                yield raw
            return
        import pyarrow as pa

        # Several compressed frames in one file, as parallel compressors write them, are read as one.
        with pa.input_stream(str(path), compression=compression) as stream:
            yield io.BufferedReader(stream, _BLOCK_BYTES)  # pyright: ignore[reportArgumentType]
    except OSError as error:
        reason = f"cannot be read: {error.strerror}" if error.strerror else f"{error}; {DAMAGED}"
        raise InputError(f"`{path}`: {reason}") from error


def _not_whole(where: str, error: UnicodeDecodeError) -> InputError:
    return InputError(
        f"{where}: expected {error.encoding.upper()} as its byte order mark says, got {error.reason} at byte "
        f"{error.start}; the file is cut short or damaged"
    )
