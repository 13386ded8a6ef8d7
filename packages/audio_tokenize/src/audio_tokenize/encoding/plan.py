"""The plan of a folder of codes, and a sample of its inputs: recorded at the start, checked by every later job.

Names and sizes are in the plan, but a recording may be replaced by another of the same size. So the time stamps of a
shard's files are recorded, and a sample of their bytes: 64 blocks of 4 KiB, which is all of most utterances. Where the
time stamps are as they were, nothing is read. Where they differ, the sample decides: a corpus that was copied goes on.
"""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audio_data import (
    InputError,
    StoragePath,
    disk_errors,
    exclusive,
    file_errors,
    from_json,
    read_json,
    to_json,
    write_json,
    write_sealed_json,
)
from audio_tokenize.corpora import AbstractCorpus, CorpusShard
from audio_tokenize.encoding.encoded import INPUTS_NAME, MANIFEST_NAME, PLAN_NAME, QUARANTINE_NAME
from audio_tokenize.encoding.records import SCHEMA_VERSION, with_current_keys
from audio_tokenize.encoding.shard_files import EncodedShardFiles, done_shards

_SHARD = re.compile(r"\.?shard-\d+\.")


@dataclasses.dataclass(frozen=True)
class EncodePlan:
    """What a folder of codes is to hold; a second run must ask for the same.

    Attributes:
        corpus: Name of the corpus.
        shards: `(name, fingerprint)` of its shards, in order. Shard i becomes `shard-<i>.arrayrecord`.
        codec: `AbstractCodec.description` without what depends on where the weights lie.
        num_frame_offsets: How many offsets a train utterance is encoded at.
        speed_perturbation: How far the speed of the shifted copies may be from 1.
        target_rms: Root mean square that utterances are brought to; `None` leaves them as they were recorded.
        splits: Splits to encode; none means all.
        max_clip_seconds: Longer utterances are encoded in pieces of this length; `None`: each in one.
        schema_version: Of the codes.
    """

    corpus: str
    shards: tuple[tuple[str, str], ...]
    codec: Mapping[str, Any]
    num_frame_offsets: int = 1
    speed_perturbation: float = 0.0
    target_rms: float | None = None
    splits: tuple[str, ...] = ()
    max_clip_seconds: float | None = None
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.num_frame_offsets < 1:
            raise InputError(f"`num_frame_offsets` must be at least 1, got {self.num_frame_offsets!r}")
        if self.target_rms is not None and not 0 < self.target_rms < 1:
            raise InputError(f"`target_rms` must be a root mean square between 0 and 1, got {self.target_rms!r}")
        if not 0 <= self.speed_perturbation < 0.5:
            raise InputError(f"`speed_perturbation` must be in [0, 0.5), got {self.speed_perturbation!r}")
        if self.max_clip_seconds is not None and self.max_clip_seconds < 1:
            raise InputError(f"`max_clip_seconds` must be at least 1, e.g. 60, got {self.max_clip_seconds!r}")

    def frame_offsets_of(self, split: str) -> int:
        """How often an utterance of a split is encoded."""
        return self.num_frame_offsets if split == "train" else 1

    def check_same_job(self, out: StoragePath) -> None:
        """Check that a folder was begun with this plan, and record the plan in a new one.

        Shards that are not done may have changed: a file that was cut short is replaced, and the work goes on.

        Args:
            out: Folder of the codes.

        Raises:
            InputError: Another plan is there; names what differs. Or there is none, but files that would be replaced.
        """
        path = out / PLAN_NAME
        wanted = json.loads(json.dumps(dataclasses.asdict(self)))
        remedy = "choose another folder, or delete this one to encode anew"
        found = with_current_keys(read_json(path, remedy=remedy)) if path.exists() else None
        if found is None and (taken := _taken(out)):
            raise InputError(
                f"`{out}` holds `{taken[0]}` but no {PLAN_NAME}, so that it is no folder of codes: move that file, or "
                "choose another folder"
            )
        if found is not None and found != wanted:
            with file_errors(path, remedy):
                from_json(EncodePlan, found, "plan")
            changed = _changed_shards(found, wanted)
            if not changed or changed & done_shards(out, len(self.shards)):
                before, now = _difference(found, wanted)
                raise InputError(
                    f"`{out}` was begun with {before}, now it is {now}: "
                    "choose another folder, or delete this one to encode anew"
                )
            for index in changed:
                EncodedShardFiles(out, index).remove_chunks()
        if found != wanted:
            write_sealed_json(path, wanted)


def _taken(out: StoragePath) -> list[str]:
    """Files in a folder without a plan whose names are those of an encoded corpus."""
    names = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    return [name for name in names if name in (INPUTS_NAME, MANIFEST_NAME, QUARANTINE_NAME) or _SHARD.match(name)]


def planned_shards(shards: Sequence[CorpusShard]) -> tuple[tuple[str, str], ...]:
    """Return the shards of a corpus as a plan holds them."""
    return tuple((shard.name, shard.fingerprint) for shard in shards)


def planned_codec(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return a codec's description without where it was loaded from, which may change while its codes do not."""
    return {name: value for name, value in description.items() if name not in ("name", "weights", "revision")}


def _changed_shards(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> set[int]:
    """Shards whose fingerprints differ, if nothing else does."""
    before, now = found.get("shards", []), wanted["shards"]
    if {**found, "shards": now} != wanted or [name for name, _ in before] != [name for name, _ in now]:
        return set()
    return {index for index, (a, b) in enumerate(zip(before, now, strict=True)) if a != b}


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[str, str]:
    """Return what differs between two plans, as small as it can be said."""
    name = _first_different(found, wanted)
    before, now = found.get(name), wanted.get(name)
    if isinstance(before, dict) and isinstance(now, dict):
        part = _first_different(before, now)
        return f"`{name}.{part}` {before.get(part)!r}", repr(now.get(part))
    if name == "shards" and isinstance(before, list) and isinstance(now, list):
        return _shard_difference(before, now)
    return f"`{name}` {before!r}", repr(now)


def _first_different(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return the first key of either mapping that the other lacks or has with another value."""
    return next(
        key for key in {**wanted, **found} if key not in found or key not in wanted or found[key] != wanted[key]
    )


def _shard_difference(found: Sequence[Sequence[str]], wanted: Sequence[Sequence[str]]) -> tuple[str, str]:
    if len(found) != len(wanted):
        return f"{len(found)} `shards`", str(len(wanted))
    (name, fingerprint), (other_name, other) = next(
        pair for pair in zip(found, wanted, strict=True) if pair[0] != pair[1]
    )
    if name != other_name:
        return f"shard {name!r}", repr(other_name)
    return (
        f"shard {name!r} of fingerprint {fingerprint[:12]!r}",
        f"{other[:12]!r}, since its files or texts have changed",
    )


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
    """Record the files of shards, and refuse those that have changed since their codes were made.

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
