"""Change fields of a run with `--set path=value`."""

import typing
from typing import Any, TypeVar

from audio_data import InputError, decode_json, from_json, nearest, to_json
from audio_train.renames import current_assignment

T = TypeVar("T")


def override(run: T, *assignments: str) -> T:
    """Copy a value with some fields changed, all at once.

    Args:
        run: Dataclass value, such as a `TrainRun`.
        *assignments: `path=value` each. The path is field names joined by dots (a position in a tuple is a number, an
            entry of a mapping its key), or their old names; the value is JSON, or a bare word for a string.

    Returns:
        The copy.

    Raises:
        InputError: There is no `=`, the field does not exist, or the value has the wrong type.
    """
    tree = to_json(run)
    for assignment in assignments:
        _assign(tree, *_parsed(assignment))
    return typing.cast(T, from_json(type(run), tree, "run"))


def assigned_path(assignment: str) -> str:
    """Path of the field that `path=value` changes, with current names.

    Raises:
        InputError: There is no `=` or no path.
    """
    return ".".join(_parsed(assignment)[0])


def _parsed(assignment: str) -> tuple[list[str], Any]:
    """Names of the assigned field, and its value."""
    path, equals, text = assignment.partition("=")
    if not equals or not path:
        raise InputError(f"`--set` must be path=value, such as optimizer.learning_rate=0.001, got {assignment!r}.")
    return current_assignment(path.split("."), _decode(text))


def _assign(tree: Any, names: list[str], value: Any) -> None:
    """Change one entry of a JSON tree in place. The last name is not checked here, but when the tree is parsed."""
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


def _decode(text: str) -> Any:
    try:
        return decode_json(text)
    except InputError:
        return text
