"""Rows to shuffled, mixed batches: a pure function of (seed, mixture, step).

The pipeline is Grain's: the rows of each corpus, by number, are shuffled, repeated without end, and read; a selection
map mixes them; consecutive places are batched. Everything up to the batch is random access, so the state of a loader is
a step number, and any number of hosts reads its own part of the same global batches.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import grain
import numpy as np
from grain.experimental import set_next_index
from jaxtyping import Bool, Int32

from audio_data.dataset import TokenDataset
from audio_data.errors import InputError
from audio_data.mixture import Mixture, MixtureIndex, derived_seed
from audio_data.roots import check_one_vocabulary
from audio_data.windows import AbstractRows, Packing, Row, make_rows

# Grain's batching divides by the length of a dataset; an endless one needs some length that no run reaches.
_NUM_STEPS = 2**40

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, eq=False)
class TokenBatch:
    """One batch: this host's rows of it.

    Attributes:
        tokens: Token ids.
        segment_ids: 1, 2, ... in each row, 0 for padding. A token attends to earlier tokens of its own segment.
        positions: Position of every token for the rotary embedding.
        loss_mask: True where the prediction made at this position, of the next token, counts.
        corpus: Index into `BatchLoader.corpora` of each row.
    """

    tokens: Int32[np.ndarray, "batch seq"]
    segment_ids: Int32[np.ndarray, "batch seq"]
    positions: Int32[np.ndarray, "batch seq"]
    loss_mask: Bool[np.ndarray, "batch seq"]
    corpus: Int32[np.ndarray, " batch"]


@dataclasses.dataclass(frozen=True)
class RowOrigin:
    """Where one row of a batch comes from.

    Attributes:
        row: Row of the global batch.
        corpus: Name of the corpus.
        epoch: How many times the corpus was read in full before.
        index: Row of the corpus.
        documents: What its documents are called: their `id`, or their number in the corpus.
    """

    row: int
    corpus: str
    epoch: int
    index: int
    documents: tuple[str, ...]


class BatchLoader:
    """Batches of a mixture of datasets.

    Args:
        datasets: Datasets by corpus, whole or the same side of a `Holdout`; there may be more than the mixture draws
            from.
        mixture: Corpora and weights.
        seq_len: Tokens in a row, at least 2.
        batch_size: Rows of a global batch.
        seed: Drives every random choice. The same seed gives the same global batches with any number of hosts.
        packing: How documents fill rows.
        host: Which host this is, 0 .. num_hosts - 1. It reads the consecutive rows
            `host * batch_size / num_hosts ...` of each global batch.
        num_hosts: Number of hosts; divides `batch_size`.

    Attributes:
        corpora: Names that `TokenBatch.corpus` indexes.

    Raises:
        InputError: A corpus of the mixture is missing or fills no row, vocabularies differ, or sizes do not fit.
    """

    def __init__(
        self,
        datasets: Mapping[str, TokenDataset],
        mixture: Mixture,
        *,
        seq_len: int,
        batch_size: int,
        seed: int,
        packing: Packing | None = None,
        host: int = 0,
        num_hosts: int = 1,
    ):
        if batch_size < 1 or num_hosts < 1 or batch_size % num_hosts:
            raise InputError(f"`batch_size`: expected a multiple of {num_hosts} hosts, got {batch_size!r}")
        if not 0 <= host < num_hosts:
            raise InputError(f"`host`: expected 0..{num_hosts - 1}, got {host!r}")
        mixture.check_corpora(datasets)
        self.corpora = mixture.corpora
        self.mixture = mixture
        self.batch_size = batch_size
        self.seq_len = seq_len
        self._seed = seed
        self._datasets = {corpus: datasets[corpus] for corpus in self.corpora}
        check_one_vocabulary(self._datasets)
        packing = Packing() if packing is None else packing
        self._rows = {
            corpus: make_rows(dataset, packing, seq_len, derived_seed(seed, "pack", corpus))
            for corpus, dataset in self._datasets.items()
        }
        self._index = MixtureIndex(mixture, batch_size, seed)
        self._batches = self._build(_HostPlaces(self._index, batch_size, host, num_hosts), batch_size // num_hosts)

    def batch(self, step: int) -> TokenBatch:
        """Return this host's rows of the batch of a step: a pure function, whatever was read before.

        Args:
            step: Training step, from 0.
        """
        return _present(self._batches[_checked(step)])

    def iterate(self, start_step: int = 0, *, num_threads: int = 2, num_prefetched: int = 4) -> Iterator[TokenBatch]:
        """Batches from a step on, without end, read ahead in the background. Equal to `batch` of each step.

        Args:
            start_step: The first step.
            num_threads: Threads that read ahead; more of them hide the latency of slow storage.
            num_prefetched: Most batches to hold ready.
        """
        options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=num_prefetched)
        batches = iter(self._batches.to_iter_dataset(options))
        set_next_index(batches, _checked(start_step))
        return batches

    @property
    def quarantined_rows(self) -> dict[str, int]:
        """Rows of each corpus that are padding, because quarantined documents lie in them."""
        return {corpus: len(rows.quarantined) for corpus, rows in self._rows.items()}

    def describe(self, step: int) -> list[RowOrigin]:
        """Where the rows of a global batch come from, for error messages and logs.

        Args:
            step: Training step, from 0.
        """
        first = _checked(step) * self.batch_size
        return [self._origin(row, first + row) for row in range(self.batch_size)]

    def epochs_at(self, step: int) -> dict[str, float]:
        """How often each corpus was read when a step begins.

        Args:
            step: Training step, from 0.
        """
        drawn = self._index.drawn_before(_checked(step) * self.batch_size)
        return {corpus: int(n) / len(self._rows[corpus]) for corpus, n in zip(self.corpora, drawn, strict=True)}

    def _build(self, places: "_HostPlaces", local_batch_size: int) -> grain.MapDataset[TokenBatch]:
        corpora = [
            self._shuffled_indices(corpus).map(_RowReader(i, rows))
            for i, (corpus, rows) in enumerate(self._rows.items())
        ]
        mixed = grain.MapDataset.select_from_datasets(corpora, places)
        return mixed.batch(local_batch_size, batch_fn=_stack)

    def _shuffled_indices(self, corpus: str) -> grain.MapDataset[int]:
        """Return the rows of a corpus by number, in the order in which they are drawn, without end."""
        shuffled = grain.MapDataset.range(len(self._rows[corpus])).shuffle(
            seed=derived_seed(self._seed, "shuffle", corpus)
        )
        return shuffled.repeat(None, reseed_each_epoch=self.mixture.reshuffle_each_epoch)

    def _origin(self, row: int, place: int) -> RowOrigin:
        draw = self._index[place]
        corpus = self.corpora[draw.corpus]
        rows, dataset = self._rows[corpus], self._datasets[corpus]
        index = _present(self._shuffled_indices(corpus)[draw.ordinal])
        lost = set(dataset.quarantined.tolist())
        names = tuple(str(i if i in lost else dataset.metadata(i).get("id", i)) for i in rows.documents(index))
        return RowOrigin(row, corpus, draw.ordinal // len(rows), index, names)


class _RowReader:
    """Reads rows of one corpus, each with the number of its corpus."""

    def __init__(self, corpus: int, rows: AbstractRows):
        self._corpus = np.array(corpus, np.int32)
        self._rows = rows

    def __call__(self, index: int) -> Row:
        return {**self._rows[index], "corpus": self._corpus}


class _HostPlaces(grain.transforms.DatasetSelectionMap):
    """The places of one host, in order: its consecutive rows of step 0, of step 1, and so on."""

    def __init__(self, index: MixtureIndex, batch_size: int, host: int, num_hosts: int):
        self._index = index
        self._batch_size = batch_size
        self._local_batch_size = batch_size // num_hosts
        self._first_row = host * self._local_batch_size

    def __len__(self) -> int:
        return _NUM_STEPS * self._local_batch_size

    def __getitem__(self, index: int) -> tuple[int, int]:
        step, row = divmod(index, self._local_batch_size)
        return self._index[step * self._batch_size + self._first_row + row]


def _checked(step: int) -> int:
    """Return a step of a run; a negative one would be read as one from the end of what has no end."""
    if not 0 <= step < _NUM_STEPS:
        raise InputError(f"`step`: expected 0..{_NUM_STEPS - 1}, got {step!r}")
    return step


def _present(element: T | None) -> T:
    """Return an element of a dataset without filters; Grain's type allows None for a filtered element."""
    assert element is not None
    return element


def _stack(rows: Sequence[Row]) -> TokenBatch:
    return TokenBatch(**{name: np.stack([row[name] for row in rows]) for name in rows[0]})
