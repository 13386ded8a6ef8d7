"""Detection of loss spikes, and the records of a batch."""

import math
import statistics
from collections import deque
from collections.abc import Iterable, Sequence

from audio_data import RowOrigin

WINDOW = 128
"""Number of recent losses whose median is the usual loss."""
MIN_LOSSES = 16
"""Number of losses before the first decision."""
NORMAL_DEVIATIONS_PER_MAD = 1.4826


class SpikeWatch:
    """Detects losses far above the previous ones.

    A spike is more than `deviations` above the median of the last 128 losses. One deviation is 1.4826 times their
    median absolute deviation (the standard deviation of a normal distribution), on which a few spikes have no effect.
    Spikes count among the losses, so a loss that stays high becomes usual.

    Args:
        deviations: Deviations above the median at which a loss is a spike.
        history: Losses of earlier steps, such as the metrics of a resumed run; None for a loss that was not finite.
    """

    def __init__(self, deviations: float, history: Iterable[float | None] = ()):
        self.deviations = deviations
        self._losses = deque((loss for loss in history if loss is not None), maxlen=WINDOW)

    def check(self, loss: float) -> float | None:
        """Add a loss; returns the usual loss if this one is a spike, else None."""
        usual = self._usual_if_spike(loss)
        if math.isfinite(loss):
            self._losses.append(loss)
        return usual

    def _usual_if_spike(self, loss: float) -> float | None:
        if len(self._losses) < MIN_LOSSES:
            return None
        usual = statistics.median(self._losses)
        spread = NORMAL_DEVIATIONS_PER_MAD * statistics.median(abs(other - usual) for other in self._losses)
        # Equal losses have no deviation; 0.1 % of the median is the minimum.
        return usual if loss - usual > self.deviations * max(spread, 1e-3 * abs(usual)) else None


def records(origins: Sequence[RowOrigin]) -> list[str]:
    """Describe the rows of a batch as `dataset row: documents`, for messages and metrics."""
    return [f"{origin.corpus} row {origin.index}: {', '.join(origin.documents)}" for origin in origins]
