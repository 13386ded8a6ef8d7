"""Numbers that say how a run's training loss went: where it began, and how far it rose again."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from audio_train.run_folder.folder import METRICS_FILE
from audio_train.run_folder.summary import mean_by_group
from audio_train.tracking.metrics import read_metrics

WINDOW = 16
"""Steps over which `largest_rise` averages, so that it does not tell one hard batch from an easy one."""


def first(losses: Sequence[float]) -> float:
    """The first loss, before any update."""
    return losses[0]


def largest_rise(losses: Sequence[float]) -> float:
    """How far the loss rose above the lowest before, in means over 16 steps that do not overlap in time; at least 0.

    Args:
        losses: one a step.
    """
    if len(losses) < 2 * WINDOW:
        return 0.0
    means = np.convolve(losses, np.full(WINDOW, 1 / WINDOW), mode="valid")
    lowest_before = np.minimum.accumulate(means)[:-WINDOW]
    return max(0.0, float(np.max(means[WINDOW:] - lowest_before)))


MEASURES: Mapping[str, Callable[[Sequence[float]], float]] = MappingProxyType(
    {"first": first, "largest_rise": largest_rise}
)
"""By the name that a `CurveColumn` gives."""


def measured(run_dir: Path, group: str, measure: str) -> float | None:
    """A measure of a run's training losses.

    Args:
        run_dir: the run's folder.
        group: of token kinds, a key of `audio_train.run_folder.summary.TOKEN_GROUPS`, or `"all"`.
        measure: a key of `MEASURES`.

    Returns:
        In nats a token; None where no step met such a token.
    """
    lines = (line for line in read_metrics(run_dir / METRICS_FILE) if "nll" in line)
    losses = [mean_by_group(line["nll"], line["targets"]).get(group) for line in lines]
    known = [loss for loss in losses if loss is not None]
    return MEASURES[measure](known) if known else None
