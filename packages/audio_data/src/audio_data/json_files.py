"""Read JSON strictly, and turn it into typed values: the one reader of every JSON side file.

A damaged file never gives a traceback or a silent default. `decode_json` refuses what is not UTF-8, not JSON, not
finite, nested deeper than `MAX_DEPTH`, or not encodable again; `read_json` and `read_json_lines` also bound the size
and name the file and the remedy; `from_json` checks decoded JSON against a type annotation, field by field. A file that
`write_sealed_json` wrote carries the checksum of its own content, and `read_json` refuses it after any change.
"""

import dataclasses
import hashlib
import json
import math
import re
import types
import typing
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal, TypeVar, Union

from audio_data.errors import InputError
from audio_data.storage import AnyPath, StoragePath, read_bytes, storage_path, write_json
from audio_data.suggestions import nearest

T = TypeVar("T")

MAX_BYTES = 256 * 2**20
MAX_DEPTH = 64
SEAL = "content_sha256"
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_INT64 = 2**63
_PLAIN = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def decode_json(content: bytes | str) -> Any:
    """Decode one JSON value strictly.

    Args:
        content: The text, or its UTF-8 bytes; a byte order mark is allowed.

    Returns:
        Objects as `dict`, lists as `list`.

    Raises:
        InputError: Not UTF-8, not JSON, `NaN` or an infinite number, a key twice in one object, nested deeper than
            `MAX_DEPTH`, or text with half of a surrogate pair.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        value = json.loads(
            text, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_without_repeated_keys
        )
        if isinstance(content, str):
            content.encode()
        if _ESCAPED_SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise InputError(f"expected UTF-8 text, got {error.object[error.start : error.start + 8]!r}") from error
    except RecursionError as error:
        raise InputError(f"expected at most {MAX_DEPTH} nested lists and objects, got many more") from error
    except ValueError as error:
        raise InputError(f"expected JSON ({error})") from error
    # Most records are flat, and counting brackets is much cheaper than walking through the value.
    if text.count("{") + text.count("[") >= MAX_DEPTH:
        _check_depth(value)
    return value


def _check_depth(value: Any) -> None:
    depth, level = 0, [value]
    while level := [child for node in level for child in _children(node) if isinstance(child, dict | list)]:
        depth += 1
        if depth >= MAX_DEPTH:
            raise InputError(f"expected at most {MAX_DEPTH} nested lists and objects, got more")


def decode_object(content: bytes | str) -> dict[str, Any]:
    """Decode one JSON object, as `decode_json` does.

    Raises:
        InputError: It is damaged, or another JSON value.
    """
    value = decode_json(content)
    if not isinstance(value, dict):
        raise InputError(f"expected a JSON object, got {value!r:.80}")
    return value


def read_json(path: AnyPath, *, remedy: str, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Read a file that holds one JSON object; the checksum of `write_sealed_json` is checked and left out.

    Args:
        path: The file, local or a URL.
        remedy: What a user does about a missing or damaged file, such as "run `audio-data build` again".
        max_bytes: A larger file is refused before it is read.

    Raises:
        InputError: There is no such regular file, it is too large, `decode_object` refuses it, or its content has
            another checksum than it states; one line with the file and the remedy.
    """
    with file_errors(path, remedy):
        value = decode_object(_read_bounded(storage_path(path), max_bytes))
        if SEAL in value:
            stated, found = value.pop(SEAL), _digest(value)
            if stated != found:
                raise InputError(f"expected content of SHA-256 {stated!r:.70}, got {found!r}: it is damaged or edited")
        return value


def write_sealed_json(path: AnyPath, content: Mapping[str, Any]) -> None:
    """Write a JSON object with the checksum of its content, which `read_json` checks.

    Args:
        path: Where the file goes; written whole or not at all.
        content: What `json` can write.

    Raises:
        InputError: The disk or the store refuses, see `disk_errors`.
    """
    plain = json.loads(json.dumps(content, allow_nan=False))
    write_json(storage_path(path), {**plain, SEAL: _digest(plain)})


def read_json_lines(
    path: AnyPath, *, remedy: str, allow_cut: bool = False, max_bytes: int = 8 * MAX_BYTES
) -> list[dict[str, Any]]:
    """Read a file of one JSON object a line; empty lines are skipped.

    Args:
        path: The file, local or a URL.
        remedy: What a user does about a missing or damaged file.
        allow_cut: Leave out a last line without a line feed, which a kill cut short, instead of refusing it.
        max_bytes: A larger file is refused before it is read.

    Raises:
        InputError: There is no such regular file, it is too large, or a line is damaged; one line with the file, the
            line's number and the remedy.
    """
    with file_errors(path, remedy):
        content = _read_bounded(storage_path(path), max_bytes)
        if allow_cut:
            content = content[: content.rfind(b"\n") + 1]
        return [decode_line(line, number) for number, line in enumerate(content.split(b"\n"), start=1) if line.strip()]


