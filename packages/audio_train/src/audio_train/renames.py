"""Old names of a run's fields, in `resolved.json`, in `--set` and under a fingerprint.

Files and commands with an old name are read as if they had the new one. A fingerprint is taken over the oldest names,
so a rename changes no fingerprint: old run folders, checkpoints and exports still belong to their runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from audio_data import InputError


@dataclass(frozen=True)
class Rename:
    """A field of a run that was renamed, or whose values were.

    Attributes:
        old: Path of the field below `run`, as names joined by dots. Names before the last are current ones.
        new: Last name of the path now.
        values: Current value of each renamed old value.
    """

    old: str
    new: str
    values: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


RENAMES = (
    Rename("start", "init"),
    Rename("init.audio_rows", "audio_embedding_init"),
    Rename("init.initialization", "vocabulary_init"),
    Rename("cadence", "intervals"),
    Rename("schedule.overlap", "on_overlap"),
    Rename("data.block", "mixture_block"),
    Rename("data.permutation", "reshuffle_each_epoch", {"epoch": True, "fixed": False}),
    Rename(
        "optimizer.learning_rate.rule",
        "rule",
        {"wider_smaller": "inverse_sqrt_width", "wider_larger": "sqrt_width"},
    ),
    Rename("init.function", "rope_and_epsilon_of"),
)
"""Every rename, oldest first."""

RENAMED_ARRAYS: Mapping[str, str] = MappingProxyType({"consecutive_nonfinite": "bad_run"})
"""Old path of an array in a checkpoint, by its current path."""


def with_current_names(run: Any) -> Any:
    """Return a run as JSON, with current names and values in place of old ones.

    Args:
        run: JSON of a `TrainRun`, or part of it. It is not changed; what is no mapping is returned as it is.

    Raises:
        InputError: A field is given under its old and its new name.
    """
    for rename in RENAMES:
        *above, old = rename.old.split(".")
        run = _renamed(run, above, old, rename.new, rename.values)
    return run


def with_old_names(run: Any) -> Any:
    """Return a run as JSON, with the oldest names and values: what a fingerprint is taken over."""
    for rename in reversed(RENAMES):
        *above, old = rename.old.split(".")
        run = _renamed(run, above, rename.new, old, {value: name for name, value in rename.values.items()})
    return run


def current_assignment(path: Sequence[str], value: Any) -> tuple[list[str], Any]:
    """Return the path and value of an assignment, with current names.

    Args:
        path: Names of the assigned field, such as `["start", "audio_rows"]`.
        value: JSON that is assigned.
    """
    tree = value
    for name in reversed(path):
        tree = {name: tree}
    tree, names = with_current_names(tree), []
    for _ in path:
        ((name, tree),) = tree.items()
        names.append(name)
    return names, tree


def _renamed(node: Any, above: Sequence[str], before: str, after: str, values: Mapping[Any, Any]) -> Any:
    """Return a copy of a JSON tree with one name below a path, and its values, replaced."""
    if not isinstance(node, Mapping):
        return node
    if above:
        name, *rest = above
        return {**node, name: _renamed(node[name], rest, before, after, values)} if name in node else node
    if before in node and after in node and before != after:
        raise InputError(f"a run must have `{before}` or `{after}`, which are names of one field, got both; remove one")
    return {
        (after if name == before else name): _replaced(value, values) if name == before else value
        for name, value in node.items()
    }


def _replaced(value: Any, values: Mapping[Any, Any]) -> Any:
    return values.get(value, value) if isinstance(value, str | bool) else value
