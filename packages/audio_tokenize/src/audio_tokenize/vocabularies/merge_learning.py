"""Learning and applying byte-pair merges on sequences of symbols.

All spans lie in one array with a wall before, between and behind them, and every symbol knows its neighbours, so that
joining a pair everywhere is a handful of array operations however many spans there are.
"""

import heapq
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


def learn_pairs(
    chain: SymbolChain, num_codes: int, num_merges: int, *, max_codes: int, min_count: int
) -> Int32[np.ndarray, "merges 2"]:
    """Join the most frequent pair again and again; the chain holds the result.

    A pair's count falls only, for new neighbours are always new symbols. So a count is an upper bound until the pair
    comes up, and is then counted afresh; nothing is updated on the way.

    Args:
        chain: Of symbols below `num_codes`.
        num_codes: Symbol of the first merge.
        num_merges: Merges at most.
        max_codes: A symbol is at most that many codes long.
        min_count: Occurrences, overlapping ones included, that a pair must have.

    Returns:
        The pairs, in the order of their merges; among pairs of the same count, the lower symbols come first.
    """
    lengths = np.ones(num_codes + num_merges, np.int64)
    keys, positions = chain.pairs()
    candidates = _Candidates(keys, positions, min_count) if max_codes > 1 else None
    pairs: list[tuple[int, int]] = []
    while candidates and len(pairs) < num_merges and (found := candidates.pop()):
        bound, key, positions = found
        left, right = pair_of_key(key)
        positions = chain.holding(positions, left, right)
        if len(positions) < bound:
            candidates.push(key, positions)
            continue
        joined = num_codes + len(pairs)
        lengths[joined] = lengths[left] + lengths[right]
        pairs.append((left, right))
        keys, positions = chain.pairs(chain.join(positions, joined))
        short = lengths[keys >> 32] + lengths[keys & 0xFFFFFFFF] <= max_codes
        for key, at in by_key(keys[short], positions[short]):
            candidates.push(key, at)
    return np.array(pairs, np.int32).reshape(-1, 2)


class _Candidates:
    """Pairs by falling count, then rising key.

    Those of the beginning may be as many as the symbols: they stay in arrays, sorted once, and only later ones are
    objects on a heap.
    """

    def __init__(self, keys: Keys, positions: Positions, min_count: int):
        order = np.argsort(keys, kind="stable")
        keys, self._positions = keys[order], positions[order]
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        counts = np.diff(starts, append=len(keys))
        frequent = counts >= min_count
        starts, counts = starts[frequent], counts[frequent]
        best = np.lexsort((keys[starts], -counts))
        self._keys, self._starts, self._counts = keys[starts][best], starts[best], counts[best]
        self._next, self._min_count = 0, min_count
        self._later: list[tuple[int, int, int]] = []
        self._later_positions: list[Positions] = []

    def push(self, key: int, positions: Positions) -> None:
        """Add a pair, unless it is too rare."""
        if len(positions) >= self._min_count:
            heapq.heappush(self._later, (-len(positions), key, len(self._later_positions)))
            self._later_positions.append(positions)

    def pop(self) -> tuple[int, int, Positions] | None:
        """Take out the best pair: its count when it was added, its key and its positions then."""
        first = self._first()
        if self._later and (first is None or self._later[0][:2] < first):
            count, key, place = heapq.heappop(self._later)
            positions, self._later_positions[place] = self._later_positions[place], np.empty(0, np.int64)
            return -count, key, positions
        if first is None:
            return None
        start = self._starts[self._next]
        self._next += 1
        return -first[0], first[1], self._positions[start : start - first[0]]

    def _first(self) -> tuple[int, int] | None:
        if self._next == len(self._keys):
            return None
        return -int(self._counts[self._next]), int(self._keys[self._next])


class MergeTable:
    """Merges that can be looked up by their pairs."""

    def __init__(self, pairs: Int32[np.ndarray, "merges 2"], num_codes: int):
        """Sort the pairs of merges, of which the first makes the symbol `num_codes`."""
        keys = pair_key(pairs[:, 0], pairs[:, 1])
        self._merges = np.argsort(keys)
        self._keys, self._pairs, self._num_codes = keys[self._merges], pairs.tolist(), num_codes

    def apply(self, chain: SymbolChain) -> None:
        """Apply the merges to a chain, each everywhere before the next.

        A pair with the symbol of a merge belongs to a later merge than that, so that going through the merges once, in
        their order, meets every pair that there ever is.
        """
        waiting: list[int] = []
        places: dict[int, list[Positions]] = {}
        found = self._find(*chain.pairs())
        while True:
            for merge, positions in found:
                if merge not in places:
                    heapq.heappush(waiting, merge)
                places.setdefault(merge, []).append(positions)
            if not waiting:
                return
            merge = heapq.heappop(waiting)
            positions = chain.holding(np.sort(np.concatenate(places.pop(merge))), *self._pairs[merge])
            found = self._find(*chain.pairs(chain.join(positions, self._num_codes + merge)))

    def _find(self, keys: Keys, positions: Positions) -> Iterator[tuple[int, Positions]]:
        """Positions by the merge that their pairs belong to."""
        if not len(self._keys):
            return iter(())
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        known = self._keys[place] == keys
        return by_key(self._merges[place[known]], positions[known])