def decode_line(line: bytes | str, number: int) -> dict[str, Any]:
    """Decode one line of a file of JSON objects.

    Args:
        line: Its content.
        number: Its number from 1, for the message.

    Raises:
        InputError: `decode_object` refuses it; the message names the line.
    """
    try:
        return decode_object(line)
    except InputError as error:
        raise InputError(f"line {number}: {error.message}") from error


@contextmanager
def file_errors(path: AnyPath, remedy: str) -> Generator[None, None, None]:
    """Name a file and the remedy in every `InputError` that is raised inside.

    Args:
        path: The file that is read.
        remedy: What a user does about it.
    """
    try:
        yield
    except InputError as error:
        where = "" if str(path) in error.message else f"`{path}`: "
        raise InputError(f"{where}{error.message}; {remedy}") from error


def to_json(value: Any) -> Any:
    """Turn a dataclass value into JSON objects, lists and plain numbers, strings and nulls; `from_json` inverts it."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")


def from_json(annotation: Any, value: Any, path: str) -> Any:
    """Check a JSON value against a type annotation and build the typed value.

    Understands dataclasses, unions of them (told apart by their fields), optional values, `Literal`, `tuple[T, ...]`,
    `tuple[A, B]`, `list[T]`, `Mapping[str, T]`, `dict[str, T]`, `Any`, and numbers, strings and booleans. An integer is
    taken where a float is asked for.

    Args:
        annotation: The type, as `typing.get_type_hints` gives it.
        value: Decoded JSON.
        path: Name of the value in messages.

    Raises:
        InputError: The value does not have the type; the message names the path.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:
        return value
    if dataclasses.is_dataclass(annotation):
        return _parse_fields(typing.cast(type, annotation), value, path)
    if origin in (Union, types.UnionType):
        return _parse_union(arguments, value, path)
    if origin is Literal:
        return value if value in arguments else _refuse(path, f"one of {', '.join(map(repr, arguments))}", value)
    if origin in (tuple, list):
        return _parse_items(origin, arguments, value, path)
    if origin is not None and issubclass(origin, Mapping):
        entries = value if isinstance(value, dict) else _refuse(path, "an object", value)
        return {key: from_json(arguments[1], item, f"{path}.{key}") for key, item in entries.items()}
    return _parse_plain(annotation, value, path)


def _read_bounded(path: StoragePath, max_bytes: int) -> bytes:
    if not path.is_file():
        raise InputError(f"`{path}` is {'no regular file' if path.exists() else 'missing'}")
    size = path.stat().st_size
    if size > max_bytes:
        raise InputError(f"expected at most {max_bytes:,} bytes, got {size:,}")
    return read_bytes(path)


def _digest(value: Mapping[str, Any]) -> str:
    """SHA-256 of JSON values, whatever the order of the keys and the spaces between them."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _children(node: Any) -> Sequence[Any]:
    return list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else ()


def _refuse_constant(name: str) -> typing.NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits[:40]} is too large")
    return number


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} appears twice")
    return found


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _parse_fields(cls: type, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        _refuse(path, f"an object with the fields of {cls.__name__}", value)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name in value:
        if name not in fields:
            raise InputError(f"`{path}` has no `{name}`; {nearest(name, fields)}")
    required = dataclasses.MISSING
    missing = [
        n for n, f in fields.items() if n not in value and f.default is required and f.default_factory is required
    ]
    if missing:
        raise InputError(f"`{path}` lacks {', '.join(f'`{name}`' for name in missing)} of {cls.__name__}.")
    return cls(**{name: from_json(_hints(cls)[name], item, f"{path}.{name}") for name, item in value.items()})


def _parse_union(options: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and type(None) in options:
        return None
    options = tuple(option for option in options if option is not type(None))
    records = [option for option in options if dataclasses.is_dataclass(option)]
    if isinstance(value, dict) and records:
        best = max(records, key=lambda option: len(set(value) & {field.name for field in dataclasses.fields(option)}))
        return from_json(best, value, path)
    plain = [option for option in options if option not in records]
    if not plain:
        _refuse(path, "an object", value)
    exact = next((option for option in plain if type(value) is option), plain[0])
    return from_json(exact, value, path)


def _parse_items(kind: type, types_of: tuple[Any, ...], value: Any, path: str) -> Any:
    items = value if isinstance(value, list) else _refuse(path, "a list", value)
    if kind is tuple and types_of[-1] is not Ellipsis:
        if len(items) != len(types_of):
            _refuse(path, f"a list of {len(types_of)}", value)
        of_each = types_of
    else:
        of_each = types_of[:1] * len(items)
    return kind(from_json(of, item, f"{path}.{i}") for i, (of, item) in enumerate(zip(of_each, items, strict=True)))


def _parse_plain(annotation: Any, value: Any, path: str) -> Any:
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**1023 else value
    if type(value) is not annotation or (annotation is int and not -_INT64 <= value < _INT64):
        _refuse(path, _PLAIN[annotation], value)
    return value


def _refuse(path: str, expected: str, value: Any) -> typing.NoReturn:
    raise InputError(f"`{path}` takes {expected}, got {value!r:.80}.")
