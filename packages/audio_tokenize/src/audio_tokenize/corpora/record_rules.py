"""Limits and rules for the records of a corpus, the same for every reader.

A record that breaks the rule is skipped with its reason, and the records after it are read. A file whose end is missing
is another matter: what is missing cannot be named, so that reading stops with an error.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from audio_data import InputError, decode_object

MAX_TEXT_BYTES = 1 << 24
"""Largest transcript, line of a table or manifest, or text file beside a recording: 16 MiB."""

MAX_DOCUMENT_BYTES = 1 << 26
"""Largest document of a corpus of texts: 64 MiB."""

MAX_TABLE_BYTES = 1 << 28
"""Largest file of captions, which is parsed as a whole: 256 MiB."""

MAX_DEPTH = 32
"""Deepest nesting of lists and objects in a record; JSON files that hold records may nest twice as deep."""

MAX_AUDIO_BYTES = 1 << 31
"""Largest recording inside an archive or a table, and largest folder of an archive that is held at once: 2 GiB."""

KEYS: Mapping[str, tuple[str, ...]] = {
    "audio": (
        *("audio", "audio_filepath", "file_name", "audio_file", "audio_path", "wav_filename", "filename"),
        *("file", "wav_file", "path", "wav"),
    ),
    "text": ("text", "transcription", "transcript", "sentence", "normalized_text", "normalized_transcription"),
    "speaker": ("speaker", "speaker_name", "speaker_id", "client_id"),
    "language": ("language", "locale", "lang"),
    "id": ("id",),
    "recording": ("recording",),
    "split": ("split",),
}
"""Names of each field, the first that a record has: this project's, NeMo's, Hugging Face's, XTTS', Common Voice's."""

_ID = re.compile(r'"id"\s*:\s*"((?:[^"\\]|\\.)+)"')
_CONVERT = "if the file is Latin-1, convert it with `iconv -f LATIN1 -t UTF-8`"
_RENAME = "rename the file, for example with `convmv -f LATIN1 -t UTF-8`, or correct what names it"
_REPAIR = "the rest is UTF-8, so repair this place by hand; converting the file would damage the rest"


def printable(text: str) -> str:
    r"""Return the text with escapes such as `\udce9` in place of what cannot be written as UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def escaped(text: str) -> str:
    """Return the text with escapes for line breaks, controls and marks of direction, which would redraw a terminal."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def text_problem(text: str, *, is_name: bool = False) -> str | None:
    """Why a string cannot be kept: half a surrogate pair, a byte that is not UTF-8, or a zero character.

    Readers decode with `surrogateescape`, so that a byte that is not UTF-8 arrives here as U+DC80 to U+DCFF.

    Args:
        text: Any string.
        is_name: Whether it is perhaps the name of a file, which no conversion of a file mends.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        point = ord(text[error.start])
        if not 0xDC80 <= point <= 0xDCFF:
            return f"half a surrogate pair, U+{point:04X}, at character {error.start}; remove or complete it"
        has_others = any(ord(character) > 0x7F and not "\ud800" <= character <= "\udfff" for character in text)
        advice = _RENAME if is_name else _REPAIR if has_others else _CONVERT
        return f"byte 0x{point - 0xDC00:02x} at character {error.start}, expected UTF-8; {advice}"
    if "\0" in text:
        return f"a zero character at character {text.index(chr(0))}; remove it, or convert the file from UTF-16"
    return None


def value_problem(value: object, depth: int = 0) -> str | None:
    """Why a value cannot be kept as JSON: what `text_problem` names, a number that is not finite, or deep nesting.

    Args:
        value: A string, number, truth value, None, or a list or mapping of such.
        depth: How deep it lies already.
    """
    if depth > MAX_DEPTH:
        return f"nesting of over {MAX_DEPTH} levels; flatten it"
    if isinstance(value, str):
        return text_problem(value)
    if value is None or isinstance(value, bool | int):
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"the number {value!r}, expected a finite one"
    if isinstance(value, Mapping):
        parts: list[object] = [part for pair in value.items() for part in pair]
    elif isinstance(value, list | tuple):
        parts = list(value)
    else:
        return f"a value of type {type(value).__name__}; write it as text or a number"
    return next((problem for part in parts if (problem := value_problem(part, depth + 1))), None)


def parse_json_object(text: str, where: str) -> dict[str, Any]:
    """Return the object of a JSON text that is one record, read strictly by `audio_data.decode_object`.

    Args:
        text: The line or member.
        where: Its file and line, or archive and member, for the message.

    Raises:
        InputError: If it is not a JSON object, or holds what `text_problem` and `value_problem` name.
    """
    if problem := text_problem(text):
        raise InputError(f"{where}: {problem}")
    try:
        return decode_object(text)
    except InputError as error:
        raise InputError(f"{where}: {error.message}; correct it") from error


def claimed_id(text: str) -> str | None:
    """Return what a record that is not JSON, or not all JSON, gives as its id, for the list of what was skipped."""
    match = _ID.search(text)
    return match[1] if match else None


def size_problem(num_bytes: int, limit: int) -> str | None:
    """Why a record of that many bytes is not read.

    Args:
        num_bytes: What it holds, or says that it holds.
        limit: One of the limits of this module.
    """
    if num_bytes <= limit:
        return None
    return f"{num_bytes:,} bytes, expected at most {limit:,}; cut it into parts or compress it"
