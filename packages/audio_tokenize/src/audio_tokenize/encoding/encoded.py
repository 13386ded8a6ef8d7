"""Codes on disk: what `encode` writes once and `build` reads as often as layouts are tried.

    CODES/
      plan.json                            what was asked for; a second run must ask for the same
      inputs.json                          time stamps and samples of the recordings, by shard
      shard-00000.arrayrecord              one record for each utterance and frame offset
      shard-00000.json                     the shard's counts and what it skipped; its presence says the shard is whole
      shard-00001.part-00000.arrayrecord   while a shard is being encoded: what of it is done
      quarantine.jsonl                     utterances that could not be encoded, with the reason; where there are any
      codes.json                           written last: its presence says that nothing is missing

The folder may lie on an object store; shards are then fetched into the local cache when they are read.

`records` says how a record lies in its shard.
"""

import dataclasses
import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, islice
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

from audio_data import (
    InputError,
    StoragePath,
    fetch,
    file_errors,
    file_sizes,
    from_json,
    read_json,
    storage_path,
    write_records,
)
from audio_tokenize.encoding.records import (
    SCHEMA_VERSION,
    EncodedUtterance,
    decode_record,
    encode_record,
    read_records,
    with_current_keys,
)

PLAN_NAME = "plan.json"
INPUTS_NAME = "inputs.json"
MANIFEST_NAME = "codes.json"
QUARANTINE_NAME = "quarantine.jsonl"
# An open shard holds its index in memory and a file descriptor.
_OPEN_SHARDS = 16
_FILE_NAME = re.compile(r"[\w-]+(\.[\w-]+)*")


@dataclasses.dataclass(frozen=True)
class EncodedShard:
    """Counts of one shard.

    Attributes:
        name: File name.
        num_utterances: Different utterances inside.
        num_records: Records inside, one for each frame offset.
        num_frames: Frames of all its records.
        seconds: Audio of all its records, without leading silence.
        num_bytes: Size of the file.
        sha256: Of the file.
        skipped: Utterances that could not be encoded, as `{"id": ..., "reason": ...}`.
        source: Name of the corpus' shard that it was made of.
        num_without_transcript: Different utterances inside that have none.
        arithmetic: `AbstractCodec.arithmetic` of whoever made the codes: one, or several where another machine went on;
            none where codes do not depend on it.
    """

    name: str
    num_utterances: int
    num_records: int
    num_frames: int
    seconds: float
    num_bytes: int
    sha256: str
    skipped: tuple[Mapping[str, str], ...] = ()
    source: str = ""
    num_without_transcript: int = 0
    arithmetic: tuple[Mapping[str, Any], ...] = ()


