"""Reading everything of a dataset, to learn whether it still is what its manifest says."""

import dataclasses
import math
import os
from pathlib import Path

import numpy as np

from audio_data.dataset import TokenDataset, find_manifest
from audio_data.errors import InputError
from audio_data.manifest import Manifest, ShardInfo
from audio_data.progress import Progress
from audio_data.records import Document
from audio_data.shards import check_shard_size, hash_file, load_offsets, shard_file, shard_files


def verify_dataset(path: str | os.PathLike[str], progress: Progress | None = None) -> list[str]:
    """Compares every byte and every token of a dataset with its manifest.

    Args:
        path: The folder that holds its ``manifest.json``.
        progress: Advanced by the bytes of each shard, if given.

    Returns:
        One sentence for each thing that is wrong, naming file and record; empty for a sound dataset.

    Raises:
        InputError: There is no manifest, or it contradicts itself.
    """
    folder = Path(path)
    manifest = Manifest.read(find_manifest(folder))
    problems = [
        f"file `{file}` is in no manifest; remove it, it is not part of the dataset"
        for file, name in shard_files(folder).items()
        if name not in {shard.name for shard in manifest.shards}
    ]
    found = _Tally(manifest)
    for shard in manifest.shards:
        problems += _verify_shard(folder, manifest, shard, found)
        if progress is not None:
            progress.advance(shard.num_bytes)
    # Totals of a damaged dataset differ for a reason that is already named.
    return problems or found.differences(folder)


def _verify_shard(folder: Path, manifest: Manifest, shard: ShardInfo, found: "_Tally") -> list[str]:
    try:
        check_shard_size(folder, shard)
        offsets = load_offsets(folder, shard)
    except InputError as error:
        return [error.message]
    problems = []
    file = shard_file(folder, shard)
    sha256 = hash_file(file)
    if sha256 != shard.sha256:
        problems.append(f"shard `{file}`: expected the checksum {shard.sha256!r}, got {sha256!r}; restore the file")
    part = TokenDataset(folder, dataclasses.replace(manifest, shards=(shard,)), [offsets])
    for index in range(len(part)):
        try:
            found.add(part[index])
        except InputError as error:
            problems.append(error.message)
    return problems


class _Tally:
    """What the documents add up to, to be compared with what the manifest claims."""

    def __init__(self, manifest: Manifest):
        self._manifest = manifest
        self._counts = np.zeros(len(manifest.vocabulary.kinds), np.int64)
        self._seconds = 0.0

    def add(self, document: Document) -> None:
        kinds = self._manifest.vocabulary.kind_of(document.ids)
        self._counts += np.bincount(kinds, minlength=self._counts.size)
        self._seconds += document.metadata.get("seconds", 0.0)

    def differences(self, folder: Path) -> list[str]:
        manifest, problems = self._manifest, []
        by_kind = dict(zip(manifest.vocabulary.kinds, self._counts.tolist(), strict=True))
        if by_kind != manifest.tokens_by_kind:
            problems.append(f"manifest of `{folder}`: `tokens_by_kind` is {manifest.tokens_by_kind!r}, got {by_kind!r}")
        if not math.isclose(self._seconds, manifest.audio_seconds, rel_tol=1e-9, abs_tol=1e-6):
            problems.append(
                f"manifest of `{folder}`: `audio_seconds` is {manifest.audio_seconds!r}, got {self._seconds!r}"
            )
        return problems
