"""Verification of a dataset: every byte is read and compared with the manifest."""

import dataclasses
import math
from pathlib import Path

import numpy as np

from audio_data.dataset import TokenDataset, find_manifest
from audio_data.document_index import DocumentIndex
from audio_data.errors import InputError
from audio_data.holdouts import base_id_of, holdout_key
from audio_data.manifest import Manifest, ShardInfo
from audio_data.progress import Progress
from audio_data.quarantine import DAMAGED_NAME, QUARANTINE_NAME, Budget, Damaged, Quarantine
from audio_data.records import Document
from audio_data.seen_ids import SeenIds
from audio_data.shards import (
    check_shard_size,
    has_holdout_keys,
    load_holdout_keys,
    load_offsets,
    shard_file,
    shard_files,
    tokens_by_kind,
)
from audio_data.storage import AnyPath, StoragePath, file_sizes, hash_file, remove_file, storage_path


def verify_dataset(path: AnyPath, progress: Progress | None = None) -> list[str]:
    """Compare every byte and every token of a dataset with its manifest.

    Args:
        path: The folder that holds its `manifest.json`, here or on an object store, whose files are then read anew.
        progress: Advanced by the bytes of each shard, if given.

    Returns:
        One sentence for each thing that is wrong, naming file and record; empty for a sound dataset.

    Raises:
        InputError: There is no manifest, or it contradicts itself.
    """
    return _examine(storage_path(path), progress).problems


def quarantine_damage(
    path: AnyPath, max_quarantined: Budget, progress: Progress | None = None
) -> tuple[Damaged, list[str]]:
    """Verify a dataset, and list the documents that cannot be read in its `damaged.json`.

    A dataset that is then opened with a budget gives padding where they lie. An old list is replaced, or removed where
    the dataset is sound.

    Args:
        path: The folder that holds its `manifest.json`.
        max_quarantined: Most documents that may be damaged, as a number or as a share of all.
        progress: Advanced by the bytes of each shard, if given.

    Returns:
        The damaged documents, and whatever else is wrong, which no list can mend.

    Raises:
        InputError: There is no manifest, it contradicts itself, or more documents are damaged than the budget allows.
    """
    folder = storage_path(path)
    found = _examine(folder, progress)
    quarantine = Quarantine(max_quarantined)
    quarantine.reasons = {str(index): why for index, why in found.damaged.documents.items()}
    quarantine.check(found.num_documents)
    if found.damaged.documents:
        found.damaged.write(folder)
    else:
        remove_file(folder / DAMAGED_NAME)
    return found.damaged, found.beyond_documents


def unchecked_files(path: AnyPath) -> list[str]:
    """Side files of a dataset that an older version wrote, of which the manifest has no checksum.

    `verify_dataset` compares them with the records; opening the dataset cannot.

    Args:
        path: The folder that holds its `manifest.json`.

    Raises:
        InputError: There is no manifest, or it contradicts itself.
    """
    manifest = Manifest.read(find_manifest(storage_path(path)))
    found = {f"{shard.name}.offsets.npy": shard.offsets_sha256 for shard in manifest.shards}
    keys = {f"{shard.name}.holdout.npy": shard.holdout_sha256 for shard in manifest.shards}
    sizes = file_sizes(storage_path(path))
    found |= {name: sha256 for name, sha256 in keys.items() if name in sizes}
    if manifest.num_quarantined:
        found[QUARANTINE_NAME] = manifest.quarantine_sha256
    return [name for name, sha256 in found.items() if not sha256]


@dataclasses.dataclass
class _Findings:
    """What is wrong with a dataset.

    Attributes:
        problems: Everything, in the order of the shards.
        beyond_documents: Of those, what leaving documents out does not mend.
        damaged: Documents that cannot be read.
        num_documents: How many the dataset holds.
    """

    problems: list[str]
    beyond_documents: list[str]
    damaged: Damaged
    num_documents: int


def _examine(folder: StoragePath, progress: Progress | None) -> _Findings:
    manifest = Manifest.read(find_manifest(folder))
    names = {shard.name for shard in manifest.shards}
    strays = [
        f"file `{folder / file}` is in no manifest; remove it, it is not part of the dataset"
        for file, shard in shard_files(folder).items()
        if shard not in names
    ]
    strays += _quarantine_problems(folder, manifest)
    problems, beyond, documents, first = strays, list(strays), dict[int, str](), 0
    with SeenIds() as seen:
        tally = _Tally(manifest, seen)
        for shard in manifest.shards:
            found, damaged = _examine_shard(folder, manifest, shard, tally)
            problems += [*found, *dict.fromkeys(damaged.values())]
            beyond += [] if damaged else found
            documents |= {first + index: reason for index, reason in damaged.items()}
            first += shard.num_documents
            if progress is not None:
                progress.advance(shard.num_bytes)
    if tally.repeated:
        repeated = tally.repeated_sentence(folder)
        problems, beyond = [*problems, repeated], [*beyond, repeated]
    if not problems:
        # Totals of a damaged dataset differ for a reason that is already named.
        problems = beyond = tally.differences(folder)
    return _Findings(problems, beyond, Damaged(manifest.fingerprint, documents), first)


