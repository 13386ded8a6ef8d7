"""Word errors, information rates, and the bootstrap that gives every number its interval.

Every measure of this package is a smooth function of per-item sums (errors over words, nats over tokens), so one
bootstrap serves them all: resample the items, add the columns up, apply the function.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Literal, cast

import jiwer
import numpy as np
from jaxtyping import Float

from audio_data import InputError

CONFIDENCE_LEVEL = 0.95
NUM_RESAMPLES = 2_000
# Resampling weights are drawn in slices of at most this many numbers (32 MB), so that large test sets fit in memory.
_MAX_WEIGHTS = 4_000_000

Statistic = Callable[[Float[np.ndarray, "... columns"]], Float[np.ndarray, "..."]]
Operation = Literal["equal", "substitute", "delete", "insert"]


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number with its confidence interval.

    Attributes:
        value: The statistic on all items.
        low: Lower end of the `CONFIDENCE_LEVEL` interval, or None for fewer than two items.
        high: Upper end, or None.
        num_items: How many items it rests on.
    """

    value: float
    low: float | None
    high: float | None
    num_items: int


def bootstrap(
    columns: Float[np.ndarray, "items columns"],
    statistic: Statistic,
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Estimate a function of column sums, with a percentile bootstrap interval over items.

    Args:
        columns: One row an item, for example `[errors, words]`.
        statistic: Maps sums `[..., columns]` to values `[...]`; it must not depend on the number of items but through
            the sums, as ratios of sums and functions of such ratios do.
        num_resamples: How many resampled sets of items.
        seed: Seed of the resampling: the same items give the same interval.

    Returns:
        The statistic on all items and the 2.5th and 97.5th percentile of it over resampled sets.

    Raises:
        InputError: There are no items.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), 13.3; for word error rates Bisani and Ney,
        Bootstrap estimates for confidence intervals in ASR performance evaluation (2004).
    """
    num_items = len(columns)
    if num_items == 0:
        raise InputError("`items` must hold at least one item to be scored, got 0: check the dataset and `--limit`")
    value = float(statistic(columns.sum(axis=0)))
    if num_items == 1:
        return Estimate(value, None, None, 1)
    rows = max(1, _MAX_WEIGHTS // num_items)
    values = [
        statistic(_weights(num_items, min(rows, num_resamples - start), seed, start) @ columns)
        for start in range(0, num_resamples, rows)
    ]
    # A resample of items without a single word has no rate; it says nothing about the interval either.
    finite = np.concatenate(values)
    finite = finite[np.isfinite(finite)]
    tail = (1 - CONFIDENCE_LEVEL) / 2
    low, high = np.quantile(finite, [tail, 1 - tail])
    return Estimate(value, float(low), float(high), num_items)


# Hundreds of measures of one evaluation share their resampling weights, and drawing them is most of the work.
@functools.lru_cache(maxsize=4)
def _weights(num_items: int, num_resamples: int, seed: int, start: int) -> Float[np.ndarray, "resamples items"]:
    """Draw the count of each item in the resamples from `start` on."""
    random = np.random.default_rng([seed, start])
    return random.multinomial(num_items, np.full(num_items, 1 / num_items), size=num_resamples).astype(np.float64)


def ratio(sums: Float[np.ndarray, "... columns"]) -> Float[np.ndarray, "..."]:
    """Numerator over denominator: columns are `[numerator, denominator]`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1])


def difference(sums: Float[np.ndarray, "... columns"]) -> Float[np.ndarray, "..."]:
    """Return the first ratio minus the second: columns are two `[numerator, denominator]` pairs."""
    return np.asarray(ratio(sums[..., :2]) - ratio(sums[..., 2:]))


def quotient(sums: Float[np.ndarray, "... columns"]) -> Float[np.ndarray, "..."]:
    """Return the first ratio over the second: columns are two `[numerator, denominator]` pairs."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(ratio(sums[..., :2]) / ratio(sums[..., 2:]))


@dataclasses.dataclass(frozen=True)
class Alignment:
    """One stretch of a word alignment.

    Attributes:
        operation: What turns the reference into the hypothesis here.
        reference: The reference's words, empty for "insert".
        hypothesis: The hypothesis's words, empty for "delete".
    """

    operation: Operation
    reference: tuple[str, ...]
    hypothesis: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class WordErrors:
    """Word errors of one transcript.

    Attributes:
        num_substitutions: Words replaced.
        num_deletions: Reference words missing.
        num_insertions: Hypothesis words too many.
        num_words: Words of the reference.
        alignment: The alignment that these counts belong to, in order.
    """

    num_substitutions: int
    num_deletions: int
    num_insertions: int
    num_words: int
    alignment: tuple[Alignment, ...]

    @property
    def num_errors(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.num_substitutions + self.num_deletions + self.num_insertions


def word_errors(reference: str, hypothesis: str) -> WordErrors:
    """Align two normalised transcripts word by word at the least number of edits.

    Args:
        reference: Words separated by spaces; without a word, every word of the hypothesis is an insertion.
        hypothesis: Words separated by spaces.
    """
    reference_words, hypothesis_words = tuple(reference.split()), tuple(hypothesis.split())
    if not reference_words:
        # jiwer refuses an empty reference; the definition has no trouble with it.
        inserted = (Alignment("insert", (), hypothesis_words),) if hypothesis_words else ()
        return WordErrors(0, 0, len(hypothesis_words), 0, inserted)
    output = jiwer.process_words(" ".join(reference_words), " ".join(hypothesis_words))
    alignment = tuple(
        Alignment(
            cast(Operation, chunk.type),
            reference_words[chunk.ref_start_idx : chunk.ref_end_idx],
            hypothesis_words[chunk.hyp_start_idx : chunk.hyp_end_idx],
        )
        for chunk in output.alignments[0]
    )
    return WordErrors(output.substitutions, output.deletions, output.insertions, len(reference_words), alignment)


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> Estimate:
    """Corpus-level word error rate: all errors over all reference words, with its interval over utterances.

    Args:
        references: One normalised transcript an utterance.
        hypotheses: As many hypotheses, normalised alike; an empty one counts every word of its reference as deleted.

    Raises:
        InputError: The two lists differ in length, or no reference holds a word.
    """
    if len(references) != len(hypotheses):
        raise InputError(
            f"`hypotheses` must hold one transcript a reference, expected {len(references)}, got {len(hypotheses)}"
        )
    pairs = [word_errors(reference, hypothesis) for reference, hypothesis in zip(references, hypotheses, strict=True)]
    columns = np.array([[pair.num_errors, pair.num_words] for pair in pairs], dtype=np.float64).reshape(-1, 2)
    if pairs and not columns[:, 1].any():
        raise InputError(f"`references` must hold at least one word, got {len(pairs)} empty transcripts")
    return bootstrap(columns, ratio)


def bits(nats: float) -> float:
    """Convert nats to bits."""
    return nats / math.log(2)
