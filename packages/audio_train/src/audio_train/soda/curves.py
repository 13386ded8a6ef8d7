"""Statistics of a run's training loss: the first loss, and the largest rise."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from audio_train.run_folder.folder import METRICS_FILE
from audio_train.run_folder.summary import mean_by_group
from audio_train.tracking.metrics import read_metrics

WINDOW = 16
"""Steps over which `largest_rise` averages, so that single batches have little effect."""


def first(losses: Sequence[float]) -> float:
    """Return the first loss, before any update."""
    return losses[0]


def largest_rise(losses: Sequence[float]) -> float:
    """Largest rise of the loss above an earlier minimum, in means over 16 steps that do not overlap; at least 0.

    Args:
        losses: One loss per step.
    """
    if len(losses) < 2 * WINDOW:
        return 0.0
    means = np.convolve(losses, np.full(WINDOW, 1 / WINDOW), mode="valid")
    lowest_before = np.minimum.accumulate(means)[:-WINDOW]
    return max(0.0, float(np.max(means[WINDOW:] - lowest_before)))


MEASURES: Mapping[str, Callable[[Sequence[float]], float]] = MappingProxyType(
    {"first": first, "largest_rise": largest_rise}
)
"""Statistics by the name in a `CurveColumn`."""


def measured(run_dir: Path, group: str, measure: str) -> float | None:
    """Statistic of a run's training losses.

    Args:
        run_dir: Folder of the run.
        group: Group of token kinds, a key of `audio_train.run_folder.summary.TOKEN_GROUPS`, or `"all"`.
        measure: Key of `MEASURES`.

    Returns:
        The statistic in nats per token; None if no step had such a token.
    """
    lines = (line for line in read_metrics(run_dir / METRICS_FILE) if "nll" in line)
    losses = [mean_by_group(line["nll"], line["targets"]).get(group) for line in lines]
    known = [loss for loss in losses if loss is not None]
    return MEASURES[measure](known) if known else None
