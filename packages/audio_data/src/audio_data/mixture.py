"""Mixtures: from weights to the corpus, and the row of it, that fills each place of each batch.

This is the only place where weights are normalised. In every block of 2,048 places each corpus has its exact share, so
that "5 % text" is a fact about any stretch of the log and not an expectation; the order inside a block is shuffled. The
map is a pure function of seed, mixture and place, found without walking through the places before it.
"""

import bisect
import dataclasses
import functools
import hashlib
import itertools
import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Int64

from audio_data.errors import InputError
from audio_data.suggestions import nearest

Remainder = Literal["largest_fraction", "largest_corpus"]
"""Which corpora get the places of a block that are left once each has the whole part of its due."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """Weights that hold from a step on.

    Attributes:
        start_step: First training step of the stage.
        weights: Weight of each corpus, at least 0, of any sum above 0.
    """

    start_step: int
    weights: Mapping[str, int | float]

    def __post_init__(self):
        bad = {corpus: weight for corpus, weight in self.weights.items() if not _is_weight(weight)}
        if bad or not sum(self.weights.values()) > 0:
            raise InputError(
                f"stage at step {self.start_step}: expected finite weights >= 0 with a sum above 0, "
                f"got {dict(self.weights)!r}; correct {sorted(bad) or 'at least one of them'}"
            )


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Corpora and their weights.

    Attributes:
        name: A name for people and logs.
        stages: Weights by step. The first stage begins at step 0; a stage lasts until the next begins.
        block_size: Number of consecutive places in which each corpus has its exact share.
        reshuffle_each_epoch: Whether a corpus is read in a new random order each epoch; if not, in the same random
            order every time, as Levanter does.
        remainder: Once each corpus has the whole part of its due, `"largest_fraction"` gives the places that are left
            to the largest fractional parts, one each; `"largest_corpus"` gives them all to the corpus of the largest
            weight, as Levanter does.

    Raises:
        InputError: Stages out of order, unusable weights, or a weight so small that a block has no place for its
            corpus.
    """

    name: str
    stages: tuple[Stage, ...]
    block_size: int = 2048
    reshuffle_each_epoch: bool = True
    remainder: Remainder = "largest_fraction"

    def __post_init__(self):
        starts = [stage.start_step for stage in self.stages]
        if not starts or starts[0] != 0 or any(a >= b for a, b in itertools.pairwise(starts)):
            raise InputError(
                f"mixture `{self.name}`: expected stages that start at growing steps from 0, got {starts!r}"
            )
        if self.block_size < 1:
            raise InputError(
                f"mixture `{self.name}`: expected a `block_size` of at least 1 place, got {self.block_size!r}"
            )
        if self.remainder not in get_args(Remainder):
            expected = " or ".join(map(repr, get_args(Remainder)))
            raise InputError(f"mixture `remainder`: expected {expected}, got {self.remainder!r}")
        for stage in range(len(self.stages)):
            self.shares(stage)

    @classmethod
    def constant(cls, name: str, weights: Mapping[str, int | float]) -> "Mixture":
        """Return a mixture whose weights never change.

        Args:
            name: A name for people and logs.
            weights: Weight of each corpus.
        """
        return cls(name, (Stage(0, weights),))

    @property
    def corpora(self) -> tuple[str, ...]:
        """The corpora that some stage draws from, in the order in which stages name them."""
        named = (corpus for stage in self.stages for corpus, weight in stage.weights.items() if weight > 0)
        return tuple(dict.fromkeys(named))

    def weights(self, stage: int) -> dict[str, float]:
        """Normalised weights of every corpus in `corpora`; they sum to 1.

        Args:
            stage: Which stage, from 0.
        """
        return {corpus: float(weight) for corpus, weight in zip(self.corpora, self._fractions(stage), strict=True)}

    def shares(self, stage: int) -> tuple[int, ...]:
        """Places of every corpus in `corpora` in one block; they sum to `block_size`.

        Every corpus gets the whole part of its due, and `remainder` says who gets what is left; of equal corpora, the
        one named first. The arithmetic is exact.

        Args:
            stage: Which stage, from 0.

        Raises:
            InputError: A corpus with a weight gets no place.

        Source: `"largest_corpus"` is the rule of Levanter (`data/mixture.py`, `MixtureDataset`).
        """
        due = [weight * self.block_size for weight in self._fractions(stage)]
        shares = [math.floor(d) for d in due]
        left = self.block_size - sum(shares)
        if self.remainder == "largest_corpus":
            shares[max(range(len(due)), key=due.__getitem__)] += left
        else:
            for i in sorted(range(len(due)), key=lambda i: (shares[i] - due[i], i))[:left]:
                shares[i] += 1
        for corpus, share, d in zip(self.corpora, shares, due, strict=True):
            if d and not share:
                raise InputError(
                    f"mixture `{self.name}`: expected at least 1 place in a block of {self.block_size} for corpus "
                    f"`{corpus}`, got {float(d):.3g}; take `block_size` >= {math.ceil(self.block_size / d)} or leave "
                    "it out"
                )
        return tuple(shares)

    def check_corpora(self, available: Iterable[str]) -> None:
        """Check that there is data for every corpus.

        Args:
            available: Names of the corpora that there are.

        Raises:
            InputError: One is missing; the message names the nearest that is there.
        """
        available = set(available)
        for corpus in self.corpora:
            if corpus not in available:
                raise InputError(
                    f"mixture `{self.name}`: corpus `{corpus}` is not among the data; {nearest(corpus, available)} "
                    "Build it or correct the name"
                )

    def _fractions(self, stage: int) -> list[Fraction]:
        weights = self.stages[stage].weights
        exact = [Fraction(weights.get(corpus, 0)) for corpus in self.corpora]
        total = sum(exact)
        return [weight / total for weight in exact]


