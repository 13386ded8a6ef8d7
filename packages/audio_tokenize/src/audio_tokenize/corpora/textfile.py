"""Text files that people bring: UTF-8 with or without a byte order mark, or a message that names the file."""

from pathlib import Path

from audio_data import InputError


def read_utf8(path: Path) -> str:
    """Reads a whole text file.

    Raises:
        InputError: If it is not UTF-8 or cannot be opened.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"`{path}`: expected UTF-8 text, got byte 0x{error.object[error.start]:02x} at position {error.start}; "
            "convert it, for example with `iconv -f LATIN1 -t UTF-8`"
        ) from error
    except OSError as error:
        raise InputError(f"`{path}`: cannot be read: {error.strerror}") from error


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
