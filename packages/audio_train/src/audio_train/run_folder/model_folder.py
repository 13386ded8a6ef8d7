"""A trained model as a folder others can use: Hugging Face weights, the vocabulary, and where it all comes from."""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from audio_data import InputError, file_errors, from_json, read_json, replace_folder, write_json
from audio_model import (
    CHECKSUMS_FILE,
    Qwen3x,
    files_below,
    find_damage,
    load_config,
    read_checksums,
    save_model,
    write_checksums,
)
from audio_model import InputError as ModelError
from audio_train.resolved import ResolvedRun

VOCABULARY_FOLDER = "vocabulary"
PROVENANCE_FILE = "provenance.json"

_VOCABULARY_FILES = r"vocabulary\.json|text\.model|(codebooks|merges)\.safetensors"
_TOKENIZER_FILES = (
    r"(tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab)\.json|merges\.txt|tokenizer\.model"
)
_NAMES = re.compile(
    rf"(vocabulary/)?\.?((generation_)?config\.json|model(-\d+-of-\d+)?\.safetensors(\.index\.json)?|"
    rf"{_TOKENIZER_FILES}|{_VOCABULARY_FILES}|chat_template\.jinja|{PROVENANCE_FILE}|{CHECKSUMS_FILE})(\.partial)?"
)
"""Names of the files in an export, and in one that a kill left unfinished."""


def export_model(
    folder: Path, model: Qwen3x, resolved: ResolvedRun, *, step: int, vocabulary_folder: Path, codec: Mapping[str, Any]
) -> None:
    """Write a model folder; it appears as a whole, in place of an earlier export.

    Holds `config.json` and `model.safetensors` as Hugging Face's Qwen3 reads them, `vocabulary/` as it lies with the
    data, `provenance.json`, and `checksums.json` of all these.

    Args:
        folder: where to, such as `RUN/export`.
        model: the weights, on one device or in the host's memory.
        resolved: the run that trained them.
        step: steps they were trained for.
        vocabulary_folder: `DATA/vocabulary`; where it is not there the export holds the bare `vocabulary.json`.
        codec: what the datasets say of the codec that made the audio ids.

    Raises:
        InputError: the folder holds something that no export wrote, another process is writing it, or the disk refuses.
    """
    try:
        with replace_folder(folder, foreign_file, _unknown_name) as partial:
            save_model(partial, model)
            _write_vocabulary(partial / VOCABULARY_FOLDER, resolved, vocabulary_folder)
            write_json(partial / PROVENANCE_FILE, provenance(resolved, step, codec))
            write_checksums(partial)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"cannot write the export `{folder}` ({error}); free some space or give another folder."
        ) from error


def foreign_file(folder: Path) -> str | None:
    """What in a folder no export wrote, in words; None where the folder is an export.

    Args:
        folder: A folder that is not empty.
    """
    try:
        known = set(read_checksums(folder)) if (folder / CHECKSUMS_FILE).exists() else None
        if known is None:
            read_provenance(folder)
    except (InputError, ModelError) as error:
        return f"it is no export ({error.message})"
    if known is None:  # from before exports had checksums
        return _unknown_name(folder)
    unknown = sorted(set(files_below(folder)) - known)
    return f"it holds `{unknown[0]}`, which no export wrote" if unknown else None


def _unknown_name(folder: Path) -> str | None:
    unknown = [name for name in files_below(folder) if not _NAMES.fullmatch(name)]
    return f"it holds `{unknown[0]}`, which no export wrote" if unknown else None


def damage_of_export(folder: Path) -> str | None:
    """What is wrong with an export; None where every file is as it was written.

    An export from before there were checksums counts as whole where its weights can be opened.

    Args:
        folder: The export.
    """
    if (folder / CHECKSUMS_FILE).exists() or read_provenance(folder).checksums:
        return find_damage(folder)
    # Opening a file of weights compares its size with what its header lists.
    index, names = folder / "model.safetensors.index.json", {"model.safetensors"}
    try:
        load_config(folder)
        if index.exists():
            names = set(from_json(dict[str, str], read_json(index, remedy="").get("weight_map"), "weight_map").values())
        for name in sorted(names):
            with safe_open(folder / name, framework="np"):
                pass
    except (OSError, SafetensorError, InputError, ModelError) as error:
        return str(error)
    return None


@dataclass(frozen=True)
class Provenance:
    """Which weights an export holds.

    Attributes:
        run_fingerprint: Fingerprint of the run that trained them.
        step: Steps that they were trained for.
        checksums: Whether the export was written with `checksums.json`.
    """

    run_fingerprint: str
    step: int
    checksums: bool


def read_provenance(folder: Path) -> Provenance:
    """The `provenance.json` of an export.

    Args:
        folder: The export.

    Raises:
        InputError: The file is missing, damaged or no export's.
    """
    path, remedy = folder / PROVENANCE_FILE, "remove the folder and export again"
    with file_errors(path, remedy):
        found = read_json(path, remedy=remedy)
        fields = {name: found[name] for name in ("run_fingerprint", "step") if name in found}
        return from_json(Provenance, {**fields, "checksums": found.get("checksums", False)}, "provenance")


def provenance(resolved: ResolvedRun, step: int, codec: Mapping[str, Any]) -> dict[str, Any]:
    """Where a model comes from: run, step, datasets, vocabulary and codec."""
    return {
        "run": resolved.run.name,
        "run_fingerprint": resolved.fingerprint,
        "step": step,
        "num_steps": resolved.last_step,
        "tokens": step * resolved.run.data.tokens_per_step,
        "seed": resolved.run.seed,
        "loss": resolved.run.loss.kind,
        "dataset_fingerprints": dict(resolved.datasets),
        "vocabulary_fingerprint": resolved.vocabulary.fingerprint,
        "codec_id": resolved.vocabulary.codec_id,
        "codec": dict(codec),
        "checksums": True,
    }


def _write_vocabulary(folder: Path, resolved: ResolvedRun, source: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, folder)
    else:
        folder.mkdir()
        write_json(folder / "vocabulary.json", resolved.vocabulary.to_json())
