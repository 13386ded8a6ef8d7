"""Running an evaluation: tasks over held-out data, into a folder that a report can be made of."""

import importlib.metadata
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import jax

from audio_data import InputError, TokenDataset, open_root
from audio_eval.checkpoint import load_checkpoint
from audio_eval.evaluation import (
    SUMMARY_NAME,
    Evaluation,
    TaskResult,
    disk_errors,
    fingerprint,
    read_evaluation,
    write_evaluation,
)
from audio_eval.judges import Judge, Unavailable, find_judge
from audio_eval.tasks import Context, Task
from audio_tokenize import Utterance, open_corpus

_PACKAGES = ("audio-eval", "audio-data", "audio-model", "audio-tokenize", "jax", "jiwer")


def evaluate(
    checkpoint: str | Path,
    data: str | Path,
    heldout: Sequence[str],
    tasks: Sequence[Task],
    out: str | Path,
    *,
    judge: str = "auto",
    limit: int | None = None,
    recordings: Sequence[str] = (),
    seed: int = 0,
) -> Evaluation:
    """Evaluates a model and writes everything that was found into a folder.

    A task whose result is in the folder already, from the same weights, data, settings and version, is not run again,
    so a killed evaluation goes on after its last finished task. Results of other tasks stay as long as weights and data
    are the same.

    Args:
        checkpoint: Folder of an exported model, or of a run.
        data: Folder of data sets.
        heldout: Names of data sets below it; the first is the main one, on which controls and speech are measured.
        tasks: What to measure, see `audio_eval.make_tasks`.
        out: Folder of the evaluation.
        judge: Transcriber of generated speech, see `audio_eval.find_judge`.
        limit: At most this many documents of each data set, a fair sample of them.
        recordings: Corpora in which to look for the original recordings, for the listener and to calibrate the judge.
        seed: Drives sampling and untrained weights.

    Returns:
        The evaluation, as it was written.

    Raises:
        InputError: Something that was named is missing or does not belong together.
    """
    loaded, folder = load_checkpoint(Path(checkpoint)), Path(out)
    context = Context(
        checkpoint=loaded,
        datasets=_heldout(Path(data), heldout),
        folder=folder,
        judge=find_judge(judge),
        recordings=_recordings(recordings),
        limit=limit,
        seed=seed,
    )
    # A folder that cannot be written is to be known before the work, not after it.
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    results = _earlier(folder, context)
    for task in tasks:
        result = _reusable(results.get(task.name), task, context)
        results[task.name] = result or _run(task, context)
        write_evaluation(Evaluation(folder, _provenance(context), tuple(results.values())))
    return read_evaluation(folder)


def _run(task: Task, context: Context) -> TaskResult:
    start = time.monotonic()
    findings = task.run(context)
    return TaskResult(
        task=task.name,
        fingerprint=_fingerprint(task, context),
        settings={**_settings(task, context), **findings.facts},
        seconds=time.monotonic() - start,
        scores=findings.scores,
        items=findings.items,
    )


def _reusable(earlier: TaskResult | None, task: Task, context: Context) -> TaskResult | None:
    return earlier if earlier is not None and earlier.fingerprint == _fingerprint(task, context) else None


def _earlier(folder: Path, context: Context) -> dict[str, TaskResult]:
    """Results of the same model on the same data that are in the folder; those of others are replaced."""
    if not (folder / SUMMARY_NAME).is_file():
        return {}
    try:
        found, provenance = read_evaluation(folder), _provenance(context)
    except InputError as error:
        click.echo(f"starting anew: {error.message}", err=True)
        return {}
    same = all(found.provenance[key] == provenance[key] for key in ("weights_sha256", "datasets", "main_dataset"))
    return {result.task: result for result in found.results} if same else {}


def _settings(task: Task, context: Context) -> dict[str, Any]:
    judge = context.judge
    return {
        **task.settings(),
        "limit": context.limit,
        "seed": context.seed,
        "judge": None if isinstance(judge, Unavailable) else judge.judge_id,
        "recordings": len(context.recordings),
    }


def _fingerprint(task: Task, context: Context) -> str:
    provenance = _provenance(context)
    depends_on = {key: provenance[key] for key in ("weights_sha256", "datasets", "vocabulary_fingerprint", "codec")}
    version = importlib.metadata.version("audio-eval")
    return fingerprint({"task": task.name, "settings": _settings(task, context), "version": version, **depends_on})


def _provenance(context: Context) -> dict[str, Any]:
    checkpoint = context.checkpoint
    config = checkpoint.model.config
    return {
        "checkpoint": str(checkpoint.folder),
        "weights_sha256": checkpoint.weights_sha256,
        "training": dict(checkpoint.provenance),
        "num_parameters": config.num_parameters,
        "model": {name: getattr(config, name) for name in ("embed", "mlp", "layers", "heads", "kv_heads", "head_dim")},
        "vocabulary_fingerprint": checkpoint.vocabulary.fingerprint,
        "codec": dict(context.datasets[context.main_dataset].manifest.codec),
        "datasets": {name: dataset.fingerprint for name, dataset in context.datasets.items()},
        "main_dataset": context.main_dataset,
        "judge": _judge_record(context.judge),
        "limit": context.limit,
        "seed": context.seed,
        "versions": {package: importlib.metadata.version(package) for package in _PACKAGES},
        "device": jax.devices()[0].device_kind,
    }


def _judge_record(judge: Judge) -> dict[str, str | None]:
    if isinstance(judge, Unavailable):
        return {"id": None, "reason": judge.reason}
    return {"id": judge.judge_id, "reason": None}


def _heldout(data: Path, names: Sequence[str]) -> dict[str, TokenDataset]:
    if not names:
        raise InputError("`heldout` must name at least one data set, got none")
    available = open_root(data)
    if unknown := [name for name in names if name not in available]:
        raise InputError(
            f"`heldout` must name data sets below `{data}`, which are {', '.join(available)}, got {unknown[0]!r}"
        )
    return {name: available[name] for name in dict.fromkeys(names)}


def _recordings(corpora: Iterable[str]) -> Mapping[str, Utterance]:
    return {utterance.id: utterance for name in corpora for utterance in open_corpus(name)}
