"""A trained model as a folder others can use: Hugging Face weights, the vocabulary, and where it all comes from."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from audio_data import InputError
from audio_model import Qwen3x, save_model
from audio_train.resolved import ResolvedRun

VOCABULARY_FOLDER = "vocabulary"
PROVENANCE_FILE = "provenance.json"


def export_model(
    folder: Path, model: Qwen3x, resolved: ResolvedRun, *, step: int, vocabulary_folder: Path, codec: Mapping[str, Any]
) -> None:
    """Write a model folder; it appears as a whole, in place of an earlier export.

    Holds `config.json` and `model.safetensors` as Hugging Face's Qwen3 reads them, `vocabulary/` as it lies with the
    data, and `provenance.json`.

    Args:
        folder: where to, such as `RUN/export`.
        model: the weights, on one device or in the host's memory.
        resolved: the run that trained them.
        step: steps they were trained for.
        vocabulary_folder: `DATA/vocabulary`; where it is not there the export holds the bare `vocabulary.json`.
        codec: what the datasets say of the codec that made the audio ids.

    Raises:
        InputError: the folder cannot be written.
    """
    partial, previous = folder.with_name(f".{folder.name}.partial"), folder.with_name(f".{folder.name}.previous")
    try:
        if previous.exists() and not folder.exists():  # a kill came between the two renames below
            previous.rename(folder)
        for leftover in (partial, previous):
            if leftover.exists():
                shutil.rmtree(leftover)
        partial.mkdir(parents=True)
        save_model(partial, model)
        _write_vocabulary(partial / VOCABULARY_FOLDER, resolved, vocabulary_folder)
        _write_json(partial / PROVENANCE_FILE, provenance(resolved, step, codec))
        if folder.exists():
            folder.rename(previous)
        partial.rename(folder)
        if previous.exists():
            shutil.rmtree(previous)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"cannot write the export `{folder}` ({error}); free some space or give another folder."
        ) from error


def provenance(resolved: ResolvedRun, step: int, codec: Mapping[str, Any]) -> dict[str, Any]:
    """Where a model comes from: run, step, datasets, vocabulary and codec."""
    return {
        "run": resolved.run.name,
        "run_fingerprint": resolved.fingerprint,
        "step": step,
        "num_steps": resolved.num_steps,
        "tokens": step * resolved.run.data.tokens_per_step,
        "seed": resolved.run.seed,
        "loss": resolved.run.loss.kind,
        "dataset_fingerprints": dict(resolved.datasets),
        "vocabulary_fingerprint": resolved.vocabulary.fingerprint,
        "codec_id": resolved.vocabulary.codec_id,
        "codec": dict(codec),
    }


def _write_vocabulary(folder: Path, resolved: ResolvedRun, source: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, folder)
    else:
        folder.mkdir()
        _write_json(folder / "vocabulary.json", resolved.vocabulary.to_json())


def _write_json(path: Path, value: Any) -> None:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
