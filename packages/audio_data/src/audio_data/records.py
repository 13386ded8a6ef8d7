"""One document as bytes: token ids, loss mask, metadata.

Layout, little-endian (schema version 1):

| bytes | content |
|---|---|
| 4 | `ATOK` |
| 1 | schema version |
| 1 | flags: 1 = a high plane follows, 2 = a loss mask follows |
| 2 | zero |
| 4 | number of tokens, n |
| 4 | number of bytes of metadata, m |
| 2 n | low 16 bits of every id |
| n | high 8 bits of every id, only if some id is 65,536 or more |
| ceil(n / 8) | loss mask, one bit a token, most significant first, only where there is one |
| m | metadata, UTF-8 JSON object |

Two planes keep ids of 18 bits in three bytes, decode with two vector operations, and let any slice be
read without decoding the rest.
"""

import dataclasses
import json
import struct
from typing import Any

import numpy as np
from jaxtyping import Bool, Int32

from audio_data.errors import InputError
from audio_data.json_files import MAX_DEPTH, decode_object

SCHEMA_VERSION = 1
_HEADER = struct.Struct("<4sBBHII")
_MAGIC = b"ATOK"
_HIGH_PLANE = 1
_LOSS_MASK = 2
_MAX_ID = 2**24 - 1
MAX_METADATA_BYTES = 2**26


@dataclasses.dataclass(frozen=True, eq=False)
class Document:
    """A sequence of tokens that belongs together, as it was made.

    Attributes:
        ids: Token ids, 0 .. 2**24 - 1, one row of any integer type; kept as int32.
        loss_mask: True where the token counts as a target, or None where all do.
        metadata: A JSON object. By convention `id` is unique in the dataset, `base_id` is shared by every rendering
            of one utterance, and `text`, `speaker`, `language`, `seconds` and `layout` say what is inside.

    Raises:
        InputError: Ids are not one row of integers in range, or the mask has another length.
    """

    ids: np.ndarray
    loss_mask: np.ndarray | None = None
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        ids = np.asarray(self.ids)
        if ids.ndim != 1 or (ids.size and not np.issubdtype(ids.dtype, np.integer)):
            raise InputError(f"{_name(self)}: expected one row of integer ids, got {ids.dtype} of shape {ids.shape!r}")
        if ids.size and not (ids.min() >= 0 and ids.max() <= _MAX_ID):
            raise InputError(f"{_name(self)}: expected ids 0..{_MAX_ID}, got {int(ids.min())!r}..{int(ids.max())!r}")
        object.__setattr__(self, "ids", ids.astype(np.int32, copy=False))
        if self.loss_mask is not None:
            mask = np.asarray(self.loss_mask)
            if mask.shape != ids.shape or (mask.size and mask.dtype != np.bool_):
                raise InputError(
                    f"{_name(self)}: expected a boolean `loss_mask` of {ids.size} tokens, "
                    f"got {mask.dtype} of shape {mask.shape!r}"
                )
            object.__setattr__(self, "loss_mask", mask.astype(np.bool_, copy=False))

    def __len__(self) -> int:
        return self.ids.size

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Document):
            return NotImplemented
        masks = (self.loss_mask, other.loss_mask)
        same_mask = masks[0] is masks[1] or (all(m is not None for m in masks) and np.array_equal(*masks))  # pyright: ignore[reportArgumentType]
        return np.array_equal(self.ids, other.ids) and same_mask and self.metadata == other.metadata


def _name(document: Document) -> str:
    return f"document `{document.metadata.get('id', '(without id)')}`"


def encode_document(document: Document) -> bytes:
    """Return the bytes of a document; `decode_document` is the inverse.

    Args:
        document: Any document. Its metadata must be a JSON object.

    Raises:
        InputError: The metadata is not JSON.
    """
    ids = document.ids.astype("<u4")
    flags = 0
    planes = [(ids & 0xFFFF).astype("<u2").tobytes()]
    if ids.size and ids.max() > 0xFFFF:
        flags |= _HIGH_PLANE
        planes.append((ids >> 16).astype(np.uint8).tobytes())
    if document.loss_mask is not None:
        flags |= _LOSS_MASK
        planes.append(np.packbits(document.loss_mask).tobytes())
    metadata = encode_metadata(document)
    return b"".join([_HEADER.pack(_MAGIC, SCHEMA_VERSION, flags, 0, ids.size, len(metadata)), *planes, metadata])