class Draw(NamedTuple):
    """What fills one place.

    Attributes:
        corpus: Index into `Mixture.corpora`.
        ordinal: How many times that corpus was drawn from before: 0, 1, 2, ... without end.
    """

    corpus: int
    ordinal: int


class MixtureIndex:
    """The index map of a mixture: place of the run -> draw.

    Place `p` is row `p % batch_size` of step `p // batch_size`. A stage begins a new block, so only the last
    block of a stage may be cut short. Draws of a corpus count on through all stages.

    Args:
        mixture: Corpora and weights.
        batch_size: Rows of a global batch.
        seed: Drives the order inside blocks.
    """

    def __init__(self, mixture: Mixture, batch_size: int, seed: int):
        self._block = mixture.block_size
        self._num_corpora = len(mixture.corpora)
        self._shares = [np.array(mixture.shares(stage), np.int64) for stage in range(len(mixture.stages))]
        self._starts = [stage.start_step * batch_size for stage in mixture.stages]
        self._seeds = [derived_seed(seed, "block", stage.start_step) for stage in mixture.stages]
        self._order = functools.lru_cache(maxsize=16)(self._make_order)
        self._drawn = [np.zeros(self._num_corpora, np.int64)]
        for stage, (start, stop) in enumerate(itertools.pairwise(self._starts)):
            self._drawn.append(self._drawn[stage] + self._drawn_within(stage, stop - start))

    def __getitem__(self, place: int) -> Draw:
        stage = bisect.bisect_right(self._starts, place) - 1
        block, within = divmod(place - self._starts[stage], self._block)
        corpora, ranks = self._order(stage, block)
        corpus = int(corpora[within])
        ordinal = self._drawn[stage][corpus] + block * self._shares[stage][corpus] + ranks[within]
        return Draw(corpus, int(ordinal))

    def drawn_before(self, place: int) -> Int64[np.ndarray, " corpora"]:
        """How often each corpus was drawn before a place.

        Args:
            place: Any place, from 0.
        """
        stage = bisect.bisect_right(self._starts, place) - 1
        return self._drawn[stage] + self._drawn_within(stage, place - self._starts[stage])

    def _drawn_within(self, stage: int, num_places: int) -> Int64[np.ndarray, " corpora"]:
        blocks, rest = divmod(num_places, self._block)
        partial = np.bincount(self._order(stage, blocks)[0][:rest], minlength=self._num_corpora)
        return blocks * self._shares[stage] + partial

    def _make_order(self, stage: int, block: int) -> tuple[Int64[np.ndarray, " block"], Int64[np.ndarray, " block"]]:
        """Return the corpus of every place of a block, and the number of earlier places with the same corpus."""
        shares = self._shares[stage]
        # Sorting raw bits, because numpy keeps those the same in all versions, and its permutations not.
        keys = np.random.PCG64(derived_seed(self._seeds[stage], block)).random_raw(self._block)
        corpora = np.repeat(np.arange(shares.size), shares)[np.argsort(keys, kind="stable")]
        ranks = np.empty_like(corpora)
        ranks[np.argsort(corpora, kind="stable")] = np.concatenate([np.arange(share) for share in shares])
        return corpora, ranks


def _is_weight(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def derived_seed(seed: int, *purpose: str | int) -> int:
    """Return a 32-bit seed for one purpose, unrelated to the seeds of all others.

    Args:
        seed: The seed of the run.
        *purpose: What the seed is for, e.g. `"shuffle", "yodas2/en"`.
    """
    digest = hashlib.sha256("\0".join(map(str, (seed, *purpose))).encode()).digest()
    return int.from_bytes(digest[:4], "little")


def parse_weights(text: str) -> dict[str, float]:
    """Mixture weights from `NAME=WEIGHT,...`, as `--mixture` takes them.

    Args:
        text: Datasets and their weights, which need not sum to 1, such as `"asr=1,tts=0.5"`.

    Raises:
        InputError: An entry has no weight, a weight is not a positive number, or a dataset is named twice.
    """
    weights: dict[str, float] = {}
    for entry in text.split(","):
        name, _, number = (part.strip() for part in entry.rpartition("="))
        try:
            weight = float(number)
        except ValueError:
            weight = 0.0
        if not name or name in weights or not 0 < weight < math.inf:
            raise InputError(
                f"`--mixture` must be NAME=WEIGHT,... with each dataset once and weights above 0, got {text!r}"
            )
        weights[name] = weight
    return weights
