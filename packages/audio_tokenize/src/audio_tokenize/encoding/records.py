"""A record of codes: an utterance and its codes, as bytes.

Little-endian (schema version 1): `ACOD`, version (1 byte), codebooks (1), zero (2), frames (4), bytes of metadata (4),
the codes as frame-major uint16, then the metadata as a UTF-8 JSON object.
"""

import dataclasses
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader
from jaxtyping import Integer, UInt16

from audio_data import InputError, decode_object

SCHEMA_VERSION = 1
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
