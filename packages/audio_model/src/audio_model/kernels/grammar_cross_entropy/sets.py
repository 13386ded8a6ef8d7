"""Disjoint sets of token ids that compete with each other, written as ranges."""

import dataclasses
import itertools
from collections.abc import Iterable

import numpy as np
from jaxtyping import Int32

from audio_model.errors import InputError

Range = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class TokenSets:
    """Disjoint sets of token ids; hashable, so that it is a static argument of a jitted function.

    Where a grammar allows exactly one set at a position, that set is the one the target belongs to,
    so a position's set is read off its target.

    Attributes:
        ranges: For each set, its half-open id ranges in ascending order.
    """

    ranges: tuple[tuple[Range, ...], ...]

    def __post_init__(self) -> None:
        if not self.ranges or not all(self.ranges):
            raise InputError(
                f"`ranges` must hold at least one set and every set at least one range, got {self.ranges!r}"
            )
        flat = sorted(r for set_ranges in self.ranges for r in set_ranges)
        for start, stop in flat:
            if not 0 <= start < stop:
                raise InputError(
                    f"a range of `ranges` must be (start, stop) with 0 <= start < stop, got {(start, stop)!r}"
                )
        for (_, stop), (start, other) in itertools.pairwise(flat):
            if start < stop:
                raise InputError(f"the sets of `ranges` must be disjoint, but {(start, other)!r} begins before {stop}")

    @staticmethod
    def build(ranges: Iterable[Iterable[Range]]) -> "TokenSets":
        """Make sets from any nesting of ranges; touching ranges of one set are joined.

        Args:
            ranges: For each set, half-open ranges `(start, stop)` of token ids in any order. A typical
                list for frames of audio: text and specials; codebook 0 and end of audio; then one set
                for every further codebook.

        Returns:
            The sets, in the given order.

        Raises:
            InputError: If a set or a range is empty, or if two ranges share an id.
        """
        return TokenSets(tuple(_joined(set_ranges) for set_ranges in ranges))

    @property
    def num_sets(self) -> int:
        """Number of sets."""
        return len(self.ranges)

    @property
    def stop(self) -> int:
        """One more than the largest id of any set: the smallest vocabulary that holds them."""
        return max(stop for set_ranges in self.ranges for _, stop in set_ranges)

    def set_of_token(self, vocab_size: int) -> Int32[np.ndarray, " vocab"]:
        """Return the set of every token id, -1 for ids in none.

        Args:
            vocab_size: Length of the result, at least `stop`.

        Returns:
            Index of each id's set.

        Raises:
            InputError: If a range ends beyond the vocabulary.
        """
        if self.stop > vocab_size:
            raise InputError(f"`ranges` of the token sets reach id {self.stop - 1}, but `vocab_size` is {vocab_size}")
        table = np.full(vocab_size, -1, np.int32)
        for index, set_ranges in enumerate(self.ranges):
            for start, stop in set_ranges:
                table[start:stop] = index
        return table


def _joined(ranges: Iterable[Range]) -> tuple[Range, ...]:
    joined: list[Range] = []
    for start, stop in sorted((int(start), int(stop)) for start, stop in ranges):
        if joined and joined[-1][1] == start < stop:
            start = joined.pop()[0]
        joined.append((start, stop))
    return tuple(joined)
