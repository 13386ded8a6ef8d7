"""Sequences of symbols in which pairs are joined: what learning and applying byte-pair merges have in common.

All spans lie in one array with a wall before, between and behind them, and every symbol knows its neighbours, so that
joining a pair everywhere is a handful of array operations however many spans there are.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Int32, Int64

_WALL = -1
_GONE = -2

Positions = Int64[np.ndarray, " _"]
Keys = Int64[np.ndarray, " _"]


def pair_key(left: np.ndarray, right: np.ndarray) -> Keys:
    """One integer for a pair of symbols; pairs of lower symbols have lower ones."""
    return (left.astype(np.int64) << 32) | right


def pair_of_key(key: int) -> tuple[int, int]:
    """Return the pair of a key."""
    return key >> 32, key & 0xFFFFFFFF


def by_key(keys: Keys, positions: Positions) -> Iterator[tuple[int, Positions]]:
    """Positions of each key, by rising key; the positions of one keep their order."""
    order = np.argsort(keys, kind="stable")
    keys, positions = keys[order], positions[order]
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    for start, stop in pairwise([*starts.tolist(), len(keys)]):
        yield int(keys[start]), positions[start:stop]


class SymbolChain:
    """Spans of symbols that shrink as pairs are joined."""

    def __init__(self, spans: Sequence[Int32[np.ndarray, " _"]]):
        """Copy the symbols of some spans, all of them at least 0."""
        wall = np.array([_WALL], np.int32)
        self._symbols = np.concatenate([wall, *(part for span in spans for part in (span, wall))])
        places = np.arange(len(self._symbols))
        self._before, self._after = places - 1, places + 1

    def spans(self) -> list[Int32[np.ndarray, " _"]]:
        """Return the symbols of each span as they are now."""
        left = self._symbols[self._symbols != _GONE]
        walls = np.flatnonzero(left == _WALL)
        return [left[start + 1 : stop] for start, stop in pairwise(walls)]

    def pairs(self, positions: Positions | None = None) -> tuple[Keys, Positions]:
        """Keys of the pairs that begin at some positions, and these; a wall is in no pair.

        Args:
            positions: Of symbols that still stand; at the beginning, all if None.
        """
        if positions is None:
            positions = np.arange(1, len(self._symbols) - 1)
        left, right = self._symbols[positions], self._symbols[self._after[positions]]
        whole = (left >= 0) & (right >= 0)
        return pair_key(left[whole], right[whole]), positions[whole]

    def holding(self, positions: Positions, left: int, right: int) -> Positions:
        """Those positions at which a pair still stands."""
        positions = positions[self._symbols[positions] == left]
        return positions[self._symbols[self._after[positions]] == right]

    def join(self, positions: Positions, joined: int) -> Positions:
        """Put one symbol in the place of a pair, from left to right where pairs overlap.

        Args:
            positions: All places where the pair stands, rising.
            joined: The new symbol, which is nowhere yet.

        Returns:
            Positions at which a pair with the new symbol may begin, rising.
        """
        positions = positions[self._apart(positions)]
        second = self._after[positions]
        beyond = self._after[second]
        self._symbols[positions] = joined
        self._symbols[second] = _GONE
        self._after[positions] = beyond
        self._before[beyond] = positions
        earlier = self._before[positions]
        # Where two new symbols touch, their pair is that of the first one.
        earlier = earlier[self._symbols[earlier] != joined]
        return np.sort(np.concatenate([earlier, positions]))

    def _apart(self, positions: Positions) -> Bool[np.ndarray, " positions"]:
        """Every other one of a run of positions that follow each other, as those of a pair of equal symbols may."""
        index = np.arange(len(positions))
        begins = np.ones(len(positions), bool)
        begins[1:] = self._after[positions[:-1]] != positions[1:]
        return (index - np.maximum.accumulate(np.where(begins, index, 0))) % 2 == 0
