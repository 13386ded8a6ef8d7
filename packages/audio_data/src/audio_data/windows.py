"""Documents to rows of fixed length, with segment ids, positions and loss mask.

Three ways to fill a row, all random access: row `i` is read without reading the rows before it.

- `windows`: all documents of a corpus, end to end, are cut into windows of `seq_len` tokens; the tail that fills
  no window is dropped. No padding. This is how Levanter pretrains.
- `best_fit`: whole documents share a row, each a segment of its own, under one fixed plan for the corpus. Rows are
  padded.
- `next_fit`: whole documents share a row in stored order: the next row begins where a document does not fit any more.
  Of a document longer than a row only the first row is read. Rows are padded. This is how Levanter fine-tunes.

A row in which a quarantined document lies is all padding: no token of it counts, and every other row is what it was.
"""

import abc
import dataclasses
import functools
import itertools
from collections.abc import Iterable
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int32, Int64

from audio_data.dataset import TokenDataset
from audio_data.errors import InputError

Row = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Packing:
    """How documents fill rows.

    Attributes:
        kind: `"windows"`, `"best_fit"` or `"next_fit"`, see the module.
        positions: `"continue"` counts positions through the row, as Levanter does; `"reset"` starts at 0 in each
            segment.
        max_segments: Most documents in one row of `best_fit` and `next_fit`.

    Raises:
        InputError: An unknown name, or no segment at all.
    """

    kind: Literal["windows", "best_fit", "next_fit"] = "windows"
    positions: Literal["continue", "reset"] = "continue"
    max_segments: int = 64

    def __post_init__(self):
        for name, allowed in (("kind", ("windows", "best_fit", "next_fit")), ("positions", ("continue", "reset"))):
            if getattr(self, name) not in allowed:
                raise InputError(f"packing `{name}`: expected one of {allowed!r}, got {getattr(self, name)!r}")
        if self.max_segments < 1:
            raise InputError(f"packing `max_segments`: expected at least 1, got {self.max_segments!r}")


@dataclasses.dataclass(frozen=True)
class CutDocuments:
    """Documents of a corpus that are longer than a row, so that a row holds a part of them at most.

    Attributes:
        num_documents: How many.
        num_tokens: Their tokens beyond the first row, which are read without the beginning of their document; with
            `next_fit` they are not read.
        audio_seconds: Audio in these tokens, if all tokens of the corpus last equally long.
        longest: Tokens of the longest document of the corpus, whether it is cut or not.
    """

    num_documents: int
    num_tokens: int
    audio_seconds: float
    longest: int


def cut_documents(dataset: TokenDataset, seq_len: int) -> CutDocuments:
    """Count the documents that are longer than a row; only their offsets are read.

    Args:
        dataset: The corpus.
        seq_len: Tokens in a row.
    """
    lengths = np.diff(dataset.token_offsets)
    beyond = (lengths - seq_len)[lengths > seq_len]
    num_tokens, whole = int(beyond.sum()), dataset.manifest
    seconds = whole.audio_seconds * num_tokens / max(whole.num_tokens, 1)
    return CutDocuments(beyond.size, num_tokens, seconds, int(lengths.max(initial=0)))


