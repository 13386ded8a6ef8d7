"""Fields of a table or a JSON object, of which nobody promised the types."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from audio_tokenize.corpora.times import number


def first_string(content: Mapping[str, Any], names: Sequence[str]) -> str:
    """The first of the named fields that is a string or a whole number, as a string; empty where none is."""
    for name in names:
        value = content.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return ""


def stated_length(value: object) -> float | str | None:
    """A length in a table or JSON object: a finite number above 0, None where there is none, or what is wrong.

    Args:
        value: A number, or the text of one.
    """
    if value is None or value == "":
        return None
    parsed = number(value)
    return parsed if parsed is not None and parsed > 0 else f"is expected to be a finite number above 0, got {value!r}"


def short_digest(text: str) -> str:
    """Eight hexadecimal digits that stand for a long name inside an id."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
