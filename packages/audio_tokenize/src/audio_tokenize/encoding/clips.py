"""Utterances as waveforms, read ahead by threads, and the signals that are encoded."""

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from math import ceil, sqrt
from typing import TypeVar

import numpy as np
import soxr
from jaxtyping import Float32

from audio_data import InputError
from audio_tokenize.audio_files.mixing import SoundCheck
from audio_tokenize.codecs.base import AbstractCodec
from audio_tokenize.corpora import Skipped, Utterance
from audio_tokenize.encoding.plan import EncodePlan
from audio_tokenize.waveform import audio_pieces, load_audio, resample

# Decoding and resampling release the interpreter lock, so two readers keep up with a codec on the other core.
_NUM_READERS = 2
# What is no utterance, or says it has no length, takes memory too.
_AHEAD_ITEMS = 512
_Place = TypeVar("_Place")
Signal = Float32[np.ndarray, " _"]


@dataclass(frozen=True, eq=False)
class Clip:
    """An entry of a corpus and its sound.

    Attributes:
        id: Of the entry.
        utterance: What was read; `None` where the corpus itself left it out.
        samples: Mono, at the rate asked for, at least one; `None` where there are none, or too many to be held.
        unusable: Why the entry cannot be used; empty where it can.
    """

    id: str
    utterance: Utterance | None = None
    samples: Signal | None = None
    unusable: str = ""

    @property
    def is_long(self) -> bool:
        """Whether its sound is still where it was, to be read in pieces."""
        return self.utterance is not None and self.samples is None and not self.unusable


def read_ahead(
    entries: Iterable[tuple[_Place, Utterance | Skipped | None]],
    sample_rate_hz: int,
    target_rms: float | None = None,
    *,
    ahead_seconds: float = 240.0,
    long_seconds: float = float("inf"),
) -> Generator[tuple[_Place, Clip | None], None, None]:
    """Read entries in order, by threads that are up to `ahead_seconds` of audio in front.

    Args:
        entries: What to read, each with its place, which is passed on; so is a place with nothing.
        sample_rate_hz: Rate of the clips.
        target_rms: Root mean square that each clip is brought to; `None` leaves it as it was recorded.
        ahead_seconds: Bounds the memory taken; one utterance is always read ahead, however long.
        long_seconds: Utterances above this length are not read.

    Yields:
        One clip an entry. Close the iterator to stop the threads early.
    """
    readers = ThreadPoolExecutor(_NUM_READERS, thread_name_prefix="read-audio")
    queue: deque[tuple[_Place, float, Callable[[], Clip | None]]] = deque()
    source = iter(entries)
    waiting_seconds = 0.0
    try:
        while True:
            while waiting_seconds < ahead_seconds and len(queue) < _AHEAD_ITEMS:
                try:
                    place, entry = next(source)
                except StopIteration:
                    break
                if isinstance(entry, Utterance) and entry.seconds <= long_seconds:
                    clip = readers.submit(_read, entry, sample_rate_hz, target_rms).result
                    queue.append((place, entry.seconds, clip))
                    waiting_seconds += entry.seconds
                else:
                    queue.append((place, 0.0, partial(_unread, entry)))
            if not queue:
                return
            place, seconds, clip = queue.popleft()
            waiting_seconds -= seconds
            yield place, clip()
    finally:
        readers.shutdown(cancel_futures=True)


def _unread(entry: Utterance | Skipped | None) -> Clip | None:
    if isinstance(entry, Skipped):
        return Clip(entry.id, unusable=entry.reason)
    return None if entry is None else Clip(entry.id, entry)


def _read(utterance: Utterance, sample_rate_hz: int, target_rms: float | None) -> Clip:
    try:
        samples = load_audio(utterance.audio, sample_rate_hz, utterance.start_seconds, utterance.end_seconds)
    except InputError as error:
        return Clip(utterance.id, utterance, unusable=error.message)
    check = SoundCheck()
    check.add(samples)
    if check.problem:
        reason = f"`{utterance.audio}`: expected speech, got none: {check.problem}"
        return Clip(utterance.id, utterance, unusable=reason)
    if target_rms is not None:
        samples = scaled(samples, rms_gain(float(np.square(samples, dtype=np.float64).mean()), target_rms))
    return Clip(utterance.id, utterance, samples)


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


def speed_of(utterance: Utterance, frame_offset: int, plan: EncodePlan) -> float:
    """Speed of the copy at a frame offset, 1 being as recorded: drawn by a hash of its id and the offset."""
    if frame_offset == 0 or not plan.speed_perturbation:
        return 1.0
    drawn = int.from_bytes(hashlib.sha256(f"{utterance.id}/{frame_offset}".encode()).digest()[:8]) / 2**64
    return 1.0 + plan.speed_perturbation * (2.0 * drawn - 1.0)


