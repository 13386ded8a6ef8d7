"""The JSON files of a model's folder, read strictly: damage is one line with the file and the remedy."""

import collections
import json
import math
import re
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

from audio_model.errors import InputError

MAX_BYTES = 256 * 2**20
"""A larger file is refused before it is read; the largest tokenizers have 40 MB."""
MAX_DEPTH = 64
"""Most lists and objects inside one another."""

_REMEDY = "fetch it again, or write the model's folder again"
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Args:
        path: Where.

    Returns:
        The object.

    Raises:
        InputError: If it is no regular file, too large, not UTF-8 (a byte order mark is allowed) or not JSON, or holds
            another value than an object, a number that is not finite, a key twice in one object, half a surrogate
            pair, or more than `MAX_DEPTH` nested lists and objects.
    """
    try:
        return _decode(_read(path))
    except OSError as error:
        raise InputError(f"`{path}` cannot be read ({error.strerror}): {_REMEDY}") from error
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise InputError(f"`{path}` must be UTF-8 text without halves of surrogate pairs: {_REMEDY}") from error
    except RecursionError as error:
        raise InputError(
            f"`{path}` must have at most {MAX_DEPTH} nested lists and objects, got more: {_REMEDY}"
        ) from error
    except InputError as error:
        raise InputError(f"`{path}` {error.message}: {_REMEDY}") from error
    except ValueError as error:
        raise InputError(f"`{path}` must be JSON ({error}): {_REMEDY}") from error


def is_count(value: object) -> TypeGuard[int]:
    """Whether a value of a JSON file is a whole number in [0, 2**31), as ids and their counts are.

    Args:
        value: Any value; `true` and `false` are no numbers.
    """
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _read(path: Path) -> str:
    if not path.is_file():
        raise InputError("must be a regular file")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise InputError(f"must have at most {MAX_BYTES:,} bytes, got {size:,}")
    return path.read_bytes().decode("utf-8-sig")


def _decode(text: str) -> dict[str, Any]:
    document = json.loads(
        text, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_without_repeated_keys
    )
    if not isinstance(document, dict):
        raise InputError(f"must hold a JSON object, got {document!r:.80}")
    if _ESCAPED_SURROGATE.search(text):
        json.dumps(document, ensure_ascii=False).encode()
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in _children(node) if isinstance(child, dict | list)]
    if level:
        raise RecursionError
    return document


def _children(node: Any) -> Any:
    return node.values() if isinstance(node, dict) else node


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits:.40} is too large a number")
    return number


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        repeated = collections.Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {repeated!r:.80} comes twice")
    return document