class AbstractRows(abc.ABC):
    """The rows of one corpus.

    A row holds `tokens` int32, `segment_ids` int32 (from 1; 0 is padding), `positions` int32 and `loss_mask`
    bool, each of `seq_len`. The mask is True where the prediction made at this position, of the next token, counts.
    """

    def __init__(self, dataset: TokenDataset, seq_len: int, quarantined: Iterable[int]):
        """For subclasses: the corpus, tokens in a row, and the rows that must not be read."""
        self._seq_len = seq_len
        self._dataset = dataset
        self._arange = np.arange(seq_len, dtype=np.int32)
        self.quarantined = frozenset(quarantined)

    @abc.abstractmethod
    def __len__(self) -> int:
        """How many rows the corpus fills."""

    def __getitem__(self, index: int) -> Row:
        """Read one row."""
        return self._padding() if index in self.quarantined else self._read(index)

    @abc.abstractmethod
    def _read(self, index: int) -> Row:
        """Read one row in which no quarantined document lies."""

    def documents(self, index: int) -> list[int]:
        """Return the documents that have tokens in a row, in the order in which they lie there."""
        return list(dict.fromkeys(self.document_of_tokens(index).tolist()))

    def document_of_tokens(self, index: int) -> Int64[np.ndarray, " tokens"]:
        """Return the document of every token of a row, without its padding."""
        starts, lengths = self.spans(index)
        stream = np.concatenate([np.arange(start, start + n) for start, n in zip(starts, lengths, strict=True)])
        return self._dataset.documents_of(stream)

    def _padding(self) -> Row:
        nothing = np.zeros(self._seq_len, np.int32)
        counts = np.zeros(self._seq_len, np.bool_)
        return {"tokens": nothing, "segment_ids": nothing, "positions": self._arange, "loss_mask": counts}

    @abc.abstractmethod
    def spans(self, index: int) -> tuple[Int64[np.ndarray, " spans"], Int64[np.ndarray, " spans"]]:
        """Where the tokens of a row lie in the stream of the corpus: first token and number of tokens of each span."""


def make_rows(dataset: TokenDataset, packing: Packing, seq_len: int, seed: int) -> AbstractRows:
    """Return the rows of a corpus.

    Args:
        dataset: The corpus.
        packing: How documents fill rows.
        seq_len: Tokens in a row, at least 2.
        seed: Drives the plan of `best_fit`; the others ignore it.

    Raises:
        InputError: The corpus does not fill one row.
    """
    if seq_len < 2:
        raise InputError(f"`seq_len`: expected at least 2, got {seq_len!r}")
    needed = seq_len if packing.kind == "windows" else 1
    if dataset.num_tokens < needed:
        raise InputError(
            f"dataset `{dataset.path}`: expected at least {needed} tokens to fill a row, got {dataset.num_tokens!r}; "
            f"shorten `seq_len`, pack with 'best_fit', or leave the corpus out"
        )
    if packing.kind == "windows":
        return Windows(dataset, seq_len, reset_positions=packing.positions == "reset")
    if packing.kind == "next_fit":
        plan = plan_next_fit(dataset.token_offsets, seq_len, packing.max_segments)
    else:
        plan = plan_best_fit(dataset.token_offsets, seq_len, packing.max_segments, seed)
    return PackedRows(dataset, seq_len, plan, reset_positions=packing.positions == "reset")


