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

A record, little-endian (schema version 1): `ACOD`, version (1 byte), codebooks (1), zero (2), frames (4), bytes of
metadata (4), the codes as frame-major uint16, then the metadata as a UTF-8 JSON object.
"""

import dataclasses
import hashlib
import json
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader
from jaxtyping import Integer, UInt16

from audio_data import (
    InputError,
    StoragePath,
    decode_object,
    fetch,
    file_errors,
    file_sizes,
    from_json,
    read_json,
    storage_path,
    write_records,
)

SCHEMA_VERSION = 1
PLAN_NAME = "plan.json"
INPUTS_NAME = "inputs.json"
MANIFEST_NAME = "codes.json"
QUARANTINE_NAME = "quarantine.jsonl"
_HEADER = struct.Struct("<4sBBHII")
_MAGIC = b"ACOD"
# Reading a range costs one call; the bound keeps memory independent of the corpus.
_RECORDS_PER_READ = 512
_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedUtterance:
    """An utterance and its codes.

    Attributes:
        id: Unique among the utterances of the corpus.
        text: Transcript.
        speaker: Who speaks.
        language: Code of the language.
        recording: What it was cut from; utterances of a recording lie side by side, in time order.
        split: `train` or the name of a held-out part.
        seconds: Length of the audio, without leading silence.
        frame_offset: Silence of `frame_offset / num_frame_offsets` of a frame was put before the audio.
        num_frame_offsets: How many offsets the utterance was encoded at.
        extra: What else the corpus says of it, by the corpus' own names.
        codes: Uint16, all codebooks of the codec.
    """

    id: str
    text: str
    speaker: str
    language: str
    recording: str
    split: str
    seconds: float
    frame_offset: int
    num_frame_offsets: int
    extra: Mapping[str, Any]
    codes: UInt16[np.ndarray, "frames codebooks"]

    @property
    def record_id(self) -> str:
        """Unique among the records: `id`, or `id` and frame offset."""
        return self.id if self.num_frame_offsets == 1 else f"{self.id}+{self.frame_offset}of{self.num_frame_offsets}"


_METADATA: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("id", "text", "speaker", "language", "recording", "split"), (str,)),
    "seconds": (float, int),
    "frame_offset": (int,),
    "num_frame_offsets": (int,),
    "extra": (dict,),
}
_RENAMED = {
    "phase": "frame_offset",
    "num_phases": "num_frame_offsets",
    "speed_spread": "speed_perturbation",
    "level": "target_rms",
}
_FILE_NAME = re.compile(r"[\w-]+(\.[\w-]+)*")


def with_current_keys(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a record, plan or manifest under their present names; an entry with both keeps both.

    Args:
        value: As it was read; files written before the keys were renamed have the former names.
    """
    return {key if _RENAMED.get(key, key) in value else _RENAMED[key]: entry for key, entry in value.items()}


def encode_record(utterance: EncodedUtterance) -> bytes:
    """Return the bytes of an encoded utterance; `decode_record` is the inverse.

    Args:
        utterance: Any encoded utterance.
    """
    codes = np.ascontiguousarray(utterance.codes, "<u2")
    metadata = json.dumps(
        {name: getattr(utterance, name) for name in _METADATA},
        ensure_ascii=False,
        separators=(",", ":"),
        allow_nan=False,
    ).encode()
    header = _HEADER.pack(_MAGIC, SCHEMA_VERSION, codes.shape[1], 0, codes.shape[0], len(metadata))
    return b"".join([header, codes.tobytes(), metadata])


def decode_record(record: bytes) -> EncodedUtterance:
    """Return the encoded utterance that `encode_record` made into bytes.

    Args:
        record: The bytes of exactly one record.

    Raises:
        InputError: Wrong mark, version or length, or metadata of other fields or types.
    """
    if len(record) < _HEADER.size:
        raise InputError(f"record of codes: expected at least {_HEADER.size} bytes, got {len(record)!r}: encode again")
    magic, version, num_codebooks, zero, num_frames, metadata_bytes = _HEADER.unpack_from(record)
    if magic != _MAGIC or version != SCHEMA_VERSION or zero or not num_codebooks:
        raise InputError(
            f"record of codes: expected {_MAGIC!r} of version {SCHEMA_VERSION}, "
            f"got {magic!r} of {version!r}: encode again"
        )
    codes_end = _HEADER.size + 2 * num_codebooks * num_frames
    if len(record) != codes_end + metadata_bytes:
        raise InputError(
            f"record of codes: expected {codes_end + metadata_bytes} bytes for {num_frames} frames of {num_codebooks} "
            f"codes, got {len(record)!r}: encode again"
        )
    codes = np.frombuffer(record, "<u2", num_codebooks * num_frames, _HEADER.size).astype(np.uint16)
    try:
        metadata = with_current_keys(decode_object(record[codes_end:]))
    except InputError as error:
        raise InputError(f"record of codes: {error.message}: encode again") from error
    wrong = set(metadata) ^ set(_METADATA) or {n for n, kinds in _METADATA.items() if type(metadata[n]) not in kinds}
    if wrong:
        raise InputError(f"record of codes: expected the fields {[*_METADATA]!r}, wrong {sorted(wrong)!r:.200}")
    return EncodedUtterance(codes=codes.reshape(num_frames, num_codebooks), **metadata)


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
    """Refuses counts of a shard that cannot be.

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


def read_records(path: Path, decode: Callable[[bytes], _T], num_records: int | None = None) -> Iterator[_T]:
    """Yield the records of an ArrayRecord file in order; memory is bounded.

    Args:
        path: The file.
        decode: Makes a record of its bytes; raises `InputError` where they are no record.
        num_records: How many it must hold; `None` takes what there is, but not nothing.

    Raises:
        InputError: The file is damaged; the message names it.
    """
    try:
        reader = ArrayRecordReader(str(path))
        found = reader.num_records()
        # A file that is no ArrayRecord opens without an exception, with 0 records.
        if found != num_records and (num_records is not None or not found):
            raise InputError(f"expected {num_records or 'some'} records, got {found!r}")
        for start in range(0, found, _RECORDS_PER_READ):
            yield from map(decode, reader.read(start, min(start + _RECORDS_PER_READ, found)))
        reader.close()
    except (RuntimeError, IndexError, InputError) as error:
        raise InputError(f"`{path}` is damaged ({error}): delete `{path.parent}` and encode again") from error


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
        self.num_utterances = self.num_records = self.num_frames = 0
        self.seconds = 0.0

    def counted(self, utterances: Iterable[EncodedUtterance]) -> Iterator[EncodedUtterance]:
        for utterance in utterances:
            yield utterance
            self.num_utterances += utterance.frame_offset == 0
            self.num_records += 1
            self.num_frames += len(utterance.codes)
            self.seconds += utterance.seconds


def codes_uint16(codes: Integer[np.ndarray, "frames codebooks"]) -> UInt16[np.ndarray, "frames codebooks"]:
    """Codes as they are stored.

    Args:
        codes: Values 0 to 65,535.

    Raises:
        InputError: A code is outside.
    """
    if codes.size and not 0 <= codes.min() <= codes.max() < 1 << 16:
        raise InputError(f"codes must be in 0..65535, got {int(codes.min())!r}..{int(codes.max())!r}")
    return codes.astype(np.uint16)
