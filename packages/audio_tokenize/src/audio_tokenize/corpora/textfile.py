"""Text files that people bring: UTF-8 with or without a byte order mark, or a message that names the file."""

import gzip
import zlib
from pathlib import Path

from audio_data import InputError


def decode_utf8(content: bytes, where: str) -> str:
    """Text of a file's bytes, without a byte order mark.

    Args:
        content: The bytes.
        where: The file, for messages, in backticks.

    Raises:
        InputError: If it is not UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where}: expected UTF-8 text, got byte 0x{error.object[error.start]:02x} at position {error.start}; "
            "convert it, for example with `iconv -f LATIN1 -t UTF-8`"
        ) from error


def read_utf8(path: Path) -> str:
    """Reads a whole text file, unpacking it where its name ends in `.gz`.

    Raises:
        InputError: If it is not UTF-8, cannot be opened, or is cut short.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"`{path}`: expected a whole gzip file, got {str(error)!r}; download it again") from error
    except OSError as error:
        raise InputError(f"`{path}`: cannot be read: {error.strerror}") from error
    return decode_utf8(content, f"`{path}`")


def numbered_lines(path: Path) -> list[tuple[str, str]]:
    """Reads the lines that hold anything, each with its place as `file:number`.

    Only line feeds end a line: a transcript may hold the other line separators of Unicode.

    Raises:
        InputError: If the file is not UTF-8, cannot be opened or holds nothing.
    """
    lines = [line.removesuffix("\r") for line in read_utf8(path).split("\n")]
    numbered = [(f"`{path}:{number}`", line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise InputError(f"`{path}`: expected at least 1 line, got an empty file")
    return numbered
