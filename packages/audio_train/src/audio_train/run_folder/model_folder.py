"""Export of a trained model: Hugging Face weights, vocabulary and provenance in one folder."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from audio_data import InputError, TokenDataset, file_errors, from_json, read_json, replace_folder, write_json
from audio_model import (
    CHECKSUMS_FILE,
    Qwen3x,
    SpecialIds,
    files_below,
    find_damage,
    load_config,
    read_checksums,
    save_model,
    write_checksums,
)
from audio_model import InputError as ModelError
from audio_train.resolved import ResolvedRun
from audio_train.run_folder.model_card import CARD_FILE, model_card

VOCABULARY_FOLDER = "vocabulary"
PROVENANCE_FILE = "provenance.json"

_VOCABULARY_FILES = r"vocabulary\.json|text\.model|(codebooks|merges)\.safetensors"
_TOKENIZER_FILES = (
    r"(tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab)\.json|merges\.txt|tokenizer\.model"
)
_NAMES = re.compile(
    rf"(vocabulary/)?\.?((generation_)?config\.json|model(-\d+-of-\d+)?\.safetensors(\.index\.json)?|"
    rf"{_TOKENIZER_FILES}|{_VOCABULARY_FILES}|chat_template\.jinja|{CARD_FILE}|{PROVENANCE_FILE}|{CHECKSUMS_FILE})(\.partial)?"
)
"""Names of the files in a complete or interrupted export."""


def export_model(
    folder: Path,
    model: Qwen3x,
    resolved: ResolvedRun,
    *,
    step: int,
    data_root: Path,
    datasets: Mapping[str, TokenDataset],
) -> None:
    """Write a model folder atomically; it replaces an earlier export.

    The folder is a model of Hugging Face's Qwen3 format with its tokenizer: `config.json`, `generation_config.json`,
    `model.safetensors`, `tokenizer.json` and the files that belong to it, and a model card, `README.md`. It has a copy
    of the data's `vocabulary/`, `provenance.json`, and `checksums.json` of all these.

    Args:
        folder: Folder to write, such as `RUN/export`.
        model: The weights, on one device or in the host's memory.
        resolved: The run that trained them.
        step: Step of the weights.
        data_root: Folder of the datasets and of `vocabulary/`; if that does not exist the export has no tokenizer and
            only `vocabulary/vocabulary.json`.
        datasets: The datasets of the run, by name.

    Raises:
        InputError: The folder holds other files, another process is writing it, or the disk is full.
    """
    try:
        with replace_folder(folder, foreign_file, _unknown_name) as partial:
            _save_with_tokenizer(partial, model, resolved, data_root / VOCABULARY_FOLDER)
            write_json(partial / PROVENANCE_FILE, provenance(resolved, step, datasets))
            (partial / CARD_FILE).write_text(model_card(resolved, step, datasets), encoding="utf-8")
            write_checksums(partial)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"cannot write the export `{folder}` ({error}); free some space or give another folder."
        ) from error


def foreign_file(folder: Path) -> str | None:
    """Describe a file in a folder that is not part of an export; None if the folder is an export.

    Args:
        folder: Folder that is not empty.
    """
    try:
        known = set(read_checksums(folder)) if (folder / CHECKSUMS_FILE).exists() else None
        if known is None:
            read_provenance(folder)
    except (InputError, ModelError) as error:
        return f"it is not an export ({error.message})"
    if known is None:  # written without checksums
        return _unknown_name(folder)
    unknown = sorted(set(files_below(folder)) - known)
    return f"it holds `{unknown[0]}`, which is not part of an export" if unknown else None


def _unknown_name(folder: Path) -> str | None:
    unknown = [name for name in files_below(folder) if not _NAMES.fullmatch(name)]
    return f"it holds `{unknown[0]}`, which is not part of an export" if unknown else None


def damage_of_export(folder: Path) -> str | None:
    """Describe the damage of an export; None if every file is as written.

    An export without checksums counts as intact if its weights can be opened.

    Args:
        folder: The export.
    """
    if (folder / CHECKSUMS_FILE).exists() or read_provenance(folder).checksums:
        return find_damage(folder)
    # Opening a safetensors file compares its size with its header.
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
    """Origin of the weights of an export.

    Attributes:
        run_fingerprint: Fingerprint of the run that trained them.
        step: Step of the weights.
        checksums: Whether the export was written with `checksums.json`.
    """

    run_fingerprint: str
    step: int
    checksums: bool


def read_provenance(folder: Path) -> Provenance:
    """Read the `provenance.json` of an export.

    Args:
        folder: The export.

    Raises:
        InputError: The file is missing or damaged.
    """
    path, remedy = folder / PROVENANCE_FILE, "remove the folder and export again"
    with file_errors(path, remedy):
        found = read_json(path, remedy=remedy)
        fields = {name: found[name] for name in ("run_fingerprint", "step") if name in found}
        return from_json(Provenance, {**fields, "checksums": found.get("checksums", False)}, "provenance")


def provenance(resolved: ResolvedRun, step: int, datasets: Mapping[str, TokenDataset]) -> dict[str, Any]:
    """Content of `provenance.json`: run, step, datasets with the form of their documents, vocabulary and codec."""
    manifests = [datasets[name].manifest for name in resolved.mixture.corpora]
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
        "codec": dict(manifests[0].codec),
        "layouts": _stated([manifest.provenance.get("layouts") for manifest in manifests]),
        "groupings": _stated([manifest.provenance.get("grouping") for manifest in manifests]),
        "checksums": True,
    }


def _stated(values: Sequence[object]) -> list[str] | None:
    """Names that the provenances of datasets state, each once; None if one of them states none."""
    lists = [[value] if isinstance(value, str) else value for value in values]
    if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists):
        return None
    return sorted({name for names in lists if isinstance(names, list) for name in names})


def _save_with_tokenizer(folder: Path, model: Qwen3x, resolved: ResolvedRun, source: Path) -> None:
    if source.is_dir():
        save_model(folder, model, vocabulary=source)
    else:
        own = resolved.vocabulary
        save_model(folder, model, special_ids=SpecialIds(begin=own.begin_of_text, end=own.end_of_text))
        (folder / VOCABULARY_FOLDER).mkdir()
        write_json(folder / VOCABULARY_FOLDER / "vocabulary.json", own.to_json())
