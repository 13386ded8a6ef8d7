"""Running an evaluation: tasks over held-out data, into a folder that a report can be made of."""

import importlib.metadata
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import jax

from audio_data import InputError, TokenDataset, open_root, sole_writer
from audio_eval.checkpoint import load_checkpoint
from audio_eval.decoding import check_seed
from audio_eval.evaluation import (
    SUMMARY_NAME,
    Evaluation,
    TaskResult,
    check_claim,
    fingerprint,
    read_evaluation,
    read_result,
    read_summary,
    write_evaluation,
)
from audio_eval.journal import Journal
from audio_eval.judges import Judge, SpeakerJudge, Unavailable, find_judge, find_speaker_judge
from audio_eval.tasks import Context, Task
from audio_tokenize import Utterance, open_corpus

_PACKAGES = ("audio-eval", "audio-data", "audio-model", "audio-tokenize", "jax", "jiwer")
# Raised when a task computes other numbers from the same input: results of the earlier arithmetic are computed anew.
_ARITHMETIC = 2
# What makes two evaluations one: results on other weights or data are not kept beside new ones.
_IDENTITY = ("weights_sha256", "datasets", "main_dataset")
# Whoever names another judge wants its scores, and is not to find out after hours that there are none.
_JUDGES_THAT_MAY_LACK = ("auto", "none")


def evaluate(
    checkpoint: str | Path,
    data: str | Path | None,
    heldout: Sequence[str],
    tasks: Sequence[Task],
    out: str | Path,
    *,
    judge: str = "auto",
    speaker_judge: str = "embedded",
    codec_weights: str | None = None,
    limit: int | None = None,
    recordings: Sequence[str] = (),
    seed: int = 0,
) -> Evaluation:
    """Evaluates a model and writes everything that was found into a folder.

    A task whose result is in the folder already, from the same weights, data, settings and version, is not run again,
    and within a task nothing that is in its journal is computed again: a killed evaluation goes on where it was.
    Results of other tasks stay as long as weights and data are the same.

    Args:
        checkpoint: Folder of an exported model, or of a run.
        data: Folder of data sets; None where all tasks read published test sets.
        heldout: Names of data sets below it; the first is the main one, on which controls and speech are measured.
        tasks: What to measure, see `audio_eval.make_tasks`.
        out: Folder of the evaluation.
        judge: Transcriber of generated speech, see `audio_eval.find_judge`.
        speaker_judge: Judge of voices, see `audio_eval.find_speaker_judge`.
        codec_weights: Where Mimi's weights lie: a folder, a file or a hub id; by default where the checkpoint says.
        limit: At most this many documents of each data set, a fair sample of them.
        recordings: Corpora in which to look for the original recordings, for the listener and to calibrate the judge.
        seed: Drives sampling and untrained weights, in [0, 2**32).

    Returns:
        The evaluation, as it was written.

    Raises:
        InputError: Something that was named, such as a judge, is missing or does not belong together; or another
            process writes in `out`.
    """
    check_seed(seed)
    if limit is not None and limit < 1:
        raise InputError(f"`limit` must be at least 1, got {limit!r}")
    loaded, folder = load_checkpoint(Path(checkpoint)), Path(out)
    context = Context(
        checkpoint=loaded,
        datasets={} if data is None and not heldout else _heldout(data, heldout),
        folder=folder,
        judge=find_judge(judge),
        recordings=_recordings(recordings),
        limit=limit,
        seed=seed,
        speaker_judge=find_speaker_judge(speaker_judge),
        codec_weights=codec_weights,
    )
    _check_judge("judge", judge, context.judge)
    _check_judge("speaker_judge", speaker_judge, context.speaker_judge)
    # A folder that cannot be written, or that another evaluation writes in, is to be known before the work.
    with sole_writer(folder) as was_killed:
        if not was_killed:
            check_claim(folder, [task.name for task in tasks])
        _evaluate(context, tasks)
        return read_evaluation(folder)


def _evaluate(context: Context, tasks: Sequence[Task]) -> None:
    """Runs the tasks whose results are not in the folder, and writes each as soon as it is there."""
    folder = context.folder
    for task in tasks:
        task.check(context)
    results = _earlier(folder, context)
    # So are held-out data and test sets that are not there.
    if not all(task.test_set for task in tasks):
        _ = context.main_dataset
    fingerprints = {task.name: _fingerprint(task, context) for task in tasks}
    for task in tasks:
        done = results.get(task.name)
        if done is None or done.fingerprint != fingerprints[task.name]:
            journal = Journal(folder / "items" / f"{task.name}.partial.jsonl", fingerprints[task.name])
            results[task.name] = _run(task, context, journal, fingerprints[task.name])
            write_evaluation(Evaluation(folder, _provenance(context), tuple(results.values())))
            journal.discard()
    if not tasks:
        write_evaluation(Evaluation(folder, _provenance(context), tuple(results.values())))


