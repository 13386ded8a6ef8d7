"""Tasks: each a frozen dataclass of settings that turns a checkpoint and held-out data into scores and items."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from audio_data import InputError
from audio_eval.tasks.asr import AsrTask as AsrTask
from audio_eval.tasks.base import Context as Context
from audio_eval.tasks.base import Findings as Findings
from audio_eval.tasks.base import Task as Task
from audio_eval.tasks.minimal_pairs import PairsTask as PairsTask
from audio_eval.tasks.minimal_pairs import SalmonTask as SalmonTask
from audio_eval.tasks.minimal_pairs import SblimpTask as SblimpTask
from audio_eval.tasks.minimal_pairs import SwuggyTask as SwuggyTask
from audio_eval.tasks.minimal_pairs import TblimpTask as TblimpTask
from audio_eval.tasks.minimal_pairs import TwuggyTask as TwuggyTask
from audio_eval.tasks.nll import NllTask as NllTask
from audio_eval.tasks.seed_tts import SeedTtsTask as SeedTtsTask
from audio_eval.tasks.speech_to_speech import ContinuationTask as ContinuationTask
from audio_eval.tasks.speech_to_speech import SpeechTranslationTask as SpeechTranslationTask
from audio_eval.tasks.speech_to_text import LibriSpeechTask as LibriSpeechTask
from audio_eval.tasks.speech_to_text import TranslationTask as TranslationTask
from audio_eval.tasks.story_cloze import StoryClozeTask as StoryClozeTask
from audio_eval.tasks.story_cloze import TextStoryClozeTask as TextStoryClozeTask
from audio_eval.tasks.story_cloze import TopicStoryClozeTask as TopicStoryClozeTask
from audio_eval.tasks.tts import TtsTask as TtsTask

_TASKS: tuple[type[Task], ...] = (
    NllTask,
    AsrTask,
    TtsTask,
    SwuggyTask,
    SblimpTask,
    SalmonTask,
    TwuggyTask,
    TblimpTask,
    StoryClozeTask,
    TopicStoryClozeTask,
    TextStoryClozeTask,
    LibriSpeechTask,
    TranslationTask,
    SeedTtsTask,
    SpeechTranslationTask,
    ContinuationTask,
)
TASKS: Mapping[str, type[Task]] = {task.name: task for task in _TASKS}


def make_tasks(
    names: Iterable[str],
    overrides: Mapping[str, str] | None = None,
    *,
    test_sets: str | Path | None = None,
    compat: str | None = None,
) -> list[Task]:
    """Makes tasks by name.

    Args:
        names: Keys of `TASKS`, in the order they are to run.
        overrides: Settings as written on a command line, such as `{"tts.temperature": "0"}`; each value is read as the
            type of its field.
        test_sets: Folder with a folder for each test set, such as `swuggy`; a task's own setting `data` goes before it.
        compat: Value of the setting `compat` of all tasks that have one.

    Raises:
        InputError: An unknown task or setting, or a value of the wrong type.
    """
    names = list(dict.fromkeys(names))
    if not names:
        raise InputError(f"`tasks` must name at least one of {', '.join(TASKS)}, got none")
    if unknown := [name for name in names if name not in TASKS]:
        raise InputError(f"`tasks` must be of {', '.join(TASKS)}, got {unknown[0]!r}")
    settings: dict[str, dict[str, Any]] = {name: _shared(TASKS[name], test_sets, compat) for name in names}
    for path, written in (overrides or {}).items():
        task, _, field = path.partition(".")
        if task not in settings:
            raise InputError(f"`{path}` must begin with one of the tasks that run, {', '.join(names)}, got {task!r}")
        settings[task][field] = _value(path, written, TASKS[task], field)
    return [TASKS[name](**settings[name]) for name in names]


def _shared(task: type[Task], test_sets: str | Path | None, compat: str | None) -> dict[str, Any]:
    fields = {field.name for field in dataclasses.fields(task)}
    found = {}
    if test_sets is not None and task.test_set:
        found["data"] = str(Path(test_sets) / task.test_set)
    if compat is not None and "compat" in fields:
        found["compat"] = compat
    return found


def _value(path: str, written: str, task: type, field: str) -> Any:
    kinds = {setting.name: setting.type for setting in dataclasses.fields(task)}
    if field not in kinds:
        raise InputError(f"`{path}` must name a setting of the task: {', '.join(kinds)}, got {field!r}")
    kind = kinds[field]
    if written.lower() in ("none", "null") and kind in (int | None, float | None):
        return None
    if kind is bool:
        if written.lower() not in ("true", "false"):
            raise InputError(f"`{path}` must be true or false, got {written!r}")
        return written.lower() == "true"
    plain = {int | None: int, float | None: float, int | float: float}
    reader: type = plain.get(cast(Any, kind)) or cast(type, kind)
    try:
        return reader(written)
    except ValueError as error:
        raise InputError(f"`{path}` must be of type {reader.__name__}, got {written!r}") from error
