"""Settings of a command line, `NAME=VALUE`: split, read as the type of the field, and put into a value."""

import types
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import is_dataclass
from typing import Any, TypeAlias, TypeVar

from audio_data.errors import InputError
from audio_data.json_files import decode_json, from_json, to_json
from audio_data.suggestions import nearest

T = TypeVar("T")
Assignment: TypeAlias = tuple[list[str], Any]
_READ = (int, float, bool, types.NoneType)


def split_setting(setting: str, form: str = "NAME=VALUE") -> tuple[str, str]:
    """Return the name and the text of the value, without white space around either.

    Args:
        setting: What was given.
        form: What it should look like, for the message; may end with an example.

    Raises:
        InputError: There is no `=`, or no name before it.
    """
    name, equals, text = setting.partition("=")
    if not equals or not name.strip():
        raise InputError(f"`--set` must be {form}, got {setting!r}")
    return name.strip(), text.strip()


def read_setting(annotation: Any, text: str, path: str) -> Any:
    """Return the value of a setting whose type is known.

    Args:
        annotation: The type, as `typing.get_type_hints` gives it. Text is taken as it is written, anything else as
            JSON; `none`, `null`, `true` and `false` may be spelled in any case.
        text: The value as written.
        path: Name of the setting in messages.

    Raises:
        InputError: The text is no value of the type; names the setting.
    """
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    kinds = typing.get_args(annotation) if is_union else (annotation,)
    if types.NoneType in kinds and text.lower() in ("none", "null"):
        return None
    if str in kinds:
        return text
    if bool in kinds and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if any(isinstance(kind, type) and kind not in _READ and not is_dataclass(kind) for kind in kinds):
        raise InputError(f"`{path}` must be a number, text, true or false to be set here, got a field of {annotation}")
    value = decode_setting(text)
    # Where a number may be either, it is a float, whether or not it is written with a point.
    return from_json(float if float in kinds and type(value) is int else annotation, value, path)


def decode_setting(text: str) -> Any:
    """Return a value as JSON, or as the text itself where it is none: `0.1`, `null`, `[1, 2]`, `adamw`.

    Args:
        text: The value as written.
    """
    try:
        return decode_json(text)
    except InputError:
        return text


def with_settings(
    value: T,
    settings: Iterable[str],
    name: str,
    *,
    form: str = "NAME=VALUE",
    current: Callable[[list[str], Any], Assignment] = lambda names, found: (names, found),
) -> T:
    """Copy a value with some fields changed, all at once.

    Args:
        value: Dataclass value.
        settings: `NAME=VALUE` each. A name is field names joined by dots (a position in a tuple is a number, an entry
            of a mapping its key); a value is JSON, or a bare word for a string. A field that holds text takes a number
            as text.
        name: What the value is called in messages.
        form: As for `split_setting`.
        current: Gives names and value of an assignment in which old names may stand.

    Raises:
        InputError: There is no `=`, the field does not exist, or the value has the wrong type.
    """
    tree = to_json(value)
    for setting in settings:
        path, text = split_setting(setting, form)
        _assign(tree, *current(path.split("."), decode_setting(text)), text, name)
    return typing.cast(T, from_json(type(value), tree, name))


def _assign(tree: Any, names: Sequence[str], value: Any, text: str, root: str) -> None:
    """Change one entry of a JSON tree in place. The last name is not checked here, but when the tree is parsed."""
    node = tree
    for depth, name in enumerate(names):
        where = ".".join([root, *names[:depth]])
        if isinstance(node, list):
            if not name.isdigit() or int(name) >= len(node):
                raise InputError(f"`{where}` has positions 0 to {len(node) - 1}, got {name!r}.")
        elif not isinstance(node, dict):
            raise InputError(f"`{where}` holds {node!r}, so it has no `{name}`; set it as a whole.")
        elif name not in node and depth < len(names) - 1:
            raise InputError(f"`{where}` has no `{name}`; {nearest(name, node)}")
        key: Any = int(name) if isinstance(node, list) else name
        if depth < len(names) - 1:
            node = node[key]
        elif isinstance(value, int | float) and isinstance(node, dict) and isinstance(node.get(key), str):
            node[key] = text
        else:
            node[key] = value
