"""Evaluation of a model by tasks, into a folder that a report can be made of."""

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
from audio_eval.speech_models import (
    SpeakerEncoder,
    Transcriber,
    Unavailable,
    find_speaker_encoder,
    find_transcriber,
)
from audio_eval.tasks import Context, Task
from audio_tokenize import Utterance, open_corpus

_PACKAGES = ("audio-eval", "audio-data", "audio-model", "audio-tokenize", "jax", "jiwer")
# Increased when a task computes other numbers from the same input, so that earlier results are computed again.
_ARITHMETIC = 2
# Identity of an evaluation: results on other weights or data are not kept together with new ones.
_IDENTITY = ("weights_sha256", "datasets", "main_dataset")
# A model of any other name must be available: that it is not is an error before the work, not after hours.
_OPTIONAL_MODELS = ("auto", "none")


def evaluate(
    checkpoint: str | Path,
    data: str | Path | None,
    heldout: Sequence[str],
    tasks: Sequence[Task],
    out: str | Path,
    *,
    transcriber: str = "auto",
    speaker_encoder: str = "embedded",
    codec_weights: str | None = None,
    limit: int | None = None,
    recordings: Sequence[str] = (),
    seed: int = 0,
) -> Evaluation:
    """Evaluate a model and write all results into a folder.

    A task whose result from the same weights, data, settings and version is in the folder is not run again, and items
    in the journal of a task are not computed again: a killed evaluation resumes where it stopped.
    Results of other tasks stay as long as weights and data are the same.

    Args:
        checkpoint: Folder of an exported model, or of a run.
        data: Folder of datasets; None where all tasks read published test sets.
        heldout: Names of datasets below it; the first is the main one, on which controls and speech are measured.
        tasks: Tasks to run, see `audio_eval.make_tasks`.
        out: Folder of the evaluation.
        transcriber: Transcriber of generated speech, see `audio_eval.find_transcriber`.
        speaker_encoder: Speaker encoder for voice similarity, see `audio_eval.find_speaker_encoder`.
        codec_weights: Location of Mimi's weights: a folder, a file or a hub id; by default what the checkpoint records.
        limit: Maximum number of documents of each dataset, a fair sample of them.
        recordings: Corpora with the original recordings, to listen to and to calibrate the transcriber.
        seed: Seed of sampling and of untrained weights, in [0, 2**32).

    Returns:
        The evaluation, as written.

    Raises:
        InputError: Something that was named, such as a transcriber, is missing or does not belong together; or another
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
        transcriber=find_transcriber(transcriber),
        recordings=_recordings(recordings),
        limit=limit,
        seed=seed,
        speaker_encoder=find_speaker_encoder(speaker_encoder),
        codec_weights=codec_weights,
    )
    _check_available("transcriber", transcriber, context.transcriber)
    _check_available("speaker_encoder", speaker_encoder, context.speaker_encoder)
    # Fail before the work if the folder cannot be written or another evaluation writes in it.
    with sole_writer(folder) as was_killed:
        if not was_killed:
            check_claim(folder, [task.name for task in tasks])
        _evaluate(context, tasks)
        return read_evaluation(folder)


def _evaluate(context: Context, tasks: Sequence[Task]) -> None:
    """Run the tasks whose results are not in the folder, and write each result as soon as it is there."""
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


def _check_available(what: str, name: str, found: Transcriber | SpeakerEncoder | Unavailable) -> None:
    """Refuse a model that was named and is not available."""
    if isinstance(found, Unavailable) and name not in _OPTIONAL_MODELS:
        raise InputError(f"`{what}` must be one that is available, got {name!r}: {found.reason}")


def _run(task: Task, context: Context, journal: Journal, fingerprint: str) -> TaskResult:
    start = time.monotonic()
    try:
        output = task.run(context, journal)
    finally:
        journal.close()
    return TaskResult(
        task=task.name,
        fingerprint=fingerprint,
        settings={**_settings(task, context), **output.facts},
        seconds=time.monotonic() - start,
        scores=output.scores,
        items=output.items,
    )


def _earlier(folder: Path, context: Context) -> dict[str, TaskResult]:
    """Return the results in the folder of the same model on the same data; others are replaced.

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
    for task in summary.tasks:
        try:
            results[task] = read_result(folder, task, summary)
        except InputError as error:
            click.echo(f"task {task} starts again: {error.message}", err=True)
    return results


def _settings(task: Task, context: Context) -> dict[str, Any]:
    transcriber, encoder = context.transcriber, context.speaker_encoder
    return {
        **task.settings(),
        **({"code_sha256": task.code_sha256} if task.code_sha256 else {}),
        "limit": context.limit,
        "seed": context.seed,
        "transcriber": None if isinstance(transcriber, Unavailable) else transcriber.model_id,
        "speaker_encoder": None if isinstance(encoder, Unavailable) else encoder.model_id,
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
        "transcriber": _model_record(context.transcriber),
        "speaker_encoder": _model_record(context.speaker_encoder),
        "limit": context.limit,
        "seed": context.seed,
        "versions": {package: importlib.metadata.version(package) for package in _PACKAGES},
        "device": jax.devices()[0].device_kind,
    }


def _model_record(model: Transcriber | SpeakerEncoder | Unavailable) -> dict[str, str | None]:
    if isinstance(model, Unavailable):
        return {"id": None, "reason": model.reason}
    return {"id": model.model_id, "reason": None}


def _heldout(data: str | Path | None, names: Sequence[str]) -> dict[str, TokenDataset]:
    if data is None:
        raise InputError(f"`data` must be the folder of the held-out datasets {', '.join(names)}, got none")
    if not names:
        raise InputError("`heldout` must name at least one dataset, got none")
    available = open_root(Path(data))
    if unknown := [name for name in names if name not in available]:
        raise InputError(
            f"`heldout` must name datasets below `{data}`, which are {', '.join(available)}, got {unknown[0]!r}"
        )
    return {name: available[name] for name in dict.fromkeys(names)}


def _recordings(corpora: Iterable[str]) -> Mapping[str, Utterance]:
    return {utterance.id: utterance for name in corpora for utterance in open_corpus(name)}
