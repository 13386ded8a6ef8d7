"""Folders of datasets: find, open and compare all datasets below one."""

import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from audio_data.dataset import TokenDataset
from audio_data.errors import InputError
from audio_data.holdouts import Holdout
from audio_data.manifest import MANIFEST_NAME, UNFINISHED_NAME
from audio_data.quarantine import Budget
from audio_data.shards import OFFSETS_PATTERN
from audio_data.storage import AnyPath, StoragePath, disk_errors, storage_path
from audio_data.suggestions import nearest_paths
from audio_data.vocabulary import Vocabulary

# Where `audio-tokenize build` keeps the files of the vocabulary: beside the datasets of a folder.
_VOCABULARY_FOLDER, _VOCABULARY_FILE = "vocabulary", "vocabulary.json"
_MARKS = (MANIFEST_NAME, UNFINISHED_NAME)


def open_root(
    path: AnyPath, *, max_quarantined: Budget | None = None, holdout: Holdout | None = None
) -> dict[str, TokenDataset]:
    """Open every dataset below a folder.

    Args:
        path: A folder with datasets in it, at any depth, or a dataset itself; here or on an object store.
        max_quarantined: What each dataset may leave out, see `TokenDataset.open`.
        holdout: Takes the documents of one side of every dataset only; None takes all.

    Returns:
        Datasets by corpus: the path of each below the root, e.g. `"yodas2/en"`, in alphabetical order. A root that is
        itself a dataset is named by its manifest.

    Raises:
        InputError: There is no dataset, one of them is damaged, or two differ in vocabulary.
    """
    root = storage_path(path)
    folders = find_datasets(root)
    if not folders:
        raise InputError(
            f"data folder `{root}`: expected at least one {MANIFEST_NAME} below it, got none; "
            f"build a dataset first, or correct the path{nearest_paths(root)}"
        )
    opened = [TokenDataset.open(folder, max_quarantined=max_quarantined, holdout=holdout) for folder in folders]
    names = [str(folder).removeprefix(str(root)).strip("/") for folder in folders]
    datasets = {name or d.manifest.corpus: d for name, d in zip(names, opened, strict=True)}
    check_one_vocabulary(datasets)
    return datasets


def find_datasets(root: StoragePath) -> list[StoragePath]:
    """Return the folders of all datasets below a folder, in alphabetical order.

    Args:
        root: A folder with datasets in it, at any depth, or a dataset itself.

    Raises:
        InputError: One of them was begun and not finished, or has lost its manifest.
    """
    found, broken = look_below(root)
    if broken:
        raise InputError(next(iter(broken.values())))
    return found


def look_below(root: StoragePath) -> tuple[list[StoragePath], dict[StoragePath, str]]:
    """Return the datasets below a folder, and the folders that should be one but have no manifest, with what is wrong.

    Args:
        root: A folder with datasets in it, at any depth, or a dataset itself.
    """
    with disk_errors(root, "read"):
        files = [file for file in _files_below(root) if file.match(OFFSETS_PATTERN) or file.name in _MARKS]
    found: set[StoragePath] = {file.parent for file in files if file.name == MANIFEST_NAME}
    unfinished = {file.parent for file in files if file.name == UNFINISHED_NAME} - found
    bereft = {file.parent for file in files} - found - unfinished
    reasons = dict.fromkeys(unfinished, "is unfinished: run the command that builds it again, or delete it") | (
        dict.fromkeys(bereft, f"has shards but no {MANIFEST_NAME}: restore that, build it again, or delete it")
    )
    broken = {folder: f"dataset `{folder}` {reasons[folder]}" for folder in sorted(reasons, key=str)}
    return sorted(found, key=lambda folder: tuple(folder.parts)), broken


