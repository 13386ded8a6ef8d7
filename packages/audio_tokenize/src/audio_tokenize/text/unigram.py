"""SentencePiece's unigram model as the `tokenizers` library knows it, where both cut every text alike.

Both take the cut whose scores have the greatest sum, and of equal sums the one found first, in the same order; but
SentencePiece adds in single precision and `tokenizers` in double. So scores here are multiples of `SCORE_STEP`: sums of
them are exact in both as long as they stay below 2**24 steps. A piece scores no less than the unknown one, whose score
is the least less 10, and so the sums of up to `max_exact_characters` characters are exact.

What else `tokenizers` would do otherwise is kept from it: it finds `<unk>` and `<0x41>` in a text that spells them, so
that its texts are cut after such a `<`, which no piece crosses; and it takes a piece and a name that are spelled alike
for one token, so that such a piece, which no text between names can hold, is given another spelling.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from audio_tokenize.text.byte_pairs import NamedToken
from audio_tokenize.text.sentencepiece_model import Piece, PieceType, is_unigram, only_marks_spaces, read_pieces

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
