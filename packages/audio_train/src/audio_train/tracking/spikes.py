"""Losses out of the ordinary: when one is, and which records were in its batch."""

import math
import statistics
from collections import deque
from collections.abc import Iterable, Sequence

from audio_data import RowOrigin

WINDOW = 128
"""Losses of which a usual one is the median."""
MIN_LOSSES = 16
"""Losses before the first judgement."""
NORMAL_DEVIATIONS_PER_MAD = 1.4826


class SpikeWatch:
    """Tells a loss that stands out above those before it.

    A spike lies more than `deviations` above the median of the last 128 losses, a deviation being 1.4826 times their
    median absolute deviation (that of a normal distribution), which a few spikes do not move. Spikes count among the
    losses: a loss that stays high becomes usual.

    Args:
        deviations: how many make a spike.
        history: losses of the steps before, such as a resumed run's metrics hold; None where one was not finite.
    """

    def __init__(self, deviations: float, history: Iterable[float | None] = ()):
        self.deviations = deviations
        self._losses = deque((loss for loss in history if loss is not None), maxlen=WINDOW)

    def check(self, loss: float) -> float | None:
        """Take a loss into account; returns the usual loss where this one is a spike, else None."""
        usual = self._usual_if_spike(loss)
        if math.isfinite(loss):
            self._losses.append(loss)
        return usual

    def _usual_if_spike(self, loss: float) -> float | None:
        if len(self._losses) < MIN_LOSSES:
            return None
        usual = statistics.median(self._losses)
        spread = NORMAL_DEVIATIONS_PER_MAD * statistics.median(abs(other - usual) for other in self._losses)
        # Losses that agree to rounding have no spread to measure against.
        return usual if loss - usual > self.deviations * max(spread, 1e-3 * abs(usual)) else None


def records(origins: Sequence[RowOrigin]) -> list[str]:
    """The rows of a batch as `corpus row: documents`, for messages and metrics."""
    return [f"{origin.corpus} row {origin.index}: {', '.join(origin.documents)}" for origin in origins]
