"""Fields of a table or a JSON object, of which nobody promised the types."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any


def first_string(content: Mapping[str, Any], names: Sequence[str]) -> str:
    """The first of the named fields that is a string or a whole number, as a string; empty where none is."""
    for name in names:
        value = content.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return ""


def number(value: object) -> float | None:
    """A finite number, or None; tables also hold numbers as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        parsed = float(value)
    except ValueError:
        return None
    return parsed if math.isfinite(parsed) else None


def positive_number(value: object) -> float | None:
    """A finite number above 0, or None."""
    parsed = number(value)
    return parsed if parsed is not None and parsed > 0 else None


def short_digest(text: str) -> str:
    """Eight hexadecimal digits that stand for a long name inside an id."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]
