"""Channels to one, without losing what only one of them holds or what they hold with opposite signs."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float32, Float64

from audio_data import InputError

# Samples of float files have no bound; louder than 18 dB above full scale, or whole numbers, are another unit.
_MAX_PEAK = 8.0
_MIN_WHOLE_PEAK = 2.0
# The mean of unrelated channels has 1/channels of their power; less than this part of it was cancelled.
_CANCELLED_FRACTION = 0.02
# A channel with less of a moment's power does not hold its speech.
_HELD_FRACTION = 0.1
_WINDOW_SECONDS = 0.25
# Moments this far below the loudest one are noise between words.
_QUIET_FRACTION = 1e-3
_SILENCE_POWER = 1e-8
# Peak to peak, -86 dB of full scale: three steps of 16 bits. No speech is that quiet.
_MIN_RANGE = 1e-4


def require_samples(source: object, samples: Float32[np.ndarray, "frames channels"], start: int) -> None:
    """Refuse samples that are not finite, or in another unit than full scale.

    Args:
        source: The file, for messages.
        samples: A block of it.
        start: Place of the block in the file.

    Raises:
        InputError: Names the first such sample.
    """
    finite = np.isfinite(samples)
    if not finite.all():
        position, channel = np.argwhere(~finite)[0]
        value = float(samples[position, channel])
        raise InputError(
            f"`{source}`: expected finite samples, got {value!r} at sample {start + position}; replace the file"
        )
    peak = float(np.abs(samples).max(initial=0.0))
    if peak > _MAX_PEAK or (peak >= _MIN_WHOLE_PEAK and not np.any(samples != np.rint(samples))):
        raise InputError(
            f"`{source}`: expected samples within -1 and 1, got {peak:g}; divide them by the full scale of the format "
            "that they came from, e.g. by 32768 for 16 bits"
        )


class _Powers:
    """Mean squares of channels and of their mean, a window at a time."""

    def __init__(self, num_channels: int, rate_hz: int):
        self._size = max(1, round(_WINDOW_SECONDS * rate_hz))
        self._rest = np.zeros((0, num_channels), np.float32)
        self._found: list[Float64[np.ndarray, "windows powers"]] = []

    def add(self, block: Float32[np.ndarray, "frames channels"]) -> None:
        waiting = np.concatenate([self._rest, block]) if len(self._rest) else block
        whole = len(waiting) // self._size * self._size
        self._measure(waiting[:whole], self._size)
        self._rest = waiting[whole:].copy()

    def _measure(self, samples: Float32[np.ndarray, "frames channels"], size: int) -> None:
        if not len(samples):
            return
        exact = samples.astype(np.float64)
        both = np.concatenate([exact, exact.mean(axis=1, keepdims=True)], axis=1)
        self._found.append(np.square(both).reshape(-1, size, both.shape[1]).mean(axis=1))

    def all(self) -> Float64[np.ndarray, "windows powers"]:
        self._measure(self._rest, len(self._rest))
        return np.concatenate(self._found)


def choose_channel(
    source: object, blocks: Iterable[Float32[np.ndarray, "_ channels"]], num_channels: int, rate_hz: int
) -> int | None:
    """Find out whether the mean of the channels keeps what they hold.

    Channels of opposite sign, as of a plug wired wrongly, cancel each other. Then one channel is taken, if it holds
    what is heard at every moment.

    Args:
        source: The file, for messages.
        blocks: All that is to be mixed, at least one sample.
        num_channels: Of the blocks.
        rate_hz: Their sample rate.

    Returns:
        The channel to take, or `None` for the mean of all.

    Raises:
        InputError: The channels cancel each other, and no channel holds everything.
    """
    if num_channels == 1:
        return 0
    powers = _Powers(num_channels, rate_hz)
    for block in blocks:
        powers.add(block)
    measured = powers.all()
    channels, mixed = measured[:, :-1], measured[:, -1]
    total = channels.mean(axis=1)
    is_loud = total > max(_SILENCE_POWER, _QUIET_FRACTION * float(total.max()))
    is_cancelled = is_loud & (mixed < _CANCELLED_FRACTION * total / num_channels)
    if not is_cancelled.any():
        return None
    chosen = int(channels.sum(axis=0).argmax())
    if (channels[is_loud, chosen] < _HELD_FRACTION * total[is_loud]).any():
        seconds = float(np.flatnonzero(is_cancelled)[0] * _WINDOW_SECONDS)
        raise InputError(
            f"`{source}`: expected channels that can be mixed, got {num_channels} that cancel each other from "
            f"{seconds:.2f} s on, and none that holds all speech; give a file of one channel"
        )
    return chosen


def mix(block: Float32[np.ndarray, "frames channels"], channel: int | None) -> Float32[np.ndarray, " frames"]:
    """One channel of a block, or the mean of all for `None`."""
    return block.mean(axis=1) if channel is None else block[:, channel]


class SoundCheck:
    """Finds out whether samples, a run at a time, hold a sound at all."""

    def __init__(self) -> None:
        self._low, self._high = np.inf, -np.inf

    def add(self, samples: Float32[np.ndarray, " samples"]) -> None:
        """Take the next samples."""
        if samples.size:
            self._low = min(self._low, float(samples.min()))
            self._high = max(self._high, float(samples.max()))

    @property
    def problem(self) -> str:
        """Why there is no speech in what was taken; empty where there may be."""
        if self._high - self._low >= _MIN_RANGE:
            return ""
        if self._low > self._high:
            return "it holds no sample"
        return f"it holds no sound: all samples are between {self._low:.3g} and {self._high:.3g}"