def _files_below(root: StoragePath) -> Iterator[StoragePath]:
    """Yield every file below a folder; links to folders are followed, each folder is read once."""
    if not isinstance(root, Path):
        yield from root.rglob("*.*")
        return
    if not root.exists():
        return
    seen = set[tuple[int, int]]()
    for folder, below, names in os.walk(root, followlinks=True, onerror=_refuse):
        facts = os.stat(folder)
        if (facts.st_dev, facts.st_ino) in seen:
            below.clear()
            continue
        seen.add((facts.st_dev, facts.st_ino))
        # Links last: what lies here is read under its own name.
        below.sort(key=lambda name: (os.path.islink(os.path.join(folder, name)), name))
        yield from (Path(folder, name) for name in names)


def _refuse(error: OSError) -> None:
    raise error


def check_one_vocabulary(datasets: Mapping[str, TokenDataset]) -> None:
    """Check that an id means the same in all datasets.

    Args:
        datasets: Datasets by corpus.

    Raises:
        InputError: Two vocabularies differ; the message names both manifests, both fingerprints, and the command that
            rebuilds one with the vocabulary of the other.
    """
    first, *others = datasets.values()
    for other in others:
        if other.vocabulary != first.vocabulary:
            raise InputError(
                f"vocabularies differ: manifest `{first.path / MANIFEST_NAME}` has {first.vocabulary.fingerprint!r}, "
                f"manifest `{other.path / MANIFEST_NAME}` has {other.vocabulary.fingerprint!r}; "
                f"{_advise_rebuilding(first, other)}"
            )


def _advise_rebuilding(first: TokenDataset, other: TokenDataset) -> str:
    """How one of two datasets comes to the vocabulary of the other: the first way that is open."""
    for kept, rebuilt in ((first, other), (other, first)):
        command = _rebuild_command(kept, rebuilt)
        if command is not None:
            return (
                f"rebuild one with the vocabulary of the other, such as `{command}`, its inputs where they lie now "
                f"and other options as under `provenance` in its manifest"
            )
    return (
        f"neither says how it was built so that a command could be told; write `{other.path}` again with the "
        f"vocabulary that `{first.path / MANIFEST_NAME}` holds"
    )


def _rebuild_command(kept: TokenDataset, rebuilt: TokenDataset) -> str | None:
    """Return the command that builds a dataset again with another's vocabulary; None where it cannot be told."""
    made: Mapping[str, Any] = rebuilt.manifest.provenance
    if made.get("command") == "audio-data build":
        inputs = [described["input"] for described in made["inputs"]]
        options = ["--vocabulary", kept.path / MANIFEST_NAME, "--out", rebuilt.path, "--overwrite"]
        if made["ids_column"] != "ids":
            options += ["--ids-column", made["ids_column"]]
        if rebuilt.manifest.codec != {"id": rebuilt.vocabulary.codec_id}:
            options += ["--codec", rebuilt.path / MANIFEST_NAME]
        if holdout := made.get("holdout"):
            options += ["--holdout", holdout["fraction"], *["--heldout"] * holdout["heldout"]]
        return shlex.join(["audio-data", "build", *inputs, *map(str, options)])
    if made.get("command") == "audio-tokenize build":
        # That command needs the files of the vocabulary, and keeps one vocabulary in the folder around its datasets.
        vocabulary = _vocabulary_folder(kept)
        if vocabulary is None:
            return None
        source = (made.get("codes") or made.get("source") or {}).get("corpus", "SOURCE")
        around = kept.path.parent if (rebuilt.path.parent / _VOCABULARY_FOLDER).exists() else rebuilt.path.parent
        out = around / rebuilt.path.name
        options = ["--vocabulary", vocabulary, "--out", out, *["--overwrite"] * out.exists()]
        return shlex.join(["audio-tokenize", "build", source, *map(str, options)])
    return None


def _vocabulary_folder(dataset: TokenDataset) -> StoragePath | None:
    """Return the files of a dataset's vocabulary, where they lie in the folder around it."""
    folder = dataset.path.parent / _VOCABULARY_FOLDER
    if not (folder / _VOCABULARY_FILE).is_file():
        return None
    return folder if Vocabulary.read(folder / _VOCABULARY_FILE) == dataset.vocabulary else None