def signals_of(
    utterance: Utterance, samples: Signal, frame_offset: int, plan: EncodePlan, codec: AbstractCodec
) -> list[Signal]:
    """Return a clip at one frame offset: the silence that shifts its frames, then its samples at the speed of the copy.

    Args:
        utterance: What the samples are of.
        samples: At the codec's rate and the plan's RMS.
        frame_offset: Which.
        plan: Of the job.
        codec: What will encode them.

    Returns:
        What is encoded apart: one signal, or several where the clip is longer than the plan's `max_clip_seconds`.
    """
    rate_hz = codec.sample_rate_hz
    samples = resample(samples, rate_hz, round(rate_hz / speed_of(utterance, frame_offset, plan)))
    if frame_offset:
        samples = np.concatenate([_silence(frame_offset, plan, codec), samples])
    size = _max_samples(plan, codec)
    if size is None or len(samples) <= size:
        return [samples]
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def long_signals_of(
    utterance: Utterance, frame_offset: int, plan: EncodePlan, codec: AbstractCodec, block_seconds: float
) -> Iterator[Iterator[Signal]]:
    """Yield the signals of `signals_of`, to the bit but for the gain, with memory bounded by a block.

    Args:
        utterance: What to read.
        frame_offset: Which.
        plan: Of the job.
        codec: What will encode them.
        block_seconds: Length of a block, but for the last one of a signal.

    Yields:
        The blocks of one signal; take them all before the next signal.

    Raises:
        InputError: The audio cannot be read, or holds no sound.
    """
    rate_hz = codec.sample_rate_hz
    gain = 1.0 if plan.target_rms is None else rms_gain(_power(_pieces(utterance, rate_hz)), plan.target_rms)
    pieces = _pieces(utterance, rate_hz)
    if plan.target_rms is not None:
        pieces = (scaled(piece, gain) for piece in pieces)
    pieces = _at_rate(pieces, rate_hz, round(rate_hz / speed_of(utterance, frame_offset, plan)))
    shifted = chain([_silence(frame_offset, plan, codec)], pieces)
    size = _max_samples(plan, codec)
    block = round(block_seconds * rate_hz)
    blocks = _Blocks(shifted)
    while not blocks.is_empty():
        yield blocks.take(block, size)


class _Blocks:
    """Cut a run of pieces anew."""

    def __init__(self, pieces: Iterable[Signal]):
        self._pieces = iter(pieces)
        self._rest: Signal = np.zeros(0, np.float32)

    def is_empty(self) -> bool:
        return not self._fill(1)

    def take(self, block: int, total: int | None) -> Iterator[Signal]:
        """Yield the next `total` samples, or all, in blocks."""
        left = total
        while left is None or left > 0:
            size = block if left is None else min(block, left)
            size = min(size, self._fill(size))
            if not size:
                return
            taken, self._rest = self._rest[:size], self._rest[size:]
            left = None if left is None else left - size
            yield taken

    def _fill(self, size: int) -> int:
        """Read until `size` samples are there or all; return how many there are."""
        waiting, num_waiting = [self._rest], len(self._rest)
        while num_waiting < size and (piece := next(self._pieces, None)) is not None:
            waiting.append(piece)
            num_waiting += len(piece)
        if len(waiting) > 1:
            self._rest = np.concatenate(waiting)
        return num_waiting


def _pieces(utterance: Utterance, rate_hz: int) -> Iterator[Signal]:
    check = SoundCheck()
    for piece in audio_pieces(utterance.audio, rate_hz, utterance.start_seconds, utterance.end_seconds):
        check.add(piece)
        yield piece
    if check.problem:
        raise InputError(f"`{utterance.audio}`: expected speech, got none: {check.problem}")


def _power(pieces: Iterable[Signal]) -> float:
    """Mean square."""
    total, num_samples = 0.0, 0
    for piece in pieces:
        total += float(np.square(piece, dtype=np.float64).sum())
        num_samples += len(piece)
    return total / max(num_samples, 1)


def _at_rate(pieces: Iterator[Signal], from_hz: int, to_hz: int) -> Iterator[Signal]:
    """`resample` of a run of pieces, to the bit."""
    if from_hz == to_hz:
        yield from pieces
        return
    stream = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ")
    for piece in pieces:
        yield stream.resample_chunk(piece)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def _silence(frame_offset: int, plan: EncodePlan, codec: AbstractCodec) -> Signal:
    return np.zeros(codec.samples_per_frame * frame_offset // plan.num_frame_offsets, np.float32)


def _max_samples(plan: EncodePlan, codec: AbstractCodec) -> int | None:
    return None if plan.max_clip_seconds is None else ceil(plan.max_clip_seconds * codec.sample_rate_hz)
