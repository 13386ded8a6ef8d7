"""Typed values of a run from plain JSON: reading a saved run back, and `--set path=value`.

One function, `parse`, turns JSON into what a field's annotation says and refuses everything else with the field's path,
what it takes, and the nearest name where a name is unknown.
"""

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, TypeVar, Union

from audio_data import InputError

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """A dataclass value as JSON objects, lists and plain numbers, strings and nulls; `parse` inverts it."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")


def parse(annotation: Any, value: Any, path: str = "run") -> Any:
    """A JSON value as the type an annotation names.

    Understands dataclasses, unions of them (told apart by their fields), optional values, `Literal`, `tuple[T, ...]`,
    `Mapping[str, T]`, and numbers, strings and booleans. An integer is taken where a float is asked for.

    Args:
        annotation: the type, as `typing.get_type_hints` gives it.
        value: decoded JSON.
        path: name of the value in messages.

    Returns:
        The typed value.

    Raises:
        InputError: the value does not have the type; the message names the path.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if dataclasses.is_dataclass(annotation):
        return _parse_fields(typing.cast(type, annotation), value, path)
    if origin in (Union, types.UnionType):
        return _parse_union(arguments, value, path)
    if origin is Literal:
        return value if value in arguments else _refuse(path, f"one of {', '.join(map(repr, arguments))}", value)
    if origin is tuple:
        items = value if isinstance(value, list) else _refuse(path, "a list", value)
        return tuple(parse(arguments[0], item, f"{path}.{i}") for i, item in enumerate(items))
    if origin is not None and issubclass(origin, Mapping):
        entries = value if isinstance(value, dict) else _refuse(path, "an object", value)
        return {key: parse(arguments[1], item, f"{path}.{key}") for key, item in entries.items()}
    return _parse_plain(annotation, value, path)


def override(run: T, *assignments: str) -> T:
    """A copy of a value with some fields changed, all at once.

    Args:
        run: a dataclass value, such as a `TrainRun`.
        *assignments: `path=value` each, the path being field names joined by dots (a position in a tuple is a number,
            an entry of a mapping its key) and the value JSON, or a bare word for a string.

    Returns:
        The copy.

    Raises:
        InputError: no `=`, no such field (the nearest names are given), or a value of the wrong type.
    """
    tree = to_json(run)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise InputError(f"`--set` takes path=value, such as optimizer.learning_rate=0.001, got {assignment!r}.")
        _assign(tree, path.split("."), _decode(text))
    return typing.cast(T, parse(type(run), tree))


def _assign(tree: Any, names: list[str], value: Any) -> None:
    """Change one entry of a JSON tree in place. The last name is not checked here: parsing knows which fields exist."""
    node = tree
    for depth, name in enumerate(names):
        where = ".".join(["run", *names[:depth]])
        if isinstance(node, list):
            if not name.isdigit() or int(name) >= len(node):
                raise InputError(f"`{where}` has positions 0 to {len(node) - 1}, got {name!r}.")
        elif not isinstance(node, dict):
            raise InputError(f"`{where}` holds {node!r}, so it has no `{name}`; set it as a whole.")
        elif name not in node and depth < len(names) - 1:
            raise InputError(f"`{where}` has no `{name}`; {nearest(name, node)}")
        key: Any = int(name) if isinstance(node, list) else name
        if depth == len(names) - 1:
            node[key] = value
        else:
            node = node[key]


def nearest(name: str, known: Any) -> str:
    """The known names closest to a wrong one, as the end of a message."""
    names = sorted(map(str, known))
    close = difflib.get_close_matches(name, names, n=3)
    return f"did you mean {' or '.join(close)}?" if close else f"it has {', '.join(names)}."


def _decode(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


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
    return cls(**{name: parse(_hints(cls)[name], item, f"{path}.{name}") for name, item in value.items()})


def _parse_union(options: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and type(None) in options:
        return None
    options = tuple(option for option in options if option is not type(None))
    records = [option for option in options if dataclasses.is_dataclass(option)]
    if isinstance(value, dict) and records:
        best = max(records, key=lambda option: len(set(value) & {field.name for field in dataclasses.fields(option)}))
        return parse(best, value, path)
    plain = [option for option in options if option not in records]
    if not plain:
        _refuse(path, "an object", value)
    return parse(plain[0], value, path)


def _parse_plain(annotation: Any, value: Any, path: str) -> Any:
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not annotation:
        _refuse(
            path, {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}[annotation], value
        )
    return value


def _refuse(path: str, expected: str, value: Any) -> typing.NoReturn:
    raise InputError(f"`{path}` takes {expected}, got {value!r}.")
