"""What a folder of codes is to hold: recorded when it is begun, and required of everyone who goes on with it."""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from audio_data import InputError, StoragePath, file_errors, from_json, read_json, write_sealed_json
from audio_tokenize.corpora import CorpusShard
from audio_tokenize.encoding.encoded import (
    INPUTS_NAME,
    MANIFEST_NAME,
    PLAN_NAME,
    QUARANTINE_NAME,
    SCHEMA_VERSION,
    with_current_keys,
)
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
