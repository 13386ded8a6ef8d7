"""Fields of a recipe given on a command line as NAME=VALUE."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

from audio_data import InputError, decode_json


@runtime_checkable
class Dataclass(Protocol):
    """Any instance of a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


Recipe = TypeVar("Recipe", bound=Dataclass)


def with_settings(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """Return a copy of a recipe with some fields changed.

    Args:
        recipe: A dataclass whose fields hold strings, numbers or tuples of them.
        settings: `NAME=VALUE` each; a value is text for a text field and JSON for any other.

    Returns:
        The changed copy, with the types of the original.

    Raises:
        InputError: No such field, or a value of another type.
    """
    current = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}
    changes = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or name not in current:
            raise InputError(f"`set` must be NAME=VALUE with a name among {', '.join(current)}, got {setting!r}")
        changes[name] = _typed(name, value, current[name])
    return dataclasses.replace(recipe, **changes)


def _typed(name: str, value: str, like: Any) -> Any:
    if isinstance(like, str):
        return value
    try:
        parsed = decode_json(value)
    except InputError:
        parsed = value
    if isinstance(like, tuple) and isinstance(parsed, list):
        return tuple(parsed)
    if isinstance(like, float) and type(parsed) is int:
        return float(parsed)
    if type(parsed) is not type(like):
        raise InputError(
            f"`{name}` must be of type {type(like).__name__}, as in {name}={json.dumps(like)}, got {value!r}"
        )
    return parsed
