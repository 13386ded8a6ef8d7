"""Learning and applying byte-pair merges on a chain of symbols."""

import heapq
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int32

from audio_tokenize.vocabularies.symbol_chain import Keys, Positions, SymbolChain, by_key, pair_key, pair_of_key


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
        """Sorts the pairs of merges, of which the first makes the symbol `num_codes`."""
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
