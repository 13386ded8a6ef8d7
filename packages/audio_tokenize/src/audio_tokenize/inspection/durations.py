"""The distribution of lengths, of any number of them in little memory."""

import math
from collections import Counter
from typing import NamedTuple

# Bins this much wider than the one before: a quantile is off by half of it at most.
_RATIO = 1.01


class Bin(NamedTuple):
    """Lengths in `[begin_seconds, end_seconds)`."""

    begin_seconds: float
    end_seconds: float
    num_lengths: int


class Durations:
    """Counts lengths in bins of 1 %; count, sum and extremes are exact.

    Attributes:
        num_empty: Lengths of 0, which the distribution leaves out.
        seconds: Sum.
        shortest: The least, infinite of none.
        longest: The greatest, 0 of none.
    """

    def __init__(self) -> None:
        self.num_empty = 0
        self.seconds = 0.0
        self.shortest = math.inf
        self.longest = 0.0
        self._bins: Counter[int] = Counter()

    def __len__(self) -> int:
        return sum(self._bins.values())

    def add(self, seconds: int | float) -> None:
        """Count a length.

        Args:
            seconds: 0 or more.
        """
        if not seconds:
            self.num_empty += 1
            return
        self.seconds += seconds
        self.shortest = min(self.shortest, seconds)
        self.longest = max(self.longest, seconds)
        self._bins[math.floor(math.log(seconds) / math.log(_RATIO))] += 1

    def quantile(self, fraction: float) -> float:
        """Return the length that this share does not exceed, to 1 %.

        Args:
            fraction: 0 to 1.

        Returns:
            Seconds; 0 of no length.
        """
        wanted, seen = fraction * len(self), 0
        for place in sorted(self._bins):
            seen += self._bins[place]
            if seen >= wanted:
                return min(max(_RATIO ** (place + 0.5), self.shortest), self.longest)
        return 0.0

    def histogram(self, num_bins: int = 24) -> list[Bin]:
        """Lengths in wider bins, each as many times longer than the one before.

        Args:
            num_bins: At most.
        """
        if not self._bins:
            return []
        first, last = min(self._bins), max(self._bins)
        width = -(-(last - first + 1) // num_bins)
        return [
            Bin(_RATIO**begin, _RATIO ** (begin + width), sum(self._bins[i] for i in range(begin, begin + width)))
            for begin in range(first, last + 1, width)
        ]

    def to_json(self) -> dict[str, float | int]:
        """Count, sum, extremes, mean and quantiles, in seconds."""
        if not len(self):
            return {"num_documents": 0, "num_empty": self.num_empty}
        quantiles = {f"p{round(100 * q):02d}": self.quantile(q) for q in (0.05, 0.25, 0.5, 0.75, 0.95)}
        return {
            "num_documents": len(self),
            "num_empty": self.num_empty,
            "mean": self.seconds / len(self),
            "shortest": self.shortest,
            **quantiles,
            "longest": self.longest,
        }
