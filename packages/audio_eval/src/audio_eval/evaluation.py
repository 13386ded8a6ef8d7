"""An evaluation on disk: one folder that holds every number, every item and every sound of it.

    EVAL/evaluation.json        provenance, and for each task its settings, scores and seconds
    EVAL/items/<task>.jsonl     one JSON object an item: what it contributes to each score, transcripts, audio paths
    EVAL/audio/...              sounds, as 16-bit wav

The summary is written last and holds the SHA-256 of each file of items and of itself: what a kill leaves between the
two, and what a disk damages later, is found out and never believed.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from audio_data import (
    InputError,
    decode_line,
    file_errors,
    from_json,
    make_folder,
    read_bytes,
    read_json,
    write_bytes,
    write_json,
)
from audio_eval.scores import Comparison, Item, Score, compare_items

SCHEMA_VERSION = 4
# The first version has no checksum of the summary; the first three have other names, see `_with_current_names`.
_READABLE_VERSIONS = (1, 2, 3, SCHEMA_VERSION)
_KEYS_BEFORE_3 = {"judge": "transcriber", "speaker_judge": "speaker_encoder"}
_CHOICES_BEFORE_3 = {("compat", "study"): "soda", ("normalizer", "study"): "soda"}
_SUFFIX_BEFORE_3, _SUFFIX = "wer.study", "wer.soda"
# Scores and the terms of their items.
_NAMES_BEFORE_4 = {
    "asr_wer_other_utterance": "asr_wer_mismatched_audio",
    "asr_wer_gain_over_other_utterance": "asr_wer_reduction_over_mismatched_audio",
    "tts_wer_other_texts": "tts_wer_mismatched_text",
    "tts_wer_gain_over_other_texts": "tts_wer_reduction_over_mismatched_text",
    "text_nll_heard_over_unheard": "text_nll_with_over_without_audio",
    "audio_nll_read_over_unread": "audio_nll_with_over_without_text",
    "audio_nll_own_over_other_text": "audio_nll_matched_over_mismatched_text",
    "audio_bits_told_by_text": "audio_bits_saved_by_text",
    "text_bits_told_by_audio": "text_bits_saved_by_audio",
    "text_first_other_text.nats_text": "text_first_mismatched_text.nats_text",
    "text_first_other_text.nats_audio": "text_first_mismatched_text.nats_audio",
    "text_first_other_text.nll_audio": "text_first_mismatched_text.nll_audio",
    "seed_tts_similarity_other_prompt": "seed_tts_similarity_mismatched_prompt",
    "similarity.other_prompt": "similarity.mismatched_prompt",
    "continuation_similarity_stranger": "continuation_similarity_mismatched_prompt",
    "similarity.stranger": "similarity.mismatched_prompt",
}
_CHECKSUM = "sha256"
_REMEDY = "move it away and run `audio-eval run` again, or restore it from a copy"
SUMMARY_NAME = "evaluation.json"


@dataclasses.dataclass(frozen=True)
class TaskResult:
    """What one task found.

    Attributes:
        task: Name of the task.
        fingerprint: Hash of everything its numbers depend on: weights, data, settings, transcriber, code version.
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
        folder: Folder of the evaluation.
        provenance: Checkpoint, datasets, versions.
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
        """Return the result of one task, or None where it was not run."""
        return next((result for result in self.results if result.task == task), None)

    def summary(self) -> dict[str, Any]:
        """Return the scores by dataset and name: value, low, high, num_items, and the reason for a missing value."""
        by_dataset: dict[str, Any] = {}
        for score in self.scores:
            entry: dict[str, Any] = {key: getattr(score, key) for key in ("value", "low", "high", "num_items")}
            if score.reason is not None:
                entry["reason"] = score.reason
            by_dataset.setdefault(score.dataset, {})[score.name] = entry
        return by_dataset