def _quarantine_problems(folder: StoragePath, manifest: Manifest) -> list[str]:
    file, expected = folder / QUARANTINE_NAME, manifest.quarantine_sha256
    if not expected:
        return []
    found = hash_file(file) if file.is_file() else "no such file"
    if found == expected:
        return []
    return [f"list `{file}`: expected the checksum {expected!r}, got {found!r}; restore the file"]


def _examine_shard(
    folder: StoragePath, manifest: Manifest, shard: ShardInfo, tally: "_Tally"
) -> tuple[list[str], dict[int, str]]:
    """Return what is wrong with the files of a shard, and with each of its documents."""
    try:
        offsets = load_offsets(folder, shard)
        keys = load_holdout_keys(folder, shard) if has_holdout_keys(folder, shard) else None
    except InputError as error:
        return [error.message], {}
    file = shard_file(folder, shard)
    try:
        check_shard_size(folder, shard, file_sizes(folder))
    except InputError as error:
        return [], dict.fromkeys(range(shard.num_documents), error.message)
    sha256 = hash_file(file)
    mismatch = f"shard `{file}`: expected the checksum {shard.sha256!r}, got {sha256!r}; restore the file"
    if sha256 != shard.sha256 and not isinstance(file, Path):
        # No copy of a remote file is made that is not the file of the manifest.
        return [], dict.fromkeys(range(shard.num_documents), mismatch)
    index = DocumentIndex((shard,), manifest.tokens_per_record, lambda _: offsets)
    part = TokenDataset(folder, dataclasses.replace(manifest, shards=(shard,)), index)
    damaged: dict[int, str] = {}
    problems = [mismatch] if sha256 != shard.sha256 else []
    for number in range(len(part)):
        document = None
        try:
            document = part[number]
            tally.add(document)
        except InputError as error:
            # What cannot be read says where it is; what was read and means nothing does not.
            within = f"shard `{file}`, document {number} of the shard"
            damaged[number] = error.message if document is None else f"{within}: {error.message}"
            continue
        base_id = base_id_of(document)
        if keys is not None and (base_id is None or holdout_key(base_id) != keys[number]):
            problems.append(
                f"holdout keys of shard `{file}`: that of document {number} of the shard, {base_id!r}, is another than "
                f"its hash; rebuild the dataset"
            )
    return problems, damaged


class _Tally:
    """What the documents add up to, to be compared with what the manifest claims."""

    def __init__(self, manifest: Manifest, seen: SeenIds):
        self._manifest, self._seen = manifest, seen
        self.repeated, self._example = 0, ""
        self._counts = np.zeros(len(manifest.vocabulary.kinds), np.int64)
        self._seconds = 0.0

    def add(self, document: Document) -> None:
        self._counts += tokens_by_kind(document, self._manifest.vocabulary)
        self._seconds += document.metadata.get("seconds", 0.0)
        name = document.metadata.get("id")
        if name is not None and not self._seen.add(str(name)):
            self.repeated, self._example = self.repeated + 1, self._example or str(name)

    def repeated_sentence(self, folder: StoragePath) -> str:
        """Return what is wrong with documents whose `id` another has too."""
        return (
            f"dataset `{folder}`: {self.repeated} documents have the `id` of a document before them, the first "
            f"{self._example!r:.80}; ids are unique in a dataset, so build it again with others"
        )

    def differences(self, folder: StoragePath) -> list[str]:
        manifest, problems = self._manifest, []
        by_kind = dict(zip(manifest.vocabulary.kinds, self._counts.tolist(), strict=True))
        if by_kind != manifest.tokens_by_kind:
            problems.append(f"manifest of `{folder}`: `tokens_by_kind` is {manifest.tokens_by_kind!r}, got {by_kind!r}")
        if not math.isclose(self._seconds, manifest.audio_seconds, rel_tol=1e-9, abs_tol=1e-6):
            problems.append(
                f"manifest of `{folder}`: `audio_seconds` is {manifest.audio_seconds!r}, got {self._seconds!r}"
            )
        return problems
