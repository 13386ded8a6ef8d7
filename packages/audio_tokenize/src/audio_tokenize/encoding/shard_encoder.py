"""Shards of a corpus read, encoded and written, with reading, encoding and writing at the same time.

Threads read and resample ahead of the codec, across the end of a shard; clips of similar length go through it together;
another thread writes. Memory is bounded by seconds of audio: utterances too long to be held are encoded as a stream.
Every ten minutes of audio become a chunk on disk, and a killed job goes on after the last one, without looking at the
audio before.

Where it was stopped changes which clips come together in a batch, and nothing else. The embedded codec decides
near-ties in float64 and gives the same codes everywhere. Mimi computes each clip by itself on a CPU, so that the
outcome of a job is the same to the bit on machines of one kind with one version of jaxlib, whatever the batches,
threads and stops. On an accelerator several clips lie side by side, in one program of one shape, but nobody promises
that all places in it round alike: codes of near-ties may differ after a stop, as they may between kinds of machines.
Each shard records what computed it (`EncodedShard.arithmetic`).
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import UInt16

from audio_data import InputError, exclusive, storage_path
from audio_tokenize import codecs
from audio_tokenize.codecs.base import AbstractCodec
from audio_tokenize.corpora import AbstractCorpus, CorpusShard, Skipped, Utterance
from audio_tokenize.encoding.clips import (
    Clip,
    Signal,
    batches_by_length,
    long_signals_of,
    read_ahead,
    signals_of,
    speed_of,
)
from audio_tokenize.encoding.plan import EncodePlan
from audio_tokenize.encoding.records import EncodedUtterance, codes_uint16
from audio_tokenize.encoding.shard_files import Chunk, ChunkTrailer, EncodedShardFiles

# Writes that wait for the disk or the network.
_MAX_WAITING = 4
# Clips are sorted by length within a window, which also bounds what is held in memory.
_WINDOW_SECONDS = 240.0
_WINDOW_UTTERANCES = 64
_BATCH_SECONDS = 64.0
# Blocks of a stream are all of one length, for which a codec compiles once.
_BLOCK_SECONDS = 30.0

_Codes = UInt16[np.ndarray, "_ codebooks"]


@dataclass(frozen=True)
class ShardEvent:
    """Something that happened to a shard.

    Attributes:
        index: Of the shard.
        state: `encoding`: some of it is done; `done`: all of it; `held`: another process is at it; `failed`: it cannot
            be read.
        source_seconds: Audio that is done since the last event, each utterance counted once.
        encoded_seconds: Audio that was encoded since the last event, each shifted copy counted.
        num_entries: Entries that are done since the last event.
        quarantined: Those of them that could not be encoded, as `{"id": ..., "reason": ...}`.
        reason: Why it failed.
    """

    index: int
    state: Literal["encoding", "done", "held", "failed"] = "encoding"
    source_seconds: float = 0.0
    encoded_seconds: float = 0.0
    num_entries: int = 0
    quarantined: tuple[Mapping[str, str], ...] = ()
    reason: str = ""


@dataclass(eq=False)
class ShardLease:
    """A shard that no other process works on until `lock` is closed.

    Attributes:
        files: Where it goes.
        source: The corpus' shard it is made of.
        lock: Keeps others away.
        chunks: Trailers of the chunks on disk.
        state: `held` and `done` say why there is nothing to do; `failed`, that its entries cannot be read to the end.
        reason: Why it failed.
    """

    files: EncodedShardFiles
    source: CorpusShard
    lock: ExitStack
    chunks: Sequence[ChunkTrailer] = ()
    state: Literal["encoding", "held", "done", "failed"] = "encoding"
    reason: str = ""


class _Place(NamedTuple):
    """Where an entry stands: its shard, and how many of the shard's entries there are up to it, it included."""

    lease: ShardLease
    number: int


def long_seconds(plan: EncodePlan) -> float:
    """Above which length an utterance is not held but streamed: no signal is ever longer than a batch."""
    are_pieces_short = plan.max_clip_seconds is not None and plan.max_clip_seconds <= _BATCH_SECONDS
    return _WINDOW_SECONDS if are_pieces_short else _BATCH_SECONDS