@dataclasses.dataclass(frozen=True)
class TaskRecord:
    """What `evaluation.json` holds of one task.

    Attributes:
        fingerprint: As `TaskResult.fingerprint`.
        settings: As `TaskResult.settings`.
        seconds: As `TaskResult.seconds`.
        items_sha256: SHA-256 of its file of items.
        scores: Its scores, as `Score.to_json` gives them.
    """

    fingerprint: str
    settings: Mapping[str, Any]
    seconds: float
    items_sha256: str
    scores: tuple[Mapping[str, Any], ...]


@dataclasses.dataclass(frozen=True)
class Summary:
    """What `evaluation.json` holds.

    Attributes:
        schema_version: Version of the format.
        provenance: As `Evaluation.provenance`.
        tasks: Records by the name of the task.
        sha256: `fingerprint` of all other content; empty in the first version.
    """

    schema_version: int
    provenance: Mapping[str, Any]
    tasks: Mapping[str, TaskRecord]
    sha256: str = ""


def fingerprint(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a JSON object's canonical form."""
    return _sha256(json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_evaluation(evaluation: Evaluation) -> None:
    """Write the items of every task, then the summary; each file is replaced whole or not at all.

    Raises:
        InputError: The disk refuses.
    """
    make_folder(evaluation.folder / "items")
    for result in evaluation.results:
        write_bytes(_items_path(evaluation.folder, result.task), _json_lines(result.items))
    # Read back, so that the checksum is of what a reader sees: tuples are lists there, and keys are text.
    content = json.loads(json.dumps(to_json(evaluation), allow_nan=False))
    write_json(evaluation.folder / SUMMARY_NAME, {**content, _CHECKSUM: fingerprint(content)})


def _json_lines(items: Iterable[Item]) -> bytes:
    return "".join(json.dumps(item.to_json(), ensure_ascii=False, allow_nan=False) + "\n" for item in items).encode()


def check_claim(folder: Path, tasks: Iterable[str]) -> None:
    """Check that no file is in the way which an evaluation would replace and did not write.

    Args:
        folder: Folder of an evaluation, which need not exist yet.
        tasks: Names of the tasks that are to be run.

    Raises:
        InputError: There are items of a task, but neither a summary nor the journal that is there until one is written.
    """
    if (folder / SUMMARY_NAME).exists():
        return
    for path in (_items_path(folder, task) for task in tasks):
        if os.path.lexists(path) and not path.with_suffix(".partial.jsonl").exists():
            raise InputError(
                f"`{path}` exists, but `{folder}` holds no `{SUMMARY_NAME}`, so that it is not known to be an "
                "evaluation's: move that file, or choose another folder"
            )


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return what `evaluation.json` holds, without its checksum."""
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
    """Read an evaluation's folder.

    Raises:
        InputError: There is none, it was written by another version of the format, or a file of it is damaged.
    """
    summary = read_summary(folder)
    results = (read_result(folder, task, summary) for task in summary.tasks)
    return Evaluation(folder, summary.provenance, tuple(results))


def read_summary(folder: Path) -> Summary:
    """Read `evaluation.json` alone.

    Raises:
        InputError: It is missing, of another version of the format, or damaged.
    """
    path = folder / SUMMARY_NAME
    if not path.exists():
        raise InputError(f"`{folder}` holds no `{SUMMARY_NAME}`: make an evaluation with `audio-eval run ... --out`")
    content = read_json(path, remedy=_REMEDY)
    with file_errors(path, _REMEDY):
        version = content.get("schema_version")
        if version not in _READABLE_VERSIONS:
            raise InputError(f"`{path}` must have schema version {SCHEMA_VERSION}, got {version!r}")
        summary = from_json(Summary, content, "evaluation")
        rest = {key: value for key, value in content.items() if key != _CHECKSUM}
        if summary.sha256 != ("" if version == 1 else fingerprint(rest)):
            raise InputError("the content does not match its own checksum")
    return summary if version == SCHEMA_VERSION else _with_current_names(summary)


def _with_current_names(summary: Summary) -> Summary:
    """Return a summary of an older version with the names of the current one."""
    version = summary.schema_version

    def keys(old: Mapping[str, Any]) -> dict[str, Any]:
        return {_KEYS_BEFORE_3.get(key, key) if version < 3 else key: value for key, value in old.items()}

    def settings(old: Mapping[str, Any]) -> dict[str, Any]:
        choices = _CHOICES_BEFORE_3 if version < 3 else {}
        return {key: choices.get((key, str(value)), value) for key, value in keys(old).items()}

    def score(old: Mapping[str, Any]) -> dict[str, Any]:
        terms = old.get("terms")
        terms = [_current_name(one, version) for one in terms] if isinstance(terms, list) else terms
        return {**old, "name": _current_name(old.get("name"), version), "terms": terms}

    tasks = {
        name: dataclasses.replace(
            record, settings=settings(record.settings), scores=tuple(score(one) for one in record.scores)
        )
        for name, record in summary.tasks.items()
    }
    return dataclasses.replace(summary, provenance=keys(summary.provenance), tasks=tasks)


def _current_name(name: Any, version: int) -> Any:
    """Return the current name of a score or term of an older version; what is no text is returned as it is."""
    if not isinstance(name, str):
        return name
    if version < 3 and name.endswith(_SUFFIX_BEFORE_3):
        return f"{name.removesuffix(_SUFFIX_BEFORE_3)}{_SUFFIX}"
    return _NAMES_BEFORE_4.get(name, name)


def _with_current_terms(item: Item, version: int) -> Item:
    """Return an item of an older version with the names of the current one."""

    def renamed(old: Any) -> Any:
        return {_current_name(name, version): one for name, one in old.items()} if isinstance(old, Mapping) else old

    # Hypotheses have the names of their scores.
    detail = {key: renamed(value) if key == "hypotheses" else value for key, value in item.detail.items()}
    return dataclasses.replace(item, terms=renamed(item.terms), detail=detail)


def read_result(folder: Path, task: str, summary: Summary) -> TaskResult:
    """Read the items of one task.

    Args:
        folder: Folder of the evaluation.
        task: Name of the task.
        summary: Summary of the evaluation, as `read_summary` returns it.

    Raises:
        InputError: The file of items is missing, or has another SHA-256 than the summary records.
    """
    path, record = _items_path(folder, task), summary.tasks[task]
    if not path.is_file():
        raise InputError(f"`{path}` is missing, but `{SUMMARY_NAME}` lists it: run the evaluation again")
    content = read_bytes(path)
    with file_errors(path, "run the evaluation again"):
        if _sha256(content) != record.items_sha256:
            raise InputError(f"`{path}` must be as `{SUMMARY_NAME}` was made from, got other content")
        lines = enumerate(content.split(b"\n"), start=1)
        items = tuple(Item.from_json(decode_line(line, number)) for number, line in lines if line)
    if summary.schema_version < SCHEMA_VERSION:
        items = tuple(_with_current_terms(item, summary.schema_version) for item in items)
    with file_errors(folder / SUMMARY_NAME, _REMEDY):
        scores = tuple(Score.from_json(score) for score in record.scores)
    return TaskResult(
        task=task,
        fingerprint=record.fingerprint,
        settings=record.settings,
        seconds=record.seconds,
        scores=scores,
        items=items,
    )


def compare(first: Evaluation, second: Evaluation) -> list[Comparison]:
    """Compare two evaluations, item by item, under every score that both hold a value of.

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
        raise InputError(f"`{first.folder}` and `{second.folder}` share no score: evaluate both on the same dataset")
    return [compare_items(score.measure, score.dataset, one.items, other.items) for score, one, other in shared]


def _has_value(scores: Iterable[Score], wanted: Score) -> bool:
    return any((s.name, s.dataset) == (wanted.name, wanted.dataset) and s.value is not None for s in scores)


def _items_path(folder: Path, task: str) -> Path:
    return folder / "items" / f"{task}.jsonl"