class Windows(AbstractRows):
    """Consecutive windows of the token stream of a corpus.

    The segment id grows after every end of text, positions run through the window, and every prediction but that of the
    last position counts, also the one that leaves a document.

    Args:
        dataset: The corpus.
        seq_len: Tokens in a window.
        reset_positions: Whether positions start again in each segment.

    Source: Levanter `TokenSeqDataset` and `LmExample.causal`; resetting positions is an addition.
    """

    def __init__(self, dataset: TokenDataset, seq_len: int, *, reset_positions: bool):
        spans = map(dataset.span, dataset.quarantined.tolist())
        num_rows = dataset.num_tokens // seq_len
        rows = (range(start // seq_len, min(-(-stop // seq_len), num_rows)) for start, stop in spans if start < stop)
        super().__init__(dataset, seq_len, itertools.chain.from_iterable(rows))
        self._reset_positions = reset_positions
        self._end_of_text = dataset.vocabulary.end_of_text

    def __len__(self) -> int:
        return self._dataset.num_tokens // self._seq_len

    def _read(self, index: int) -> Row:
        start = index * self._seq_len
        tokens, mask = self._dataset.read(start, start + self._seq_len)
        segment_ids = np.empty(self._seq_len, np.int32)
        segment_ids[0] = 1
        np.cumsum(tokens[:-1] == self._end_of_text, out=segment_ids[1:])
        segment_ids[1:] += 1
        positions = _positions_in_segments(segment_ids) if self._reset_positions else self._arange
        return {
            "tokens": tokens,
            "segment_ids": segment_ids,
            "positions": positions,
            "loss_mask": _next_token_counts(mask, self._seq_len),
        }

    def spans(self, index: int) -> tuple[Int64[np.ndarray, " spans"], Int64[np.ndarray, " spans"]]:
        """One span, the window itself."""
        return np.array([index * self._seq_len]), np.array([self._seq_len])


@dataclasses.dataclass(frozen=True, eq=False)
class PackingPlan:
    """Which parts of the token stream share a row.

    Attributes:
        row_offsets: Parts of row `i` are `row_offsets[i] : row_offsets[i + 1]`.
        starts: Where each part begins in the stream.
        lengths: Tokens of each part, 1 .. seq_len.
    """

    row_offsets: Int64[np.ndarray, " rows"]
    starts: Int64[np.ndarray, " parts"]
    lengths: Int64[np.ndarray, " parts"]


class PackedRows(AbstractRows):
    """Rows that whole documents share.

    Each part of the plan is a segment; predictions across segments and in padding do not count.

    Args:
        dataset: The corpus.
        seq_len: Tokens in a row.
        plan: Which parts share a row.
        reset_positions: Whether positions start again in each segment.
    """

    def __init__(self, dataset: TokenDataset, seq_len: int, plan: PackingPlan, *, reset_positions: bool):
        parts = np.flatnonzero(np.isin(dataset.documents_of(plan.starts), dataset.quarantined))
        super().__init__(dataset, seq_len, (np.searchsorted(plan.row_offsets, parts, "right") - 1).tolist())
        self._plan = plan
        self._reset_positions = reset_positions

    def __len__(self) -> int:
        return self._plan.row_offsets.size - 1

    def _read(self, index: int) -> Row:
        starts, lengths = self.spans(index)
        ids, mask = self._dataset.gather(starts, starts + lengths)
        tokens = np.zeros(self._seq_len, np.int32)
        tokens[: ids.size] = ids
        segment_ids = np.zeros(self._seq_len, np.int32)
        segment_ids[: ids.size] = np.repeat(np.arange(1, lengths.size + 1), lengths)
        padded_mask = None if mask is None else np.pad(mask, (0, self._seq_len - mask.size))
        same_segment = np.zeros(self._seq_len, np.bool_)
        same_segment[:-1] = (segment_ids[:-1] == segment_ids[1:]) & (segment_ids[:-1] > 0)
        return {
            "tokens": tokens,
            "segment_ids": segment_ids,
            "positions": _positions_in_segments(segment_ids) if self._reset_positions else self._arange,
            "loss_mask": _next_token_counts(padded_mask, self._seq_len) & same_segment,
        }

    def spans(self, index: int) -> tuple[Int64[np.ndarray, " spans"], Int64[np.ndarray, " spans"]]:
        """One span for each part of a document."""
        parts = slice(*self._plan.row_offsets[index : index + 2])
        return self._plan.starts[parts], self._plan.lengths[parts]


def plan_best_fit(
    token_offsets: Int64[np.ndarray, " offsets"], seq_len: int, max_segments: int, seed: int
) -> PackingPlan:
    """Packs documents into rows: longest first, each into the fullest row that still has room.

    A pure function of its arguments. A document longer than a row is cut into parts of a row each, and its rest is
    packed like a document. Documents of equal length are placed, and the parts of a row ordered, at random. Empty
    documents are in no row; no token is lost or doubled.

    Args:
        token_offsets: Where each document begins in the stream, and where the last ends.
        seq_len: Tokens in a row.
        max_segments: Most parts in a row.
        seed: Drives the random choices.

    Source: best-fit-decreasing packing of Ding et al., "Fewer Truncations Improve Language Modeling" (arXiv
        2404.10830),
    section 3.2; the search tree over free space is replaced by a bit set, and the number of parts in a row is limited.
    """
    starts, lengths = _cut(token_offsets, seq_len)
    keys = np.random.PCG64(seed).random_raw(2 * lengths.size).reshape(2, -1)
    row_of = np.empty(lengths.size, np.int64)
    order = np.lexsort((keys[0], -lengths))
    row_of[order] = _best_fit(lengths[order], seq_len, max_segments)
    by_row = np.lexsort((keys[1], row_of))
    num_parts = np.bincount(row_of)
    return PackingPlan(np.concatenate([[0], np.cumsum(num_parts)]), starts[by_row], lengths[by_row])


def plan_next_fit(token_offsets: Int64[np.ndarray, " offsets"], seq_len: int, max_segments: int) -> PackingPlan:
    """Packs documents into rows in stored order: each into the row of the one before it, or else into the next row.

    A document longer than a row is cut to its first `seq_len` tokens, which fill a row. Empty documents are in no row.

    Args:
        token_offsets: Where each document begins in the stream, and where the last ends.
        seq_len: Tokens in a row.
        max_segments: Most documents in a row.

    Source: Levanter `GreedyPrepackedDataset` (`data/packing.py`) with `slice_strategy="left"`.
    """
    kept = np.minimum(np.diff(token_offsets), seq_len)
    documents = np.flatnonzero(kept)
    lengths = kept[documents]
    ends = np.cumsum(lengths)
    rows = [0]
    while (first := rows[-1]) < lengths.size:
        fitting = np.searchsorted(ends, ends[first] - lengths[first] + seq_len, "right")
        rows.append(min(int(fitting), first + max_segments))
    return PackingPlan(np.array(rows), token_offsets[documents], lengths)


def _cut(token_offsets: np.ndarray, seq_len: int) -> tuple[Int64[np.ndarray, " parts"], Int64[np.ndarray, " parts"]]:
    """Start and length of the parts of all documents, none longer than a row, none empty."""
    document_lengths = np.diff(token_offsets)
    parts_per_document = -(-document_lengths // seq_len)
    document = np.repeat(np.arange(document_lengths.size), parts_per_document)
    before = np.concatenate([[0], np.cumsum(parts_per_document)])
    within = (np.arange(document.size) - before[document]) * seq_len
    return token_offsets[document] + within, np.minimum(seq_len, document_lengths[document] - within)


def _best_fit(lengths: Int64[np.ndarray, " parts"], seq_len: int, max_segments: int) -> Int64[np.ndarray, " parts"]:
    """Return the row of each part, in the order given.

    `free` has bit `s` set where some row has exactly `s` tokens free, so the fullest row with room is the lowest
    set bit from `length` on: a few machine operations on one long integer.
    """
    rows_with: list[list[int]] = [[] for _ in range(seq_len + 1)]
    num_parts: list[int] = []
    rows = np.empty(lengths.size, np.int64)
    free = 0
    for i, length in enumerate(lengths.tolist()):
        fitting = free >> length
        if fitting:
            space = length + (fitting & -fitting).bit_length() - 1
            row = rows_with[space].pop()
            if not rows_with[space]:
                free ^= 1 << space
        else:
            space, row = seq_len, len(num_parts)
            num_parts.append(0)
        rows[i] = row
        num_parts[row] += 1
        left = space - length
        if left and num_parts[row] < max_segments:
            rows_with[left].append(row)
            free |= 1 << left
    return rows


def _positions_in_segments(segment_ids: Int32[np.ndarray, " seq"]) -> Int32[np.ndarray, " seq"]:
    """Positions that start at 0 where the segment id changes; padding counts as one more segment."""
    arange = np.arange(segment_ids.size, dtype=np.int32)
    begins = np.concatenate([[True], segment_ids[1:] != segment_ids[:-1]])
    return arange - np.maximum.accumulate(np.where(begins, arange, np.int32(0)))


def _next_token_counts(mask: Bool[np.ndarray, " seq"] | None, seq_len: int) -> Bool[np.ndarray, " seq"]:
    """Where the prediction of the next token counts, given which tokens count as targets (None: all)."""
    if mask is None:
        return _all_but_last(seq_len)
    counts = np.zeros(seq_len, np.bool_)
    counts[:-1] = mask[1:]
    return counts


@functools.lru_cache(maxsize=8)
def _all_but_last(seq_len: int) -> Bool[np.ndarray, " seq"]:
    counts = np.ones(seq_len, np.bool_)
    counts[-1] = False
    counts.setflags(write=False)
    return counts
