"""SentencePiece model files, read and changed field by field, and their unigram model for the `tokenizers` library.

A file is a protocol buffer: a list of pieces, each with its score and its type, then the options of training and those
of normalisation.

SentencePiece and `tokenizers` both take the cut whose scores have the greatest sum, and of equal sums the one found
first, in the same order; but SentencePiece adds in single precision and `tokenizers` in double. So scores here are
multiples of `SCORE_STEP`: sums of them are exact in both as long as they stay below 2**24 steps. A piece scores no less
than the unknown one, whose score is the least less 10, and so the sums of up to `max_exact_characters` characters are
exact.

What else `tokenizers` would do otherwise is kept from it: it finds `<unk>` and `<0x41>` in a text that spells them, so
that its texts are cut after such a `<`, which no piece crosses; and it takes a piece and a name that are spelled alike
for one token, so that such a piece, which no text between names can hold, is given another spelling.

Source: `sentencepiece_model.proto` of SentencePiece.
"""

import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any, NamedTuple

from audio_tokenize.text.byte_pairs import NamedToken

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


SPACE = "\u2581"
UNKNOWN = "<unk>"
SCORE_STEP = 2.0**-6

# No learned piece may hold these: they stand in the spellings of the unknown piece and of bytes.
RESERVED = ("<0", "<u")

_BYTE_PIECES = frozenset(f"<0x{byte:02X}>" for byte in range(256))
_UNKNOWN_PENALTY = 10.0
_FLOAT32_INTEGERS = 2**24


def round_score(score: float) -> float:
    """Return the nearest multiple of `SCORE_STEP`."""
    return round(score / SCORE_STEP) * SCORE_STEP


def can_be_learned(piece: str) -> bool:
    """Whether a piece leaves texts to be cut before every space and where they spell a reserved piece."""
    return SPACE not in piece[1:] and not any(reserved in piece for reserved in RESERVED)


@dataclass(frozen=True, eq=False)
class Unigram:
    """All that decides the ids of a text.

    Attributes:
        pieces: By id.
        is_unigram: Whether it is a unigram model at all; SentencePiece has others.
        only_marks_spaces: Whether a text is cut as it stands, but for U+2581 before it and in place of its spaces.
    """

    pieces: tuple[Piece, ...]
    is_unigram: bool
    only_marks_spaces: bool

    @classmethod
    def read(cls, model: bytes) -> "Unigram":
        """Read the content of a SentencePiece model file."""
        return cls(read_pieces(model), is_unigram(model), only_marks_spaces(model))

    @cached_property
    def obstacle(self) -> str | None:
        """Why `tokenizers` would cut some text otherwise than SentencePiece; None if it never would."""
        if not self.is_unigram:
            return "it is no unigram model"
        if not self.only_marks_spaces:
            return "it changes texts before it cuts them"
        reserved = {piece.text: piece.type for piece in self.pieces if piece.type != PieceType.NORMAL}
        if reserved != {UNKNOWN: PieceType.UNKNOWN} | dict.fromkeys(_BYTE_PIECES, PieceType.BYTE):
            return f"its pieces that are not learned must be {UNKNOWN} and 256 bytes"
        learned = [piece for piece in self.pieces if piece.type == PieceType.NORMAL]
        wrong = [piece.text for piece in learned if not can_be_learned(piece.text)]
        if wrong:
            return f"the piece {wrong[0]!r} holds a space inside or the beginning of a reserved piece"
        if any(piece.score > 0 or piece.score % SCORE_STEP for piece in learned):
            return f"its scores are not all multiples of {SCORE_STEP} up to 0"
        return None

    @cached_property
    def max_exact_characters(self) -> int | float:
        """Characters of a text whose scores surely have an exact sum; without limit where sums are not exact anyway."""
        if self.obstacle is not None:
            return math.inf
        unknown = _UNKNOWN_PENALTY - min(piece.score for piece in self.pieces)
        # One for the space that is put before the text.
        return int(_FLOAT32_INTEGERS * SCORE_STEP / unknown) - 1

    def to_json(
        self, named: Sequence[NamedToken] = (), post_processor: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the content of a `tokenizer.json`; right only where there is no `obstacle`.

        Args:
            named: Tokens beside those of the text, by rising id. Names of one character must be a run of characters.
            post_processor: What is done to the ids of a document at the end; nothing if None.
        """
        names = {token.name for token in named}
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [token.to_json() for token in named],
            "normalizer": _sequence(
                "normalizers", {"type": "Prepend", "prepend": SPACE}, _replace({"String": " "}, SPACE)
            ),
            "pre_tokenizer": {
                "type": "Split",
                "pattern": {"Regex": "<(?=unk>|0x[0-9A-F]{2}>)"},
                "behavior": "MergedWithPrevious",
                "invert": False,
            },
            "post_processor": post_processor,
            "decoder": _decoder(names),
            "model": {
                "type": "Unigram",
                "unk_id": next(i for i, piece in enumerate(self.pieces) if piece.type == PieceType.UNKNOWN),
                "byte_fallback": True,
                # Spaces are replaced before a text is cut, so that a spelling with one is never found in it.
                "vocab": [[" " * (piece.text in names) + piece.text, piece.score] for piece in self.pieces],
            },
        }


def _decoder(names: set[str]) -> dict[str, Any]:
    """Take away the space that was put before each text, at the beginning and after every name.

    A plain space, which no piece holds, is put after every name and leads the way; where it is followed by no text, or
    spells a piece that has the spelling of a name, it goes alone.
    """
    characters = [name for name in names if len(name) == 1]
    patterns = [re.escape(name) for name in sorted(names) if len(name) > 1]
    if characters:
        patterns.append(f"[{min(characters)}-{max(characters)}]")
    after_a_name = [_replace({"Regex": rf"(?<=\A(?:{'|'.join(patterns)}))\z"}, " ")] if patterns else []
    return _sequence(
        "decoders",
        *after_a_name,
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        _replace({"Regex": rf"\A{SPACE}| {SPACE}?"}, ""),
        _replace({"String": SPACE}, " "),
    )


def _sequence(key: str, *steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", key: list(steps)}


def _replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}