class BackgroundWriter:
    """Does one thing after the other in a thread, and is never many behind; a context manager.

    Leaving it waits for what was submitted: that is finished work, worth keeping even where the job is being stopped.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="write-codes")
        self._queue: deque[tuple[Future[object], ShardEvent | None]] = deque()

    def __enter__(self) -> "BackgroundWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def submit(self, work: Callable[[], object], event: ShardEvent | None = None) -> None:
        """Do `work` after all that was submitted before.

        Args:
            work: What to do.
            event: What `finished` is to say of it; `None` is not worth saying.
        """
        if len(self._queue) >= _MAX_WAITING:
            self._queue[0][0].result()
        self._queue.append((self._thread.submit(work), event))

    def finished(self, *, wait: bool = False) -> Iterator[ShardEvent]:
        """Yield the events of what has been done since; raises what went wrong there.

        Args:
            wait: For all of it.
        """
        while self._queue and (wait or self._queue[0][0].done()):
            future, event = self._queue.popleft()
            future.result()
            if event is not None:
                yield event


class ShardEncoder:
    """Encodes the clips of a leased shard and gives the writer what is to be written.

    Args:
        lease: The shard; it is released when it is written.
        plan: What the folder is to hold.
        codec: What encodes.
        seconds_per_chunk: Audio that makes a chunk.
        writer: What writes.
    """

    def __init__(
        self,
        lease: ShardLease,
        plan: EncodePlan,
        codec: AbstractCodec,
        seconds_per_chunk: float,
        writer: BackgroundWriter,
    ):
        self._lease, self._plan, self._codec, self._writer = lease, plan, codec, writer
        self._seconds_per_chunk = seconds_per_chunk
        self._num_chunks = len(lease.chunks)
        self._num_in_chunks = sum(chunk.num_entries for chunk in lease.chunks)
        self._begin_chunk()

    def encode(self, clips: Iterable[tuple[int, Clip | None]]) -> Iterator[ShardEvent]:
        """Encode a shard and hand it to the writer, or release it where it cannot be read to its end.

        Args:
            clips: Number of an entry in the shard, from 1, and its clip; the last is the number of all, without one.

        Yields:
            What an earlier run has done, then what is done here.
        """
        for chunk in self._lease.chunks:
            yield self._event(chunk.seconds, 0.0, chunk.num_entries, chunk.skipped)
        for number, clip in clips:
            yield from self._writer.finished()
            if clip is not None and clip.is_long:
                # What came before must be encoded first, since records keep the order of the corpus.
                yield from self._encode_window()
            self._chunk.num_entries = number - self._num_in_chunks
            if clip is None:
                break
            if clip.utterance is None or clip.unusable:
                self._skip(clip.id, clip.unusable)
            elif clip.samples is None:
                yield from self._encode_long(clip.utterance)
            else:
                self._window.append((clip.utterance, clip.samples))
            if self._is_window_full():
                yield from self._encode_window()
            if self._chunk.seconds >= self._seconds_per_chunk and not self._window:
                yield self._progress(0.0, 0.0)
                self._write_chunk()
        index, lease = self._lease.files.index, self._lease
        if lease.state == "failed":
            self._writer.submit(lease.lock.close, ShardEvent(index, "failed", reason=lease.reason))
            return
        yield from self._encode_window()
        self._writer.submit(partial(self._finish, self._chunk), ShardEvent(index, "done"))

    def _begin_chunk(self) -> None:
        self._chunk = Chunk(arithmetic=self._codec.arithmetic)
        self._window: list[tuple[Utterance, Signal]] = []
        self._num_reported = self._skipped_reported = 0

    def _write_chunk(self) -> None:
        self._writer.submit(partial(self._lease.files.write_chunk, self._num_chunks, self._chunk))
        self._num_chunks += 1
        self._num_in_chunks += self._chunk.num_entries
        self._begin_chunk()

    def _finish(self, last: Chunk) -> None:
        self._lease.files.finish(last, self._lease.source.name, self._num_in_chunks + last.num_entries)
        self._lease.lock.close()

    def _skip(self, name: str, reason: str) -> None:
        self._chunk.skipped.append({"id": name, "reason": reason})

    def _is_window_full(self) -> bool:
        seconds = sum(len(samples) for _, samples in self._window) / self._codec.sample_rate_hz
        left = min(_WINDOW_SECONDS, self._seconds_per_chunk - self._chunk.seconds)
        return len(self._window) == _WINDOW_UTTERANCES or (seconds > 0 and seconds >= left)

    def _encode_window(self) -> Iterator[ShardEvent]:
        """Encode a few clips at all frame offsets, signals of similar length together; keep their order."""
        rate_hz, plan = self._codec.sample_rate_hz, self._plan
        jobs = [
            (utterance, samples, frame_offset)
            for utterance, samples in self._window
            for frame_offset in range(plan.frame_offsets_of(utterance.split))
        ]
        signals = [signals_of(*job, plan, self._codec) for job in jobs]
        codes = self._encode([signal for pieces in signals for signal in pieces])
        for (utterance, samples, frame_offset), pieces in zip(jobs, signals, strict=True):
            seconds = len(samples) / rate_hz / speed_of(utterance, frame_offset, plan)
            self._add(utterance, frame_offset, seconds, list(islice(codes, len(pieces))))
        source_seconds = sum(len(samples) for _, samples in self._window) / rate_hz
        encoded_seconds = sum(len(signal) for pieces in signals for signal in pieces) / rate_hz
        self._window = []
        yield self._progress(source_seconds, encoded_seconds)

    def _encode(self, signals: Sequence[Signal]) -> Iterator[_Codes]:
        encoded: dict[int, _Codes] = {}
        max_samples = round(_BATCH_SECONDS * self._codec.sample_rate_hz)
        for batch in batches_by_length([len(signal) for signal in signals], max_samples):
            codes = self._codec.encode_batch([signals[i] for i in batch])
            encoded |= zip(batch, map(codes_uint16, map(np.asarray, codes)), strict=True)
        return iter([encoded[i] for i in range(len(signals))])

    def _encode_long(self, utterance: Utterance) -> Iterator[ShardEvent]:
        """Encode an utterance at all frame offsets as streams: all or, where its audio has a fault, none."""
        plan, rate_hz = self._plan, self._codec.sample_rate_hz
        num_samples, copies = 0, []
        try:
            for frame_offset in range(plan.frame_offsets_of(utterance.split)):
                codes: list[_Codes] = []
                for blocks in long_signals_of(utterance, frame_offset, plan, self._codec, _BLOCK_SECONDS):
                    stream = self._codec.encoder_stream()
                    for block in blocks:
                        codes.append(codes_uint16(stream.push(block)))
                        num_samples += len(block) if frame_offset == 0 else 0
                        yield self._progress(len(block) / rate_hz if frame_offset == 0 else 0.0, len(block) / rate_hz)
                    codes.append(codes_uint16(stream.finish()))
                copies.append(codes)
        except InputError as error:
            self._skip(utterance.id, error.message)
            return
        for frame_offset, codes in enumerate(copies):
            self._add(utterance, frame_offset, num_samples / rate_hz / speed_of(utterance, frame_offset, plan), codes)

    def _add(self, utterance: Utterance, frame_offset: int, seconds: float, codes: Sequence[_Codes]) -> None:
        self._chunk.records.append(
            EncodedUtterance(
                id=utterance.id,
                text=utterance.text,
                speaker=utterance.speaker,
                language=utterance.language,
                recording=utterance.recording,
                split=utterance.split,
                seconds=seconds,
                frame_offset=frame_offset,
                num_frame_offsets=self._plan.frame_offsets_of(utterance.split),
                extra=dict(utterance.extra),
                codes=np.concatenate(codes),
            )
        )

    def _progress(self, source_seconds: float, encoded_seconds: float) -> ShardEvent:
        chunk = self._chunk
        chunk.seconds += source_seconds
        num_entries, self._num_reported = chunk.num_entries - self._num_reported, chunk.num_entries
        skipped, self._skipped_reported = chunk.skipped[self._skipped_reported :], len(chunk.skipped)
        return self._event(source_seconds, encoded_seconds, num_entries, skipped)

    def _event(
        self, source: float, encoded: float, num_entries: int, skipped: Sequence[Mapping[str, str]]
    ) -> ShardEvent:
        return ShardEvent(self._lease.files.index, "encoding", source, encoded, num_entries, tuple(skipped))


SECONDS_PER_CHUNK = 600.0


@dataclass(frozen=True)
class ShardJob:
    """All that a worker needs to know; picklable where the codec is given as a `CodecSpec`.

    Attributes:
        corpus: What is encoded.
        shards: Of the corpus, all of them.
        codec: What encodes.
        plan: What the folder is to hold.
        out: The folder, a path or a URL.
        seconds_per_chunk: Audio that a kill can cost, at most, but for one utterance.
    """

    corpus: AbstractCorpus
    shards: tuple[CorpusShard, ...]
    codec: codecs.CodecSpec | AbstractCodec
    plan: EncodePlan
    out: str
    seconds_per_chunk: float = SECONDS_PER_CHUNK

    def load_codec(self) -> AbstractCodec:
        """Return the codec, loaded where only its spec is given."""
        return codecs.load_codec(self.codec) if isinstance(self.codec, codecs.CodecSpec) else self.codec


def encode_shards(job: ShardJob, codec: AbstractCodec, indices: Iterable[int]) -> Generator[ShardEvent, None, None]:
    """Encode shards one after the other; close the iterator to stop early.

    Args:
        job: What to do.
        codec: The job's, loaded.
        indices: Which shards; asked for the next one while those before are still being encoded.

    Yields:
        What happens, as it happens. `done` is the last event of a shard that is encoded here or was found whole.

    Raises:
        InputError: The disk or the store refuses.
    """
    with ExitStack() as stack:
        entries = stack.enter_context(closing(_entries(job, indices)))
        writer = stack.enter_context(BackgroundWriter())
        clips = read_ahead(entries, codec.sample_rate_hz, job.plan.target_rms, long_seconds=long_seconds(job.plan))
        stack.enter_context(closing(clips))
        for lease, of_shard in groupby(clips, key=lambda item: item[0].lease):
            if lease.state in ("held", "done"):
                yield ShardEvent(lease.files.index, lease.state)
                continue
            shard = ShardEncoder(lease, job.plan, codec, job.seconds_per_chunk, writer)
            yield from shard.encode((place.number, clip) for place, clip in of_shard)
        yield from writer.finished(wait=True)


def _entries(job: ShardJob, indices: Iterable[int]) -> Generator[tuple[_Place, Utterance | Skipped | None], None, None]:
    """Yield the entries of all shards, those in chunks on disk aside, and after those of each shard a `None`."""
    out = storage_path(job.out)
    with ExitStack() as locks:
        for index in indices:
            lock = locks.enter_context(ExitStack())
            lease = ShardLease(EncodedShardFiles(out, index), job.shards[index], lock)
            if not lock.enter_context(exclusive(lease.files.lock)):
                lease.state = "held"
            elif lease.files.is_done():
                lock.close()
                lease.state = "done"
            else:
                lease.chunks = lease.files.chunks()
            yield from _entries_of(lease, job)


def _entries_of(lease: ShardLease, job: ShardJob) -> Iterator[tuple[_Place, Utterance | Skipped | None]]:
    number = sum(chunk.num_entries for chunk in lease.chunks)
    if lease.state == "encoding":
        try:
            for entry in islice(job.corpus.read(lease.source), number, None):
                number += 1
                if isinstance(entry, Skipped) or not job.plan.splits or entry.split in job.plan.splits:
                    yield _Place(lease, number), entry
        except InputError as error:
            lease.state, lease.reason = "failed", error.message
    yield _Place(lease, number), None