def decode_document(record: bytes) -> Document:
    """Return the document that `encode_document` made into bytes.

    Args:
        record: The bytes of exactly one document.

    Raises:
        InputError: The bytes are not such a record: wrong mark, unknown version, wrong length, metadata that is not
            JSON.
    """
    ids, mask = decode_tokens(record)
    return Document(ids, mask, decode_metadata(record))


def decode_tokens(
    record: bytes,
    start: int = 0,
    stop: int | None = None,
    *,
    expected_tokens: int | None = None,
    out: Int32[np.ndarray, " seq"] | None = None,
) -> tuple[Int32[np.ndarray, " seq"], Bool[np.ndarray, " seq"] | None]:
    """Ids and loss mask of a slice of an encoded document, without decoding the rest.

    Args:
        record: The bytes of exactly one document.
        start: First token, 0 .. n.
        stop: The token after the last; n if None.
        expected_tokens: N as some index has it, or None where there is none.
        out: Where the ids go, as many as the slice has; a new array if None.

    Raises:
        InputError: The bytes are not an encoded document, or not one of `expected_tokens`.
    """
    planes = _Planes(record)
    if expected_tokens is not None and planes.num_tokens != expected_tokens:
        raise InputError(f"record: expected {expected_tokens} tokens as in the index, got {planes.num_tokens!r}")
    num = (planes.num_tokens if stop is None else stop) - start
    ids = np.empty(num, np.int32) if out is None else out
    np.copyto(ids, np.frombuffer(record, "<u2", num, planes.low + 2 * start))
    if planes.flags & _HIGH_PLANE:
        ids |= np.left_shift(np.frombuffer(record, np.uint8, num, planes.high + start), 16, dtype=np.int32)
    if not planes.flags & _LOSS_MASK:
        return ids, None
    bits = np.unpackbits(
        np.frombuffer(record, np.uint8, planes.metadata - planes.mask, planes.mask), count=planes.num_tokens
    )
    return ids, bits[start : start + num].astype(np.bool_)


def decode_metadata(record: bytes) -> dict[str, Any]:
    """Metadata of an encoded document, without decoding its tokens.

    Args:
        record: The bytes of exactly one document.

    Raises:
        InputError: The bytes are not an encoded document, or the metadata is not a JSON object.
    """
    try:
        return decode_object(record[_Planes(record).metadata :])
    except InputError as error:
        raise InputError(f"metadata of the record: {error.message}; rebuild the dataset") from error


class _Planes:
    """Where each part of a record begins, in bytes; made only from a record whose length agrees with its header."""

    __slots__ = ("flags", "high", "low", "mask", "metadata", "num_tokens")

    def __init__(self, record: bytes):
        if len(record) < _HEADER.size:
            raise InputError(
                f"record: expected at least {_HEADER.size} bytes, got {len(record)!r}; rebuild the dataset"
            )
        magic, version, self.flags, zero, self.num_tokens, metadata_bytes = _HEADER.unpack_from(record)
        if magic != _MAGIC or zero or self.flags & ~(_HIGH_PLANE | _LOSS_MASK):
            raise InputError(f"record: expected a header that begins with {_MAGIC!r}, got {record[: _HEADER.size]!r}")
        if version != SCHEMA_VERSION:
            raise InputError(
                f"record: expected schema version {SCHEMA_VERSION}, got {version!r}; "
                f"rebuild the dataset, or read it with the version of audio-data that wrote it"
            )
        self.low = _HEADER.size
        self.high = self.low + 2 * self.num_tokens
        self.mask = self.high + bool(self.flags & _HIGH_PLANE) * self.num_tokens
        self.metadata = self.mask + bool(self.flags & _LOSS_MASK) * -(-self.num_tokens // 8)
        if len(record) != self.metadata + metadata_bytes:
            raise InputError(
                f"record: expected {self.metadata + metadata_bytes} bytes for {self.num_tokens} tokens, "
                f"got {len(record)!r}; rebuild the dataset"
            )


def encode_metadata(document: Document) -> bytes:
    """Return the metadata of a document as bytes; `decode_metadata` finds it again.

    Args:
        document: Any document.

    Raises:
        InputError: The metadata is not JSON that `decode_metadata` reads, or takes more than `MAX_METADATA_BYTES`.
    """
    try:
        content = json.dumps(document.metadata, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        if content.count(b"{") + content.count(b"[") >= MAX_DEPTH:
            decode_object(content)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{_name(document)}: `metadata` cannot be written as JSON ({error})") from error
    if len(content) > MAX_METADATA_BYTES:
        raise InputError(
            f"{_name(document)}: expected `metadata` of at most {MAX_METADATA_BYTES:,} bytes, got {len(content):,}"
        )
    return content