@dataclasses.dataclass(frozen=True)
class EncodedManifest:
    """What a folder of codes holds.

    Attributes:
        schema_version: Of this file and of the records.
        corpus: Name of the corpus.
        licence: Of its audio and text.
        codec: `AbstractCodec.description`: at least `name`, `id`, `num_codebooks`, `codebook_size`, `sample_rate_hz`,
            `frame_rate_hz` and `attention_window_frames` (`None`: unbounded or none).
        num_frame_offsets: Frame offsets of a train utterance; others have one.
        speed_perturbation: How far the speed of the shifted copies is from 1, at most.
        target_rms: Root mean square that utterances were brought to; `None` leaves them as they were recorded.
        num_utterances: Different utterances.
        num_records: Utterances times their frame offsets.
        num_frames: Frames of all records.
        seconds: Audio of all records, without leading silence.
        skipped: Utterances left out, as `{"id": ..., "reason": ...}`.
        shards: In order.
        max_clip_seconds: Longer utterances were encoded in pieces of this length; `None`: each in one.
    """

    schema_version: int
    corpus: str
    licence: str
    codec: Mapping[str, Any]
    num_frame_offsets: int
    speed_perturbation: float
    target_rms: float | None
    num_utterances: int
    num_records: int
    num_frames: int
    seconds: float
    skipped: tuple[Mapping[str, str], ...]
    shards: tuple[EncodedShard, ...]
    max_clip_seconds: float | None = None

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the codec and the checksums of all shards: equal exactly when the codes are."""
        content = [self.codec["id"], [shard.sha256 for shard in self.shards]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def num_without_transcript(self) -> int:
        """Utterances that have none."""
        return sum(shard.num_without_transcript for shard in self.shards)

    @property
    def arithmetic(self) -> tuple[Mapping[str, Any], ...]:
        """On what the codes were computed: more than one where machines of several kinds shared the work."""
        return distinct(one for shard in self.shards for one in shard.arithmetic)

    def to_json(self) -> dict[str, Any]:
        """All fields, as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "EncodedManifest":
        """Return the manifest that `to_json` described.

        Args:
            value: A mapping of the fields of this class; `max_clip_seconds` may be missing.

        Raises:
            InputError: Other fields or types, another schema version, or counts that are not those of the shards.
        """
        value = with_current_keys(value)
        if value.get("schema_version") != SCHEMA_VERSION:
            raise InputError(f"`schema_version` must be {SCHEMA_VERSION}, got {value.get('schema_version')!r}")
        manifest = from_json(cls, value, "codes")
        for name in ("num_utterances", "num_records", "num_frames"):
            total = sum(getattr(shard, name) for shard in manifest.shards)
            if getattr(manifest, name) != total:
                raise InputError(f"`{name}` must be {total}, the sum over shards, got {getattr(manifest, name)!r}")
        for name in ("id", "name"):
            from_json(str, manifest.codec.get(name), f"codes.codec.{name}")
        for name in ("num_codebooks", "codebook_size"):
            from_json(int, manifest.codec.get(name), f"codes.codec.{name}")
        from_json(float, manifest.codec.get("frame_rate_hz"), "codes.codec.frame_rate_hz")
        if len({shard.name for shard in manifest.shards}) < len(manifest.shards):
            raise InputError("`shards` must have another name each, got one twice")
        for shard in manifest.shards:
            check_shard(shard)
        return manifest


def check_shard(shard: EncodedShard) -> None:
    """Refuse counts of a shard that cannot be.

    Args:
        shard: As it was read.

    Raises:
        InputError: A name that is no plain file name, a count below 0, or no checksum.
    """
    counts = (shard.num_utterances, shard.num_records, shard.num_frames, shard.num_bytes, shard.seconds)
    if min(counts) < 0 or not _FILE_NAME.fullmatch(shard.name) or not re.fullmatch("[0-9a-f]{64}", shard.sha256):
        raise InputError(f"a shard must have a file name, counts from 0 and a checksum, got {shard!r:.200}")


