"""An evaluation on disk: one folder that holds every number, every item and every sound of it.

    EVAL/evaluation.json        provenance, and for each task its settings, scores and seconds
    EVAL/items/<task>.jsonl     one JSON object an item: what it contributes to each score, transcripts, audio paths
    EVAL/audio/...              sounds, as 16-bit wav

The summary is written last and holds the SHA-256 of each file of items, so what a kill leaves between the two is found
out, not believed.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from audio_data import InputError
from audio_eval.scores import Comparison, Item, Score, compare_items

SCHEMA_VERSION = 1
SUMMARY_NAME = "evaluation.json"


@dataclasses.dataclass(frozen=True)
class TaskResult:
    """What one task found.

    Attributes:
        task: Name of the task.
        fingerprint: Hash of everything its numbers depend on: weights, data, settings, judge, code version.
        settings: Its settings, as JSON.
        seconds: Wall time it took.
        scores: Its numbers.
        items: What they rest on.
    """

    task: str
    fingerprint: str
    settings: Mapping[str, Any]
    seconds: float
    scores: tuple[Score, ...]
    items: tuple[Item, ...]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A folder's content.

    Attributes:
        folder: Where it lies.
        provenance: Checkpoint, data sets, versions.
        results: One result a task, in the order they were run.
    """

    folder: Path
    provenance: Mapping[str, Any]
    results: tuple[TaskResult, ...]

    @property
    def scores(self) -> tuple[Score, ...]:
        """The scores of all tasks."""
        return tuple(score for result in self.results for score in result.scores)

    def result(self, task: str) -> TaskResult | None:
        """The result of one task, or None where it was not run."""
        return next((result for result in self.results if result.task == task), None)

    def summary(self) -> dict[str, Any]:
        """Returns the scores by data set and name: value, low, high, num_items, and the reason for a missing value."""
        by_dataset: dict[str, Any] = {}
        for score in self.scores:
            entry: dict[str, Any] = {key: getattr(score, key) for key in ("value", "low", "high", "num_items")}
            if score.reason is not None:
                entry["reason"] = score.reason
            by_dataset.setdefault(score.dataset, {})[score.name] = entry
        return by_dataset


def fingerprint(content: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of a JSON object's canonical form."""
    return _sha256(json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write_evaluation(evaluation: Evaluation) -> None:
    """Writes the items of every task, then the summary; each file is replaced whole or not at all."""
    for result in evaluation.results:
        write_text(_items_path(evaluation.folder, result.task), _json_lines(result.items))
    write_text(evaluation.folder / SUMMARY_NAME, json.dumps(to_json(evaluation), indent=2, ensure_ascii=False) + "\n")


def _json_lines(items: Iterable[Item]) -> str:
    return "".join(json.dumps(item.to_json(), ensure_ascii=False) + "\n" for item in items)


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Returns what `evaluation.json` holds."""
    return {
        "schema_version": SCHEMA_VERSION,
        "provenance": dict(evaluation.provenance),
        "tasks": {
            result.task: {
                "fingerprint": result.fingerprint,
                "settings": dict(result.settings),
                "seconds": round(result.seconds, 2),
                "items_sha256": _sha256(_json_lines(result.items)),
                "scores": [score.to_json() for score in result.scores],
            }
            for result in evaluation.results
        },
    }


def read_evaluation(folder: Path) -> Evaluation:
    """Reads an evaluation's folder.

    Raises:
        InputError: There is none, it was written by another version of the format, or a file of it was changed.
    """
    path = folder / SUMMARY_NAME
    if not path.is_file():
        raise InputError(f"`{folder}` holds no `{SUMMARY_NAME}`: make an evaluation with `audio-eval run ... --out`")
    content = json.loads(path.read_text(encoding="utf-8"))
    if content.get("schema_version") != SCHEMA_VERSION:
        found = content.get("schema_version")
        raise InputError(f"`{path}` must have schema version {SCHEMA_VERSION}, got {found!r}: run the evaluation again")
    results = (_read_result(folder, task, record) for task, record in content["tasks"].items())
    return Evaluation(folder, content["provenance"], tuple(results))


def _read_result(folder: Path, task: str, record: Mapping[str, Any]) -> TaskResult:
    path = _items_path(folder, task)
    if not path.is_file():
        raise InputError(f"`{path}` is missing, though `{SUMMARY_NAME}` speaks of it: run the evaluation again")
    content = path.read_text(encoding="utf-8")
    if _sha256(content) != record.get("items_sha256"):
        raise InputError(f"`{path}` must be as `{SUMMARY_NAME}` was made from, got other content: run it again")
    return TaskResult(
        task=task,
        fingerprint=record["fingerprint"],
        settings=record["settings"],
        seconds=record["seconds"],
        scores=tuple(Score.from_json(score) for score in record["scores"]),
        items=tuple(Item.from_json(json.loads(line)) for line in content.split("\n") if line),
    )


def compare(first: Evaluation, second: Evaluation) -> list[Comparison]:
    """Compares two evaluations, item by item, under every score that both hold a value of.

    Raises:
        InputError: They have no such score.
    """
    shared = [
        (score, result, other)
        for result in first.results
        if (other := second.result(result.task)) is not None
        for score in result.scores
        if score.value is not None and _has_value(other.scores, score)
    ]
    if not shared:
        raise InputError(f"`{first.folder}` and `{second.folder}` share no score: evaluate both on the same data set")
    return [compare_items(score.measure, score.dataset, one.items, other.items) for score, one, other in shared]


def _has_value(scores: Iterable[Score], wanted: Score) -> bool:
    return any((s.name, s.dataset) == (wanted.name, wanted.dataset) and s.value is not None for s in scores)


def read_json_lines(path: Path) -> Sequence[dict[str, Any]]:
    """Reads a file of one JSON object a line; a last line that a kill cut short is left out."""
    records = []
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number == len(lines):
                break
            raise InputError(f"line {number} of `{path}` must be one JSON object, got {line[:80]!r}") from error
    return records


def write_text(path: Path, content: str) -> None:
    """Replaces a text file whole or not at all.

    Raises:
        InputError: The disk refuses.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns what a disk refuses (no space, no permission, no such folder) into one line about `path`."""
    try:
        yield
    except OSError as error:
        advice = "free some space or choose another folder"
        raise InputError(f"`{path}` cannot be written ({error.strerror or error}): {advice}") from error


def _items_path(folder: Path, task: str) -> Path:
    return folder / "items" / f"{task}.jsonl"
