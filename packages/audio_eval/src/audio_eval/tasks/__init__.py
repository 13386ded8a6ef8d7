"""Tasks: each a frozen dataclass of settings that turns a checkpoint and held-out data into scores and items.

An installed package adds its tasks through the entry-point group `audio_eval.tasks`: each entry point is a `Task`, or
an iterable of them. The tasks of this package are registered in the same way.
"""

import dataclasses
import functools
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from audio_data import (
    Extension,
    InputError,
    hash_file,
    load_object,
    names_object,
    nearest,
    read_setting,
    registered_objects,
)
from audio_eval.tasks.base import Context as Context
from audio_eval.tasks.base import Task as Task
from audio_eval.tasks.base import TaskOutput as TaskOutput

ENTRY_POINT_GROUP = "audio_eval.tasks"


@functools.cache
def registered_tasks() -> Mapping[str, Task]:
    """Every registered task by its name, with its default settings: those of this package first.

    Raises:
        InputError: An entry point cannot be loaded or holds something else, or two tasks share a name.
    """
    found: dict[str, Extension[Task]] = {}
    for extension in registered_objects(ENTRY_POINT_GROUP, Task):
        name = extension.value.name
        if name in found:
            raise InputError(
                f"task `{name}` must have one owner, got the entry points {found[name].origin} and "
                f"{extension.origin}; uninstall one of the two packages"
            )
        found[name] = extension
    return MappingProxyType({name: _with_code(extension) for name, extension in found.items()})


def find_task(target: str) -> Task:
    """Return the task that a command line names, with its default settings.

    Args:
        target: A registered name, `FILE.py:NAME` or `MODULE:NAME`; `NAME` is a `Task`, or a class of one whose settings
            all have defaults.

    Raises:
        InputError: There is no such task, file, module or object, or the file is not Python.
    """
    known = registered_tasks()
    if names_object(target):
        remedy = f"give FILE.py:NAME, MODULE:NAME or one of {', '.join(known)}"
        return _with_code(load_object(target, Task, what="task", remedy=remedy))
    if target not in known:
        raise InputError(
            f"`tasks` must be registered names, FILE.py:NAME or MODULE:NAME, got {target!r}; {nearest(target, known)}"
        )
    return known[target]


def _with_code(extension: Extension[Task]) -> Task:
    """Return the task with the hash of its source file, unless it is of this package, whose version is recorded."""
    package = Path(__file__).resolve().parent.parent
    if extension.file is None or extension.file.resolve().is_relative_to(package):
        return extension.value
    return dataclasses.replace(extension.value, code_sha256=hash_file(extension.file))


def make_tasks(
    targets: Iterable[str],
    overrides: Mapping[str, str] | None = None,
    *,
    test_sets: str | Path | None = None,
    compat: str | None = None,
) -> list[Task]:
    """Make tasks with their settings.

    Args:
        targets: Targets of `find_task`, in the order in which the tasks run.
        overrides: Settings as written on a command line, such as `{"tts.temperature": "0"}`; each value is read as the
            type of its field.
        test_sets: Folder with a folder for each test set, such as `swuggy`; a task's own setting `data` overrides it.
        compat: Value of the setting `compat` of all tasks that have one.

    Raises:
        InputError: An unknown task or setting, two tasks of one name, or a value of the wrong type.
    """
    tasks: dict[str, Task] = {}
    for target in dict.fromkeys(targets):
        task = find_task(target)
        if task.name in tasks:
            raise InputError(f"`tasks` must have names of their own, got `{task.name}` again by {target!r}; rename one")
        tasks[task.name] = task
    if not tasks:
        raise InputError(f"`tasks` must name at least one of {', '.join(registered_tasks())}, got none")
    settings: dict[str, dict[str, Any]] = {name: _shared(task, test_sets, compat) for name, task in tasks.items()}
    for path, written in (overrides or {}).items():
        name, _, field = path.partition(".")
        if name not in settings:
            raise InputError(f"`{path}` must begin with one of the tasks that run, {', '.join(tasks)}, got {name!r}")
        settings[name][field] = _value(path, written, tasks[name], field)
    return [dataclasses.replace(task, **settings[name]) for name, task in tasks.items()]


def _shared(task: Task, test_sets: str | Path | None, compat: str | None) -> dict[str, Any]:
    found = {}
    if test_sets is not None and task.test_set:
        found["data"] = str(Path(test_sets) / task.test_set.folder)
    if compat is not None and "compat" in task.settings():
        found["compat"] = compat
    return found


def _value(path: str, written: str, task: Task, field: str) -> Any:
    if field not in task.settings():
        known = ", ".join(task.settings())
        raise InputError(f"`{path}` must name a setting of the task: {known}, got {field!r}")
    return read_setting(typing.get_type_hints(type(task))[field], written, path)
