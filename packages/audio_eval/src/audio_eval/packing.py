"""Packing of documents into rows, so that little of a forward pass is spent on padding.

Attention is masked between documents of one row, and positions restart with each document.
"""

import bisect
import dataclasses
import functools
from collections.abc import Iterator, Sequence

import numpy as np

# Row widths are multiples of this.
_STEP = 32
# Wider rows than this cost more in attention than they save in padding, so only longer documents have them.
_COMFORTABLE = 640
# Row width at which attention costs about as much as everything else (models of width 192 to 512, on a CPU).
_ATTENTION_WIDTH = 2_048
# Reading the weights for this many batches takes about as long as computing one full batch.
_BATCHES_LIKE_A_FULL_ONE = 32
# Number of documents that the choice of a width is tried on, so that it is fast for large test sets.
_TRIED = 2_000


@dataclasses.dataclass(frozen=True)
class PackedRow:
    """Documents of one row, from its left edge on without gaps.

    Attributes:
        width: Tokens of the row, padding included.
        documents: Indices of the documents.
    """

    width: int
    documents: tuple[int, ...]


def row_widths(lengths: Sequence[int], max_widths: int) -> list[int]:
    """Choose the widths that rows may have; each one is a program to compile.

    Args:
        lengths: Tokens of each document, at least one document.
        max_widths: How many widths there may be, at least 1.

    Returns:
        Multiples of 32 in ascending order, the last no less than the longest document. Where no document has more than
        640 tokens there is one, up to 640, whose rows are filled with the least work. Longer documents seldom share a
        row, so theirs are the widths that would leave the least padding if they never did.
    """
    longest = max(lengths)
    if longest <= _COMFORTABLE:
        sample = sorted(lengths, reverse=True)[:: -(-len(lengths) // _TRIED)]
        widest = max(_rounded(longest), min(_COMFORTABLE, _rounded(sum(lengths))))
        return [min(range(_rounded(longest), widest + 1, _STEP), key=functools.partial(_work, sample))]
    candidates, counts = np.unique([_rounded(length) for length in lengths], return_counts=True)
    cumulative = np.concatenate([[0], np.cumsum(counts)])

    @functools.cache
    def cheapest(stop: int, widths: int) -> tuple[int, tuple[int, ...]]:
        """Least number of tokens of rows for the candidates before `stop`, and the widths that give it."""
        if stop == 0:
            return 0, ()
        options = []
        for start in range(stop if widths > 1 else 1):
            cost, chosen = cheapest(start, widths - 1)
            tokens = int((cumulative[stop] - cumulative[start]) * candidates[stop - 1])
            options.append((cost + tokens, (*chosen, int(candidates[stop - 1]))))
        return min(options)

    return list(cheapest(len(candidates), max_widths)[1])


def pack(lengths: Sequence[int], max_widths: int) -> list[PackedRow]:
    """Pack documents into rows, each into the fullest one that still holds it, the longest documents first.

    Args:
        lengths: Tokens of each document, at least one document.
        max_widths: As for `row_widths`.

    Returns:
        Rows in ascending order of width; every document is in one of them, whole.
    """
    return _filled(lengths, row_widths(lengths, max_widths))


def _work(lengths: Sequence[int], width: int) -> int:
    """Return the cost of scoring documents in rows of this width, in tokens times an arbitrary constant."""
    return len(_filled(lengths, [width])) * width * (_ATTENTION_WIDTH + width)


def _filled(lengths: Sequence[int], widths: Sequence[int]) -> list[PackedRow]:
    rows: list[tuple[int, list[int]]] = []
    free: list[tuple[int, int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        place = bisect.bisect_left(free, (lengths[index], 0))
        if place < len(free):
            left, row = free.pop(place)
        else:
            width = widths[bisect.bisect_left(widths, lengths[index])]
            left, row = width, len(rows)
            rows.append((width, []))
        rows[row][1].append(index)
        bisect.insort(free, (left - lengths[index], row))
    return sorted((PackedRow(width, tuple(documents)) for width, documents in rows), key=lambda row: row.width)


def batches(rows: Sequence[PackedRow], tokens_per_batch: int) -> Iterator[tuple[list[PackedRow], int]]:
    """Group rows of one width into batches of one size, the one that leaves the least work.

    Args:
        rows: Rows in ascending order of width.
        tokens_per_batch: Maximum tokens of a batch, as long as one row has no more.

    Yields:
        The rows of a batch, and how many rows the batches of this width are filled up to with padding.
    """
    for width in dict.fromkeys(row.width for row in rows):
        members = [row for row in rows if row.width == width]
        max_rows = max(1, tokens_per_batch // width)
        size = _batch_size(len(members), max_rows)
        for start in range(0, len(members), size):
            yield members[start : start + size], size


def _batch_size(rows: int, max_rows: int) -> int:
    """Return the rows of a batch: the last batch is padded, and many small batches cost more than few."""
    overhead = max_rows / _BATCHES_LIKE_A_FULL_ONE
    sizes = range(min(rows, max_rows), (min(rows, max_rows) - 1) // 2, -1)
    return min(sizes, key=lambda size: -(-rows // size) * (size + overhead))


def _rounded(tokens: int) -> int:
    return -(-tokens // _STEP) * _STEP
