"""SentencePiece model files, read and changed field by field.

A file is a protocol buffer: a list of pieces, each with its score and its type, then the options of training and those
of normalisation.

Source: `sentencepiece_model.proto` of SentencePiece.
"""

import struct
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import NamedTuple

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_PIECE, _TRAINING, _NORMALIZATION = (number << 3 | _BYTES for number in (1, 2, 3))
_PIECE_TEXT, _PIECE_SCORE, _PIECE_TYPE = 1 << 3 | _BYTES, 2 << 3 | _FIXED32, 3 << 3 | _VARINT
_MODEL_TYPE = 3 << 3 | _VARINT
_RULE, _RULE_TABLE = 1 << 3 | _BYTES, 2 << 3 | _BYTES
_PREFIX, _TRIMS, _ESCAPES = (number << 3 | _VARINT for number in (3, 4, 5))

_NO, _YES, _UNIGRAM = b"\0", b"\1", b"\1"
# What a model without the field means, then what models of this package say.
_NORMALIZATION_DEFAULTS = {_RULE_TABLE: b"", _PREFIX: _YES, _TRIMS: _YES, _ESCAPES: _YES}
_ONLY_SPACES = {_RULE: b"identity", _RULE_TABLE: b"", _PREFIX: _YES, _TRIMS: _NO, _ESCAPES: _YES}


class PieceType(IntEnum):
    """What a piece is for."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class Piece(NamedTuple):
    """A piece: how it is spelled, with U+2581 for the space, its log probability and what it is for."""

    text: str
    score: float
    type: PieceType


def read_pieces(model: bytes) -> tuple[Piece, ...]:
    """Return the pieces of a model file, in the order of their ids."""
    return tuple(_piece(content) for tag, content in _fields(model) if tag == _PIECE)


def is_unigram(model: bytes) -> bool:
    """Whether a model file holds a unigram model."""
    return _options(model, _TRAINING).get(_MODEL_TYPE, _UNIGRAM) == _UNIGRAM


def only_marks_spaces(model: bytes) -> bool:
    """Whether all that becomes of a text before it is cut is U+2581 before it and in place of every space."""
    return _NORMALIZATION_DEFAULTS | _options(model, _NORMALIZATION) == _ONLY_SPACES


def with_scores(model: bytes, change: Callable[[float], float]) -> bytes:
    """Return the model file with the score of every piece changed."""

    def changed(tag: int, content: bytes) -> bytes:
        if tag != _PIECE_SCORE:
            return content
        return struct.pack("<f", change(struct.unpack("<f", content)[0]))

    return _map_fields(model, lambda tag, content: _map_fields(content, changed) if tag == _PIECE else content)


def without_training_option(model: bytes, value: bytes) -> bytes:
    """Return the model file without those training options whose value is `value`."""
    return _map_fields(
        model,
        lambda tag, content: (
            b"".join(_field(*inner) for inner in _fields(content) if inner[1] != value) if tag == _TRAINING else content
        ),
    )


def _piece(content: bytes) -> Piece:
    found = dict(_fields(content))
    (score,) = struct.unpack("<f", found.get(_PIECE_SCORE, bytes(4)))
    kind, _ = _read_varint(found.get(_PIECE_TYPE, bytes([PieceType.NORMAL])), 0)
    return Piece(found[_PIECE_TEXT].decode(), score, PieceType(kind))


def _options(model: bytes, part: int) -> dict[int, bytes]:
    return {key: value for tag, content in _fields(model) if tag == part for key, value in _fields(content)}


def _map_fields(message: bytes, change: Callable[[int, bytes], bytes]) -> bytes:
    return b"".join(_field(tag, change(tag, content)) for tag, content in _fields(message))


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each field of a protocol buffer message."""
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        start = position
        match tag & 7:
            case wire if wire == _VARINT:
                _, position = _read_varint(message, position)
            case wire if wire == _BYTES:
                size, start = _read_varint(message, position)
                position = start + size
            case wire if wire in (_FIXED32, _FIXED64):
                position += 4 if wire == _FIXED32 else 8
            case wire:
                raise ValueError(f"wire type {wire} at byte {start}")
        yield tag, message[start:position]


def _field(tag: int, content: bytes) -> bytes:
    size = _varint(len(content)) if tag & 7 == _BYTES else b""
    return _varint(tag) + size + content


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
