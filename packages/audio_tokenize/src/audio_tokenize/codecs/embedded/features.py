"""Log-mel features of one token: 8 causal spectral frames of the last 2,704 samples.

A token at frame t covers samples [1920 t, 1920 (t + 1)). Its eight spectra end at multiples of 240 samples inside that
range, so they need 784 samples of the past and none of the future. Everything a token depends on is therefore one row
of `token_windows`, which is what makes chunked, batched and whole-file encoding the same computation.
"""

from functools import cache

import numpy as np
from jaxtyping import Float

SAMPLE_RATE_HZ = 24_000
FFT_SIZE = 1024
HOP = 240
NUM_BINS = FFT_SIZE // 2 + 1
NUM_MELS = 100
HOPS_PER_TOKEN = 8
NUM_FEATURES = NUM_MELS * HOPS_PER_TOKEN
SAMPLES_PER_TOKEN = HOP * HOPS_PER_TOKEN
CONTEXT = FFT_SIZE - HOP
"""Samples before a token's own that its first spectrum reaches back to."""
WINDOW = CONTEXT + SAMPLES_PER_TOKEN
FLOOR = 1e-4
"""Mel powers are clipped here before the logarithm: about 30 dB under the bands of speech of RMS 0.07."""


@cache
def hann_window() -> Float[np.ndarray, " fft"]:
    """Return the periodic Hann window of `FFT_SIZE` samples, float64."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT_SIZE) / FFT_SIZE)


def _hz_to_slaney(hz: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    linear = hz * 3 / 200
    return np.where(hz < 1000, linear, 15 + 27 * np.log(np.maximum(hz, 1000) / 1000) / np.log(6.4))


def _slaney_to_hz(mel: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((np.maximum(mel, 15) - 15) / 27))


@cache
def mel_filters() -> Float[np.ndarray, "bins mels"]:
    """Return 100 triangular filters of unit area, evenly spaced from 0 to 12 kHz on Slaney's mel scale, float64.

    Source: Slaney, Auditory Toolbox (1998), as in librosa's default `filters.mel`.
    """
    nyquist = SAMPLE_RATE_HZ / 2
    edges = _slaney_to_hz(np.linspace(0, float(_hz_to_slaney(np.asarray(nyquist))), NUM_MELS + 2))
    bins = np.linspace(0, nyquist, NUM_BINS)[:, None]
    rising = (bins - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - bins) / np.diff(edges)[1:]
    triangles = np.maximum(0, np.minimum(rising, falling))
    return triangles * 2 / (edges[2:] - edges[:-2])


def num_tokens(num_samples: int) -> int:
    """Return how many tokens `num_samples` samples make: the last one may be partly silence."""
    return -(-num_samples // SAMPLES_PER_TOKEN)


def token_windows(samples: Float[np.ndarray, " samples"]) -> Float[np.ndarray, "frames window"]:
    """Cut a whole signal into the windows its tokens depend on, with silence before its start and after its end."""
    count = num_tokens(len(samples))
    padded = np.zeros(CONTEXT + count * SAMPLES_PER_TOKEN, samples.dtype)
    padded[CONTEXT : CONTEXT + len(samples)] = samples
    return context_windows(padded)


def context_windows(samples: Float[np.ndarray, " samples"]) -> Float[np.ndarray, "frames window"]:
    """View `CONTEXT` samples followed by whole tokens as one window a token (overlapping, read-only)."""
    if len(samples) < WINDOW:
        return np.zeros((0, WINDOW), samples.dtype)
    return np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::SAMPLES_PER_TOKEN]


def log_mel(
    windows: Float[np.ndarray, "frames window"], dtype: type = np.float32
) -> Float[np.ndarray, "frames features"]:
    """Compute the 8 x 100 natural-log mel powers of each token window.

    The spectra are always computed in float64: a loud vowel's rounding error in float32 would otherwise reach the quiet
    bands that the logarithm magnifies. `dtype` is that of everything after the power spectra, and of the result.

    Args:
        windows: One row of `WINDOW` samples a token.
        dtype: `np.float32` for speed, `np.float64` where a code must be decided beyond rounding.

    Returns:
        Features, hop-major: feature 100 h + m is band m of hop h.
    """
    hops = np.lib.stride_tricks.sliding_window_view(windows, FFT_SIZE, axis=1)[:, ::HOP]
    spectra = np.fft.rfft(hops * hann_window())
    powers = (spectra.real**2 + spectra.imag**2).astype(dtype).reshape(-1, NUM_BINS)
    mels = powers @ mel_filters().astype(dtype)
    return np.log(np.maximum(mels, FLOOR, out=mels), out=mels).reshape(len(windows), NUM_FEATURES)
