"""The recordings that codes were made of: whether they are still the same when a job goes on, or is done.

Names and sizes are in the plan, but a recording may be replaced by another of the same size. So the time stamps of a
shard's files are recorded, and a sample of their bytes: 64 blocks of 4 KiB, which is all of most utterances. Where the
time stamps are as they were, nothing is read. Where they differ, the sample decides: a corpus that was copied goes on.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audio_data import InputError, StoragePath, disk_errors, write_json
from audio_data.json_files import file_errors, from_json, read_json, to_json
from audio_tokenize.corpora import AbstractCorpus, CorpusShard
from audio_tokenize.encoding.encoded import INPUTS_NAME
from audio_tokenize.encoding.locks import exclusive
from audio_tokenize.encoding.shard_files import EncodedShardFiles, done_shards

_NUM_BLOCKS = 64
_BLOCK_BYTES = 4096


@dataclass(frozen=True)
class InputState:
    """The files of a shard at the time when it was begun.

    Attributes:
        modified: Digest of their time stamps.
        content: Digest of a sample of their bytes.
    """

    modified: str
    content: str


def check_inputs(
    corpus: AbstractCorpus,
    shards: Sequence[CorpusShard],
    mine: Sequence[int],
    out: StoragePath,
    lock: StoragePath,
    *,
    verify: bool,
) -> None:
    """Record the files of shards, and refuses those that have changed since their codes were made.

    What was done of a shard that is not whole, and whose files have changed, is forgotten.

    Args:
        corpus: What is encoded.
        shards: Of the corpus, all of them.
        mine: Which of them to look at.
        out: Folder of the codes.
        lock: Keeps others from recording at the same time.
        verify: Read the sample even where the time stamps are as they were.

    Raises:
        InputError: Files of a whole shard have changed, or cannot be read.
    """
    path = out / INPUTS_NAME
    recorded = _read(path)
    found = {}
    for index in mine:
        files = corpus.input_files(shards[index])
        if files:
            found[shards[index].name] = _state(files, recorded.get(shards[index].name), verify=verify)
    if not found:
        return
    with exclusive(lock, wait=True):
        recorded = _read(path)
        changed = {
            index
            for index in mine
            if (before := recorded.get(shards[index].name)) and (now := found.get(shards[index].name))
            if before.content != now.content
        }
        if done := sorted(changed & done_shards(out, len(shards))):
            first = shards[done[0]].name
            raise InputError(
                f"`{out}`: expected the recordings that it was made of, got others of the same names and sizes in "
                f"shard {first!r} and {len(done) - 1} more: choose another folder, or delete this one to encode anew"
            )
        for index in changed:
            EncodedShardFiles(out, index).remove_chunks()
        if (states := recorded | found) != recorded:
            # The bytes do not depend on which of several jobs came first.
            write_json(path, to_json(dict(sorted(states.items()))))


def _read(path: StoragePath) -> dict[str, InputState]:
    """Return what was recorded; folders of earlier versions have no record."""
    if not path.is_file():
        return {}
    remedy = f"delete `{path}`, and the recordings are taken for those that the codes were made of"
    with file_errors(path, remedy):
        return from_json(dict[str, InputState], read_json(path, remedy=remedy), "inputs")


def _state(files: Sequence[Path], before: InputState | None, *, verify: bool) -> InputState:
    with disk_errors(files[0], "read"):
        modified = _digest([f"{path.name}:{path.stat().st_mtime_ns}" for path in files if path.is_file()])
        if before is not None and before.modified == modified and not verify:
            return before
        return InputState(modified, _digest([f"{path.name}:{_sample(path)}" for path in files if path.is_file()]))


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _sample(path: Path) -> str:
    """Digest of a file's blocks, from its first to its last byte."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        last = max(0, size - _BLOCK_BYTES)
        steps = min(_NUM_BLOCKS, -(-size // _BLOCK_BYTES)) - 1
        for block in range(steps + 1):
            file.seek(last * block // max(steps, 1))
            digest.update(file.read(_BLOCK_BYTES))
    return digest.hexdigest()
