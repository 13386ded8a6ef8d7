"""Held-out utterances, chosen by a hash of their name alone.

So the two orders of an utterance, and all else that is made of it, fall on the same side: in this dataset and in any
other that is made later.
"""

import dataclasses
import hashlib
import math
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt64

from audio_data.errors import InputError
from audio_data.records import Document

_NUM_KEYS = 2**64


def holdout(base_id: str, fraction: int | float) -> bool:
    """Whether an utterance is held out of training.

    A pure function of its arguments, so every rendering of an utterance (both orders, every frame offset) falls on
    the same side, now and in any later build.

    Args:
        base_id: What all renderings of the utterance share.
        fraction: Share to hold out, 0 .. 1.

    Source: holdout by hash of the base utterance id, as in SODA's follow-up corpora; the hash is SHA-256.
    """
    if not 0 <= fraction <= 1:
        raise InputError(f"`fraction`: expected 0..1, got {fraction!r}")
    return holdout_key(base_id) < _num_heldout_keys(fraction)


def holdout_key(base_id: str) -> int:
    """Return the number 0 .. 2**64 - 1 that stands for an utterance; the smallest numbers are held out.

    Args:
        base_id: What all renderings of the utterance share.
    """
    return int.from_bytes(hashlib.sha256(base_id.encode()).digest()[:8], "little")


def base_id_of(document: Document) -> str | None:
    """Return the name of a document's utterance: its `base_id`, else its `id`; None where it has neither.

    Args:
        document: The document.
    """
    found = document.metadata.get("base_id", document.metadata.get("id"))
    return None if found is None else str(found)


@dataclasses.dataclass(frozen=True)
class Holdout:
    """One of the two sides into which documents fall: those held out, or those left to train on.

    With one fraction the two sides share no utterance, and hold every document between them.

    Attributes:
        fraction: Share of utterances held out, above 0 and below 1.
        heldout: The documents held out instead of the others.

    Raises:
        InputError: `fraction` is no such share.
    """

    fraction: float
    heldout: bool = False

    def __post_init__(self):
        if not (isinstance(self.fraction, float) and 0 < self.fraction < 1):
            raise InputError(
                f"`holdout`: expected a share of the utterances above 0 and below 1, such as 0.002, "
                f"got {self.fraction!r}"
            )

    def keeps(self, document: Document) -> bool:
        """Whether a document is on this side.

        Args:
            document: Its metadata states `base_id`, or else `id`.

        Raises:
            InputError: It states neither.
        """
        base_id = base_id_of(document)
        if base_id is None:
            raise InputError(
                "expected metadata `base_id` or `id`, by whose hash documents are held out, "
                f"got {sorted(document.metadata)!r}; add one of them"
            )
        return holdout(base_id, self.fraction) == self.heldout

    def choose(self, keys: UInt64[np.ndarray, " documents"]) -> Bool[np.ndarray, " documents"]:
        """Which documents are on this side.

        Args:
            keys: What `holdout_key` says of each.
        """
        return (keys < np.uint64(_num_heldout_keys(self.fraction))) == self.heldout

    def to_json(self) -> dict[str, Any]:
        """Both fields, as JSON values."""
        return dataclasses.asdict(self)


def _num_heldout_keys(fraction: int | float) -> int:
    """How many keys, from 0 on, are held out; exact, because a float times a power of two is."""
    return math.ceil(fraction * _NUM_KEYS)
