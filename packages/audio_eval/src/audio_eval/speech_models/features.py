"""Log-mel spectrograms and pitch: the input of the embedded speech models."""

import functools

import numpy as np
from jaxtyping import Float, Float32, Int

from audio_tokenize import resample

SAMPLE_RATE_HZ = 16_000
HOP_SECONDS = 0.01
NUM_BANDS = 40
_WINDOW, _HOP, _FFT = 400, 160, 512
_LOWEST_HZ, _HIGHEST_HZ = 60.0, 7_600.0
# Below the quietest speech of the sample corpus and above the dither of 16-bit files.
_FLOOR = 1e-6
_LOWEST_PITCH_HZ, _HIGHEST_PITCH_HZ = 60.0, 400.0
_VOICED_CORRELATION = 0.45
_PITCH_WINDOW = 640
_PEAK_SHARE = 0.9


def log_mel(samples: Float[np.ndarray, " samples"], sample_rate_hz: int) -> Float32[np.ndarray, "frames bands"]:
    """Compute 40 log-mel energies every 10 ms, of windows of 25 ms.

    Args:
        samples: Mono, in -1..1.
        sample_rate_hz: Their rate; they are brought to 16 kHz.

    Returns:
        Natural logarithms; at least one frame, of silence where there are no samples.
    """
    frames = _frames(at_16_khz(samples, sample_rate_hz), _WINDOW)
    power = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW).astype(np.float32), _FFT, axis=1)) ** 2
    return np.log(power @ _mel_filters() + _FLOOR).astype(np.float32)


def pitch(samples: Float[np.ndarray, " samples"], sample_rate_hz: int) -> Float32[np.ndarray, " frames"]:
    """Estimate the pitch every 10 ms by autocorrelation of windows of 40 ms.

    Returns:
        Hertz, 60 to 400; 0 where there is no voice. As many frames as `log_mel` has.
    """
    frames = _frames(at_16_khz(samples, sample_rate_hz), _PITCH_WINDOW).astype(np.float64)
    frames = frames - frames.mean(axis=1, keepdims=True)
    spectrum = np.abs(np.fft.rfft(frames, 2 * _PITCH_WINDOW, axis=1)) ** 2
    correlation = np.fft.irfft(spectrum, axis=1)[:, :_PITCH_WINDOW]
    # Fewer samples overlap at a greater lag.
    correlation /= 1 - np.arange(_PITCH_WINDOW) / (_PITCH_WINDOW + 1)
    shortest, longest = (int(SAMPLE_RATE_HZ / hz) for hz in (_HIGHEST_PITCH_HZ, _LOWEST_PITCH_HZ))
    normalized = correlation[:, shortest : longest + 1] / np.maximum(correlation[:, :1], 1e-9)
    best = _first_peaks(normalized)
    loud = correlation[:, 0] > 0.01 * correlation[:, 0].max(initial=0.0)
    voiced = loud & (normalized[np.arange(len(best)), best] > _VOICED_CORRELATION)
    return np.where(voiced, SAMPLE_RATE_HZ / (best + shortest), 0.0).astype(np.float32)


def _first_peaks(correlation: Float[np.ndarray, "frames lags"]) -> Int[np.ndarray, " frames"]:
    """Return the shortest lag that correlates nearly as well as the best: multiples of a period correlate as well."""
    inner = correlation[:, 1:-1]
    peak = (inner >= correlation[:, :-2]) & (inner >= correlation[:, 2:])
    found = peak & (inner >= _PEAK_SHARE * correlation.max(axis=1, keepdims=True))
    return np.where(found.any(axis=1), found.argmax(axis=1) + 1, correlation.argmax(axis=1))


def at_16_khz(samples: Float[np.ndarray, " samples"], sample_rate_hz: int) -> Float32[np.ndarray, " resampled"]:
    """Convert samples to the rate of the features."""
    return resample(np.ascontiguousarray(samples, np.float32), sample_rate_hz, SAMPLE_RATE_HZ)


def _frames(samples: Float32[np.ndarray, " samples"], window: int) -> Float32[np.ndarray, "frames window"]:
    count = max(1, -(-len(samples) // _HOP))
    padded = np.zeros((count - 1) * _HOP + window, np.float32)
    before = (window - _HOP) // 2
    kept = samples[: len(padded) - before]
    padded[before : before + len(kept)] = kept
    return np.lib.stride_tricks.sliding_window_view(padded, window)[::_HOP]


@functools.cache
def _mel_filters() -> Float32[np.ndarray, "bins bands"]:
    """Triangles of equal area, evenly spaced in mel."""
    low, high = (2595 * np.log10(1 + frequency / 700) for frequency in (_LOWEST_HZ, _HIGHEST_HZ))
    edges = 700 * (10 ** (np.linspace(low, high, NUM_BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE_HZ)
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
