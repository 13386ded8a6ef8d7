"""How fast a worker encodes: said by somebody, or measured here."""

import math
import time
from typing import TYPE_CHECKING

import numpy as np

from audio_data import InputError
from audio_tokenize.corpora import open_corpus
from audio_tokenize.inspection.pricing import Figure
from audio_tokenize.waveform import load_audio

# A codec brings jax, which a price without a measurement does not need.
if TYPE_CHECKING:
    from audio_tokenize.codecs.base import AbstractCodec
    from audio_tokenize.codecs.registry import CodecSpec

_UNIT = "x real time per worker"
_MEASURED_SECONDS = 30.0


def given_speed(times_real_time: int | float) -> Figure:
    """Return a speed that somebody has measured.

    Args:
        times_real_time: Seconds of audio that a worker encodes in a second.

    Raises:
        InputError: Not above 0.
    """
    if not 0 < times_real_time < math.inf:
        raise InputError(f"`speed` must be a number of times real time above 0, got {times_real_time!r}")
    return Figure(times_real_time, _UNIT, "given", "given")


def measure_speed(spec: "str | CodecSpec") -> Figure:
    """Encode half a minute of the sample corpus on this machine, once to compile and once by the clock.

    Args:
        spec: Of the codec.

    Raises:
        InputError: There is no such codec.
    """
    from audio_tokenize import codecs

    codec = codecs.load_codec(spec)
    signals, seconds = _signals(codec)
    codec.encode_batch(signals)
    start = time.perf_counter()
    codec.encode_batch(signals)
    speed = seconds / (time.perf_counter() - start)
    basis = (
        f"{seconds:.0f} s of the sample corpus in {len(signals)} clips on this machine, codec {codec.codec_id} alone"
    )
    return Figure(round(speed, 2), _UNIT, "measured", basis)


def worker_speed(times_real_time: int | float | None, measured: "str | CodecSpec | None") -> Figure | None:
    """Return the speed that was given or is to be measured, if any.

    Args:
        times_real_time: As for `given_speed`.
        measured: As for `measure_speed`.

    Raises:
        InputError: Both.
    """
    if times_real_time is not None and measured is not None:
        raise InputError(f"`speed` {times_real_time!r} and `measure` exclude each other: give one of them")
    if times_real_time is not None:
        return given_speed(times_real_time)
    return None if measured is None else measure_speed(measured)


def _signals(codec: "AbstractCodec") -> tuple[list[np.ndarray], float]:
    """Clips of the sample corpus, and how many seconds they are together."""
    signals: list[np.ndarray] = []
    seconds = 0.0
    for utterance in open_corpus("sample"):
        signals.append(
            load_audio(utterance.audio, codec.sample_rate_hz, utterance.start_seconds, utterance.end_seconds)
        )
        seconds += utterance.seconds
        if seconds >= _MEASURED_SECONDS:
            break
    return signals, seconds
