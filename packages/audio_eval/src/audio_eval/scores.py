"""Scores: from the counts of items to numbers with intervals, and the comparison of two evaluations."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from audio_data import InputError, from_json
from audio_eval.bleu import bleu
from audio_eval.metrics import Estimate, bootstrap, difference, quotient, ratio

Better = Literal["lower", "higher", "neither"]
_ITEM_KEYS = ("id", "dataset", "terms")
_STATISTICS = {1: {"ratio": ratio}, 2: {"difference": difference, "quotient": quotient}, 5: {"bleu": bleu}}


@dataclasses.dataclass(frozen=True)
class Item:
    """Measurements of one item.

    Attributes:
        id: Unique among the items of its dataset.
        dataset: Name of the dataset.
        terms: For each rate the item contributes to, its numerator and denominator, such as errors and words.
        detail: Further information: transcripts, lengths, paths of audio relative to the evaluation's folder.
    """

    id: str
    dataset: str
    terms: Mapping[str, tuple[float, float]]
    detail: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the item as one JSON object."""
        terms = {name: list(term) for name, term in self.terms.items()}
        return {"id": self.id, "dataset": self.dataset, "terms": terms, **self.detail}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Item":
        """Inverse of `to_json`.

        Raises:
            InputError: The record is not one of an item.
        """
        own = {key: value for key, value in record.items() if key in _ITEM_KEYS}
        detail = {key: value for key, value in record.items() if key not in _ITEM_KEYS}
        return from_json(cls, {**own, "detail": detail}, "item")


@dataclasses.dataclass(frozen=True)
class Measure:
    """How items become one number.

    Attributes:
        name: Name of the score, such as "asr_wer".
        unit: Unit of the value.
        better: Which direction is an improvement.
        terms: The rates it is made of: one for "ratio", two for "difference" (first minus second) and "quotient"
            (first over second), five for "bleu" (matches of four orders, lengths).
        statistic: How they are combined.
        scale: The value is multiplied by this, for a change of unit.
        meaning: One line for the reader of a report.
    """

    name: str
    unit: str
    better: Better
    terms: tuple[str, ...]
    statistic: Literal["ratio", "difference", "quotient", "bleu"] = "ratio"
    scale: float = 1.0
    meaning: str = ""

    def columns(self, item: Item) -> list[float] | None:
        """Return the item's numerators and denominators in the order of `terms`, or None where it lacks one."""
        if any(term not in item.terms for term in self.terms):
            return None
        return [number for term in self.terms for number in item.terms[term]]

    def evaluate(self, sums: Float[np.ndarray, "... columns"]) -> Float[np.ndarray, "..."]:
        """Map sums of `columns`, `[..., 2 * num_terms]`, to values of this measure, `[...]`."""
        return np.asarray(_STATISTICS[len(self.terms)][self.statistic](sums) * self.scale)