def _check_judge(what: str, name: str, found: Judge | SpeakerJudge) -> None:
    """Refuses a judge that was asked for by name and cannot be had."""
    if isinstance(found, Unavailable) and name not in _JUDGES_THAT_MAY_LACK:
        raise InputError(f"`{what}` must be one that can be had, got {name!r}: {found.reason}")


def _run(task: Task, context: Context, journal: Journal, fingerprint: str) -> TaskResult:
    start = time.monotonic()
    try:
        findings = task.run(context, journal)
    finally:
        journal.close()
    return TaskResult(
        task=task.name,
        fingerprint=fingerprint,
        settings={**_settings(task, context), **findings.facts},
        seconds=time.monotonic() - start,
        scores=findings.scores,
        items=findings.items,
    )


def _earlier(folder: Path, context: Context) -> dict[str, TaskResult]:
    """Results of the same model on the same data that are in the folder; those of others are replaced.

    A task whose items are damaged, or newer than the summary because of a kill between the two, is run again.

    Raises:
        InputError: The summary is damaged, or was not written by an evaluation: it is not overwritten.
    """
    if not (folder / SUMMARY_NAME).exists():
        return {}
    summary, provenance = read_summary(folder), _provenance(context)
    if any(summary.provenance.get(key) != provenance[key] for key in _IDENTITY):
        return {}
    results = {}
    for task, record in summary.tasks.items():
        try:
            results[task] = read_result(folder, task, record)
        except InputError as error:
            click.echo(f"starting task {task} anew: {error.message}", err=True)
    return results


def _settings(task: Task, context: Context) -> dict[str, Any]:
    judge, speaker_judge = context.judge, context.speaker_judge
    return {
        **task.settings(),
        **({"code_sha256": task.code_sha256} if task.code_sha256 else {}),
        "limit": context.limit,
        "seed": context.seed,
        "judge": None if isinstance(judge, Unavailable) else judge.judge_id,
        "speaker_judge": None if isinstance(speaker_judge, Unavailable) else speaker_judge.judge_id,
        "codec": context.codec_description,
        "test_set": task.fingerprint(context),
        "recordings": len(context.recordings),
    }


def _fingerprint(task: Task, context: Context) -> str:
    provenance = _provenance(context)
    depends_on = {key: provenance[key] for key in ("weights_sha256", "datasets", "vocabulary_fingerprint")}
    version = importlib.metadata.version("audio-eval")
    return fingerprint(
        {
            "task": task.name,
            "settings": _settings(task, context),
            "version": version,
            "arithmetic": _ARITHMETIC,
            **depends_on,
        }
    )


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
        "codec": dict(context.codec_description),
        "datasets": {name: dataset.fingerprint for name, dataset in context.datasets.items()},
        "main_dataset": context.main_dataset if context.datasets else None,
        "judge": _judge_record(context.judge),
        "speaker_judge": _judge_record(context.speaker_judge),
        "limit": context.limit,
        "seed": context.seed,
        "versions": {package: importlib.metadata.version(package) for package in _PACKAGES},
        "device": jax.devices()[0].device_kind,
    }


def _judge_record(judge: Judge | SpeakerJudge) -> dict[str, str | None]:
    if isinstance(judge, Unavailable):
        return {"id": None, "reason": judge.reason}
    return {"id": judge.judge_id, "reason": None}


def _heldout(data: str | Path | None, names: Sequence[str]) -> dict[str, TokenDataset]:
    if data is None:
        raise InputError(f"`data` must be the folder of the held-out data sets {', '.join(names)}, got none")
    if not names:
        raise InputError("`heldout` must name at least one data set, got none")
    available = open_root(Path(data))
    if unknown := [name for name in names if name not in available]:
        raise InputError(
            f"`heldout` must name data sets below `{data}`, which are {', '.join(available)}, got {unknown[0]!r}"
        )
    return {name: available[name] for name in dict.fromkeys(names)}


def _recordings(corpora: Iterable[str]) -> Mapping[str, Utterance]:
    return {utterance.id: utterance for name in corpora for utterance in open_corpus(name)}
