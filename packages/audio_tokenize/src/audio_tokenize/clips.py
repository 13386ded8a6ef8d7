"""Utterances as waveforms, read by threads ahead of whoever needs them, and batches of similar length."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from audio_data import InputError
from audio_tokenize.corpora import Utterance
from audio_tokenize.waveform import load_audio

# Decoding and resampling let go of the interpreter, so two readers keep up with a codec on the other core.
_NUM_READERS = 2


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
class Unreadable:
    """An utterance whose sound cannot be had.

    Attributes:
        utterance: What was to be read.
        reason: Why, in a line.
    """

    utterance: Utterance
    reason: str


def read_ahead(
    utterances: Iterable[Utterance], sample_rate_hz: int, level: float | None = None, ahead_seconds: float = 240.0
) -> Generator[Clip | Unreadable, None, None]:
    """Reads utterances in order, by threads that are up to `ahead_seconds` of audio in front.

    Args:
        utterances: What to read.
        sample_rate_hz: Rate of the clips.
        level: Root mean square that each clip is brought to; `None` leaves it as it was recorded.
        ahead_seconds: Bounds the memory taken; one utterance is always read ahead, however long.

    Yields:
        One clip an utterance, or why there is none. Close the iterator to stop the threads early.
    """
    readers = ThreadPoolExecutor(_NUM_READERS, thread_name_prefix="read-audio")
    queue: deque[tuple[Utterance, Future[Clip | Unreadable]]] = deque()
    source = iter(utterances)
    waiting_seconds = 0.0
    try:
        while True:
            while waiting_seconds < ahead_seconds and (utterance := next(source, None)) is not None:
                queue.append((utterance, readers.submit(_read, utterance, sample_rate_hz, level)))
                waiting_seconds += utterance.seconds
            if not queue:
                return
            utterance, clip = queue.popleft()
            waiting_seconds -= utterance.seconds
            yield clip.result()
    finally:
        readers.shutdown(cancel_futures=True)


def _read(utterance: Utterance, sample_rate_hz: int, level: float | None) -> Clip | Unreadable:
    try:
        samples = load_audio(utterance.audio, sample_rate_hz, utterance.start_seconds, utterance.end_seconds)
    except InputError as error:
        return Unreadable(utterance, error.message)
    if not samples.size:
        return Unreadable(utterance, "its span holds no audio")
    return Clip(utterance, samples if level is None else _at_level(samples, level))


def _at_level(samples: Float32[np.ndarray, " samples"], level: float) -> Float32[np.ndarray, " samples"]:
    found = np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
    return (samples * (level / found)).astype(np.float32) if found > 0 else samples


def batches_by_length(lengths: Sequence[int], max_total: int, max_items: int = 32) -> Iterator[list[int]]:
    """Puts items of similar length together, so that little of a batch is padding.

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