def distinct(arithmetic: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """Each description of an arithmetic once, in the order of their first appearance, without empty ones."""
    return tuple({json.dumps(one, sort_keys=True): one for one in arithmetic if one}.values())


class EncodedCorpus:
    """A finished folder of codes, read in order.

    Attributes:
        path: The folder.
        manifest: What it holds.
    """

    def __init__(self, path: StoragePath, manifest: EncodedManifest):
        """Use `open`."""
        self.path = path
        self.manifest = manifest

    @classmethod
    def open(cls, path: str | StoragePath) -> "EncodedCorpus":
        """Open a folder of codes.

        Args:
            path: What `encode` wrote: a local folder or a URL.

        Raises:
            InputError: No such folder, an unfinished or damaged one.
        """
        path = storage_path(path)
        file = path / MANIFEST_NAME
        if not file.is_file():
            hint = (
                "it is unfinished: run the same `audio-tokenize encode` again"
                if (path / PLAN_NAME).is_file()
                else "make them with `audio-tokenize encode`"
            )
            raise InputError(f"no codes in `{path}`: {hint}")
        remedy = f"restore it, or delete `{path}` and encode again"
        value = read_json(file, remedy=remedy)
        with file_errors(file, remedy):
            corpus = cls(path, EncodedManifest.from_json(value))
        sizes = file_sizes(path)
        for shard in corpus.manifest.shards:
            found = sizes.get(shard.name)
            if found != shard.num_bytes:
                raise InputError(
                    f"`{path / shard.name}` must have {shard.num_bytes} bytes, got {found!r}: "
                    f"delete `{path}` and encode again"
                )
        return corpus

    def __len__(self) -> int:
        return self.manifest.num_records

    def __getitem__(self, index: int) -> EncodedUtterance:
        remaining = index
        for shard in self.manifest.shards:
            if 0 <= remaining < shard.num_records:
                return next(islice(self._records(shard), remaining, None))
            remaining -= shard.num_records
        raise IndexError(f"record {index} of {len(self)} in `{self.path}`")

    def __iter__(self) -> Iterator[EncodedUtterance]:
        for shard in self.manifest.shards:
            yield from self._records(shard)

    def _records(self, shard: EncodedShard) -> Iterator[EncodedUtterance]:
        return read_shard(fetch(self.path / shard.name, sha256=shard.sha256), shard.num_records)


def read_shard(path: Path, num_records: int) -> Iterator[EncodedUtterance]:
    """Return the records of a shard in order; memory is bounded.

    Args:
        path: An ArrayRecord file of encoded utterances.
        num_records: How many it must hold.

    Raises:
        InputError: The file is damaged; the message names it.
    """
    return read_records(path, decode_record, num_records)


def write_shard(
    path: StoragePath, utterances: Iterable[EncodedUtterance], skipped: Sequence[Mapping[str, str]] = ()
) -> EncodedShard:
    """Write a shard, whole or not at all; memory is bounded by one record.

    Args:
        path: The ArrayRecord file.
        utterances: Its records, in order; may be none.
        skipped: Utterances of the shard that could not be encoded.

    Returns:
        Its counts.

    Raises:
        InputError: The disk or the store refuses.
    """
    tally = _Tally()
    file = write_records(path, map(encode_record, tally.counted(utterances)))
    return EncodedShard(path.name, **vars(tally), num_bytes=file.num_bytes, sha256=file.sha256, skipped=tuple(skipped))


class _Tally:
    """Counts records as they pass."""

    def __init__(self) -> None:
        self.num_utterances = self.num_records = self.num_frames = self.num_without_transcript = 0
        self.seconds = 0.0

    def counted(self, utterances: Iterable[EncodedUtterance]) -> Iterator[EncodedUtterance]:
        for utterance in utterances:
            yield utterance
            self.num_utterances += utterance.frame_offset == 0
            self.num_without_transcript += utterance.frame_offset == 0 and not utterance.text
            self.num_records += 1
            self.num_frames += len(utterance.codes)
            self.seconds += utterance.seconds


class RecordReader:
    """Random access to the records of a folder of codes; a context manager.

    Args:
        corpus: The codes. A shard is opened when it is first asked for, and few are open at a time.
    """

    def __init__(self, corpus: EncodedCorpus):
        self._corpus = corpus
        self._stops = np.array(list(accumulate(shard.num_records for shard in corpus.manifest.shards)), np.int64)
        self._open: OrderedDict[int, ArrayRecordReader] = OrderedDict()

    def __enter__(self) -> "RecordReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def read(self, positions: Sequence[int]) -> list[EncodedUtterance]:
        """Return the records at `positions`, in that order.

        Args:
            positions: Each 0 to the number of records less one, counted as the corpus is iterated.

        Raises:
            InputError: A shard is damaged; the message names it.
        """
        return [self._read(int(position)) for position in positions]

    def _read(self, position: int) -> EncodedUtterance:
        shard = int(np.searchsorted(self._stops, position, side="right"))
        first = int(self._stops[shard - 1]) if shard else 0
        path = self._corpus.path / self._corpus.manifest.shards[shard].name
        try:
            return decode_record(self._shard(shard).read([position - first])[0])
        except (RuntimeError, IndexError, InputError) as error:
            # Closing a reader that has failed raises again.
            self._open.pop(shard, None)
            raise InputError(f"`{path}` is damaged ({error}): delete `{path.parent}` and encode again") from error

    def _shard(self, index: int) -> ArrayRecordReader:
        if index not in self._open:
            if len(self._open) == _OPEN_SHARDS:
                self._open.popitem(last=False)[1].close()
            shard = self._corpus.manifest.shards[index]
            self._open[index] = ArrayRecordReader(str(fetch(self._corpus.path / shard.name, sha256=shard.sha256)))
        self._open.move_to_end(index)
        return self._open[index]
