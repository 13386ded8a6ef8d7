"""Utterances as waveforms, read by threads ahead of whoever needs them, and batches of similar length."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from math import sqrt
from typing import TypeVar

import numpy as np
from jaxtyping import Float32

from audio_data import InputError
from audio_tokenize.audio_files.mixing import SoundCheck
from audio_tokenize.corpora import Utterance
from audio_tokenize.waveform import load_audio

# Decoding and resampling release the interpreter lock, so two readers keep up with a codec on the other core.
_NUM_READERS = 2
# What is no utterance, or says it has no length, takes memory too.
_AHEAD_ITEMS = 512
_Other = TypeVar("_Other")


@dataclass(frozen=True, eq=False)
class Clip:
    """An utterance and its sound.

    Attributes:
        utterance: What was read.
        samples: Mono, at the rate asked for; at least one.
    """

    utterance: Utterance
    samples: Float32[np.ndarray, " samples"]


@dataclass(frozen=True)
class LongClip:
    """An utterance that is too long to be held; its sound is still where it was.

    Attributes:
        utterance: What is to be read in pieces.
    """

    utterance: Utterance


@dataclass(frozen=True)
class Unreadable:
    """An utterance whose sound cannot be had.

    Attributes:
        utterance: What was to be read.
        reason: Why, in a line.
    """

    utterance: Utterance
    reason: str


def read_ahead(
    items: Iterable[Utterance | _Other],
    sample_rate_hz: int,
    target_rms: float | None = None,
    *,
    ahead_seconds: float = 240.0,
    long_seconds: float = float("inf"),
) -> Generator[Clip | LongClip | Unreadable | _Other, None, None]:
    """Read utterances in order, by threads that are up to `ahead_seconds` of audio in front.

    Args:
        items: What to read; what is no utterance is passed on in its place.
        sample_rate_hz: Rate of the clips.
        target_rms: Root mean square that each clip is brought to; `None` leaves it as it was recorded.
        ahead_seconds: Bounds the memory taken; one utterance is always read ahead, however long.
        long_seconds: Utterances above this length are not read.

    Yields:
        One clip an utterance, or why there is none. Close the iterator to stop the threads early.
    """
    readers = ThreadPoolExecutor(_NUM_READERS, thread_name_prefix="read-audio")
    queue: deque[tuple[float, Future[Clip | Unreadable] | LongClip | _Other]] = deque()
    source = iter(items)
    waiting_seconds = 0.0
    try:
        while True:
            while waiting_seconds < ahead_seconds and len(queue) < _AHEAD_ITEMS:
                try:
                    item = next(source)
                except StopIteration:
                    break
                if not isinstance(item, Utterance):
                    queue.append((0.0, item))
                elif item.seconds > long_seconds:
                    queue.append((0.0, LongClip(item)))
                else:
                    queue.append((item.seconds, readers.submit(_read, item, sample_rate_hz, target_rms)))
                waiting_seconds += queue[-1][0]
            if not queue:
                return
            seconds, clip = queue.popleft()
            waiting_seconds -= seconds
            yield clip.result() if isinstance(clip, Future) else clip
    finally:
        readers.shutdown(cancel_futures=True)


def _read(utterance: Utterance, sample_rate_hz: int, target_rms: float | None) -> Clip | Unreadable:
    try:
        samples = load_audio(utterance.audio, sample_rate_hz, utterance.start_seconds, utterance.end_seconds)
    except InputError as error:
        return Unreadable(utterance, error.message)
    check = SoundCheck()
    check.add(samples)
    if check.problem:
        return Unreadable(utterance, f"`{utterance.audio}`: expected speech, got none: {check.problem}")
    if target_rms is None:
        return Clip(utterance, samples)
    return Clip(utterance, scaled(samples, rms_gain(float(np.square(samples, dtype=np.float64).mean()), target_rms)))


def rms_gain(power: float, target_rms: float) -> float:
    """Return the factor from mean square `power` to root mean square `target_rms`; 1 for silence."""
    return target_rms / sqrt(power) if power > 0 else 1.0


def scaled(samples: Float32[np.ndarray, " samples"], gain: float) -> Float32[np.ndarray, " samples"]:
    """Sample times `gain`, in double precision and rounded once."""
    return (samples * np.float64(gain)).astype(np.float32)


def batches_by_length(lengths: Sequence[int], max_total: int, max_items: int = 32) -> Iterator[list[int]]:
    """Put items of similar length together, so that little of a batch is padding.

    Args:
        lengths: Of the items.
        max_total: Longest item of a batch times its number of items, at most; an item that is longer by itself goes
            alone.
        max_items: Items of a batch at most.

    Yields:
        Indices of the items of each batch; each index once.
    """
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if batch and (len(batch) == max_items or lengths[i] * (len(batch) + 1) > max_total):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
