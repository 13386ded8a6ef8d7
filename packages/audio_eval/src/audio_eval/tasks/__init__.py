"""Tasks: each a frozen dataclass of settings that turns a checkpoint and held-out data into scores and items."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, cast

from audio_data import InputError
from audio_eval.tasks.asr import AsrTask as AsrTask
from audio_eval.tasks.base import Context as Context
from audio_eval.tasks.base import Findings as Findings
from audio_eval.tasks.base import Task as Task
from audio_eval.tasks.nll import NllTask as NllTask
from audio_eval.tasks.tts import TtsTask as TtsTask

__all__ = ["TASKS", "AsrTask", "Context", "Findings", "NllTask", "Task", "TtsTask", "make_tasks"]

TASKS: Mapping[str, type[Task]] = {task.name: task for task in (NllTask, AsrTask, TtsTask)}


def make_tasks(names: Iterable[str], overrides: Mapping[str, str] | None = None) -> list[Task]:
    """Makes tasks by name.

    Args:
        names: Keys of `TASKS`, in the order they are to run.
        overrides: Settings as written on a command line, such as `{"tts.temperature": "0"}`; each value is read as the
            type of its field.

    Raises:
        InputError: An unknown task or setting, or a value of the wrong type.
    """
    names = list(dict.fromkeys(names))
    if unknown := [name for name in names if name not in TASKS]:
        raise InputError(f"`tasks` must be of {', '.join(TASKS)}, got {unknown[0]!r}")
    settings: dict[str, dict[str, Any]] = {name: {} for name in names}
    for path, written in (overrides or {}).items():
        task, _, field = path.partition(".")
        if task not in settings:
            raise InputError(f"`{path}` must begin with one of the tasks that run, {', '.join(names)}, got {task!r}")
        settings[task][field] = _value(path, written, TASKS[task], field)
    return [TASKS[name](**settings[name]) for name in names]


def _value(path: str, written: str, task: type, field: str) -> Any:
    kinds = {setting.name: setting.type for setting in dataclasses.fields(task)}
    if field not in kinds:
        raise InputError(f"`{path}` must name a setting of the task: {', '.join(kinds)}, got {field!r}")
    kind = kinds[field]
    if written.lower() in ("none", "null") and kind == int | None:
        return None
    if kind is bool:
        if written.lower() not in ("true", "false"):
            raise InputError(f"`{path}` must be true or false, got {written!r}")
        return written.lower() == "true"
    reader: type = int if kind == int | None else cast(type, kind)
    try:
        return reader(written)
    except ValueError as error:
        raise InputError(f"`{path}` must be of type {reader.__name__}, got {written!r}") from error
