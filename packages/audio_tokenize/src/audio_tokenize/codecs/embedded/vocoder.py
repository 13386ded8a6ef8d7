"""Streaming Griffin-Lim: log-mel features of one token after the other to samples, with one token of latency.

A step holds the samples already given out, fits the spectra of the last two tokens around them, gives out the first of
the two and keeps the second as the next step's starting point. What has been given out is never touched again, so
the samples do not depend on how the tokens arrived.

Source: Zhu, Beauregard and Wyse, Real-time signal estimation from modified short-time Fourier transform magnitude
spectra (2007), for the look-ahead scheme, here a token at a time with the committed samples as a constraint; Perraudin,
Balazs and Sondergaard, A fast Griffin-Lim algorithm (2013), for the momentum.
"""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex64, Float32

from audio_tokenize.codecs.embedded.features import (
    CONTEXT,
    FFT_SIZE,
    FLOOR,
    HOP,
    HOPS_PER_TOKEN,
    NUM_BINS,
    NUM_MELS,
    SAMPLES_PER_TOKEN,
    hann_window,
    mel_filters,
)

ITERATIONS = 24
MOMENTUM = 0.99
INVERSION_STEPS = 12
_SPAN = CONTEXT + 2 * SAMPLES_PER_TOKEN
_HOPS = 2 * HOPS_PER_TOKEN
_QUIETEST = 0.03 * FLOOR
_EDGE = 0.05
"""Added to the sum of squared windows, which is 1.6 inside and vanishes where the last spectrum ends."""

_window = hann_window().astype(np.float32)[None]
_filters = mel_filters().astype(np.float32)


@cache
def _inverse_filters() -> Float32[np.ndarray, "mels bins"]:
    return np.linalg.pinv(mel_filters()).astype(np.float32)


def _coverage() -> Float32[np.ndarray, " span"]:
    total = np.zeros(_SPAN)
    for hop in range(_HOPS):
        total[hop * HOP : hop * HOP + FFT_SIZE] += hann_window() ** 2
    return (total + _EDGE).astype(np.float32)


_covered = _coverage()
_first_guess = (1e-3 * np.random.default_rng(0).standard_normal(SAMPLES_PER_TOKEN)).astype(np.float32)


class VocoderState(NamedTuple):
    """Samples given out last, the present guess at the waiting token's samples, and that token's magnitudes."""

    past: Float32[Array, " context"]
    waiting: Float32[Array, " samples"]
    magnitudes: Float32[Array, "hops bins"]


def initial_state() -> VocoderState:
    """Return the state of silence before the first token."""
    return VocoderState(jnp.zeros(CONTEXT), jnp.zeros(SAMPLES_PER_TOKEN), jnp.zeros((HOPS_PER_TOKEN, NUM_BINS)))


def magnitudes(mels: Float32[Array, " features"]) -> Float32[Array, "hops bins"]:
    """Find spectral magnitudes whose mel powers fit the given log-mel features of one token.

    Multiplicative updates from the clipped pseudo-inverse keep the powers positive. The encoder's floor is taken off
    first: a band at the floor was silent, and would come back as hiss (measured on speech: PESQ 1.44 to 1.74).

    Source: Lee and Seung, Algorithms for non-negative matrix factorization (2001), with one factor fixed.
    """
    target = jnp.maximum(jnp.exp(mels.reshape(HOPS_PER_TOKEN, NUM_MELS)) - FLOOR, _QUIETEST)
    aim = target @ _filters.T
    powers = jnp.maximum(target @ _inverse_filters(), 1e-8)

    def improve(_: Array, powers: Float32[Array, "hops bins"]) -> Float32[Array, "hops bins"]:
        return powers * aim / (powers @ _filters @ _filters.T + 1e-12)

    return jnp.sqrt(jax.lax.fori_loop(0, INVERSION_STEPS, improve, powers))


def _spectra(signal: Float32[Array, " span"]) -> Complex64[Array, "hops bins"]:
    hops = jnp.stack([signal[hop * HOP : hop * HOP + FFT_SIZE] for hop in range(_HOPS)])
    return jnp.fft.rfft(hops * _window)


def _overlap_add(spectra: Complex64[Array, "hops bins"]) -> Float32[Array, " span"]:
    hops = jnp.fft.irfft(spectra, FFT_SIZE) * _window
    total = jnp.zeros(_SPAN)
    for hop in range(_HOPS):
        total = total.at[hop * HOP : hop * HOP + FFT_SIZE].add(hops[hop])
    return total / _covered


def step(state: VocoderState, mels: Float32[Array, " features"]) -> tuple[VocoderState, Float32[Array, " samples"]]:
    """Take the log-mel features of the next token and give out the samples of the one before it."""
    upcoming = magnitudes(mels)
    target = jnp.concatenate([state.magnitudes, upcoming])

    def constrain(spectra: Complex64[Array, "hops bins"]) -> Float32[Array, " span"]:
        return _overlap_add(spectra).at[:CONTEXT].set(state.past)

    def with_target(spectra: Complex64[Array, "hops bins"]) -> Complex64[Array, "hops bins"]:
        gain = target / jnp.maximum(jnp.abs(spectra), 1e-9)
        return jax.lax.complex(gain * spectra.real, gain * spectra.imag)

    def improve(_: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        guess, last = carry
        consistent = _spectra(constrain(with_target(guess)))
        return consistent + MOMENTUM * (consistent - last), consistent

    start = _spectra(jnp.concatenate([state.past, state.waiting, jnp.asarray(_first_guess)]))
    guess, _ = jax.lax.fori_loop(0, ITERATIONS, improve, (start, start))
    signal = constrain(with_target(guess))
    given = signal[CONTEXT : CONTEXT + SAMPLES_PER_TOKEN]
    return VocoderState(given[-CONTEXT:], signal[CONTEXT + SAMPLES_PER_TOKEN :], upcoming), given