@dataclasses.dataclass(frozen=True)
class Score:
    """One number of a report.

    Attributes:
        task: Task that measured it.
        dataset: Dataset it was measured on.
        measure: What was measured.
        value: The value, or None where it could not be measured; see `reason`.
        low: Lower end of the 95 % interval over items, or None.
        high: Upper end, or None.
        num_items: Number of items it is computed from.
        reason: Why there is no value, and what to do about it.
    """

    task: str
    dataset: str
    measure: Measure
    value: float | None
    low: float | None = None
    high: float | None = None
    num_items: int = 0
    reason: str | None = None

    @property
    def name(self) -> str:
        """Name of the measure."""
        return self.measure.name

    def to_json(self) -> dict[str, Any]:
        """Return the score as one flat JSON object."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**dataclasses.asdict(fields.pop("measure")), **fields}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Score":
        """Inverse of `to_json`.

        Raises:
            InputError: The record is not one of a score.
        """
        names = [field.name for field in dataclasses.fields(Measure)]
        measure = {key: value for key, value in record.items() if key in names}
        own = {key: value for key, value in record.items() if key not in names}
        score = from_json(cls, {**own, "measure": measure}, "score")
        if score.measure.statistic not in _STATISTICS.get(len(score.measure.terms), ()):
            wrong = (score.measure.statistic, len(score.measure.terms))
            raise InputError(f"`score.terms` must be as many as `score.statistic` combines, got {wrong!r}")
        return score


def score_items(
    task: str,
    dataset: str,
    measures: Iterable[Measure],
    items: Sequence[Item],
    missing: Mapping[str, str] | None = None,
) -> list[Score]:
    """Score the items of one dataset under every measure that they hold the terms of.

    Args:
        task: Name of the task.
        dataset: Name of the dataset.
        measures: What to measure.
        items: Items of any datasets.
        missing: For a measure's name, the reason to report where no item has its terms; others are left out.

    Returns:
        Scores in the order of the measures; one without a finite value (no reference held a word) is reported as
        missing.
    """
    scores = []
    for measure in measures:
        columns = [column for item in items if item.dataset == dataset and (column := measure.columns(item))]
        if columns:
            scores.append(_score(task, dataset, measure, np.array(columns, dtype=np.float64)))
        elif missing and measure.name in missing:
            scores.append(Score(task, dataset, measure, None, reason=missing[measure.name]))
    return scores


def _score(task: str, dataset: str, measure: Measure, columns: Float[np.ndarray, "items columns"]) -> Score:
    if not np.isfinite(measure.evaluate(columns.sum(axis=0))):
        reason = f"a denominator of `{measure.name}` is zero over all {len(columns)} items"
        return Score(task, dataset, measure, None, reason=reason)
    found = bootstrap(columns, measure.evaluate)
    return Score(task, dataset, measure, found.value, found.low, found.high, found.num_items)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A paired difference between two evaluations: the second minus the first, on the items that both scored.

    Attributes:
        dataset: Dataset both were scored on.
        measure: What was measured.
        first: Value of the first evaluation on the shared items.
        second: Value of the second.
        difference: Second minus first, with its interval over items.
    """

    dataset: str
    measure: Measure
    first: float
    second: float
    difference: Estimate

    @property
    def verdict(self) -> Literal["better", "worse", "different", "undecided"]:
        """Whether the second is better than the first: undecided where the interval holds zero."""
        low, high = self.difference.low, self.difference.high
        if low is None or high is None or low <= 0 <= high:
            return "undecided"
        if self.measure.better == "neither":
            return "different"
        return "better" if (low > 0) == (self.measure.better == "higher") else "worse"

    def __str__(self) -> str:
        found = self.difference
        interval = "" if found.low is None else f" ({found.low:+.3f} to {found.high:+.3f}, n {found.num_items:,})"
        change = f"{self.first:.3f} -> {self.second:.3f}: {found.value:+.3f}{interval}"
        return f"{self.dataset:<16} {self.measure.name:<36} {change} {self.verdict}"

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as one flat JSON object."""
        found = self.difference
        return {
            "name": self.measure.name,
            "dataset": self.dataset,
            "unit": self.measure.unit,
            "better": self.measure.better,
            "first": self.first,
            "second": self.second,
            "difference": found.value,
            "low": found.low,
            "high": found.high,
            "num_items": found.num_items,
            "verdict": self.verdict,
        }


def compare_items(measure: Measure, dataset: str, first: Sequence[Item], second: Sequence[Item]) -> Comparison:
    """Compare two evaluations under one measure, pairing items by id.

    Raises:
        InputError: They share no item of this dataset that holds the measure's terms.
    """
    columns = [
        {item.id: column for item in items if item.dataset == dataset and (column := measure.columns(item))}
        for items in (first, second)
    ]
    shared = [item_id for item_id in columns[0] if item_id in columns[1]]
    if not shared:
        raise InputError(
            f"`{measure.name}` on `{dataset}` must have items in both evaluations, got none in common: "
            "evaluate both on the same dataset and limit"
        )
    width = 2 * len(measure.terms)
    paired = np.array([columns[0][item_id] + columns[1][item_id] for item_id in shared], dtype=np.float64)
    estimate = bootstrap(paired, lambda sums: measure.evaluate(sums[..., width:]) - measure.evaluate(sums[..., :width]))
    first_value, second_value = (float(measure.evaluate(part.sum(axis=0))) for part in np.split(paired, 2, axis=1))
    return Comparison(dataset, measure, first_value, second_value, estimate)
