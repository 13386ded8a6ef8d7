"""One shard in the making: clips become records, records chunks, and chunks the shard."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Generic, Literal, TypeVar

import numpy as np
from jaxtyping import UInt16

from audio_data import InputError, storage_path
from audio_tokenize import codecs
from audio_tokenize.codecs.base import AbstractCodec
from audio_tokenize.corpora import AbstractCorpus, CorpusShard, Skipped, Utterance
from audio_tokenize.encoding.clips import (
    Clip,
    LongClip,
    Signal,
    Unreadable,
    batches_by_length,
    long_signals_of,
    read_ahead,
    signals_of,
    speed_of,
)
from audio_tokenize.encoding.locks import exclusive
from audio_tokenize.encoding.plan import EncodePlan
from audio_tokenize.encoding.records import EncodedUtterance, codes_uint16
from audio_tokenize.encoding.shard_files import Chunk, ChunkTrailer, EncodedShardFiles

# Writes that wait for the disk or the network.
_MAX_WAITING = 4
_Event = TypeVar("_Event")
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


@dataclass(frozen=True)
class ShardLease:
    """A shard that no other process works on until `lock` is closed.

    Attributes:
        files: Where it goes.
        source: The corpus' shard it is made of.
        chunks: Trailers of the chunks on disk.
        lock: Keeps others away.
    """

    files: EncodedShardFiles
    source: CorpusShard
    chunks: Sequence[ChunkTrailer]
    lock: ExitStack


Entry = Clip | LongClip | Unreadable | Skipped | None
"""What was read of an utterance; None for one of a split that is not asked for."""


def long_seconds(plan: EncodePlan) -> float:
    """Above which length an utterance is not held but streamed: no signal is ever longer than a batch."""
    are_pieces_short = plan.max_clip_seconds is not None and plan.max_clip_seconds <= _BATCH_SECONDS
    return _WINDOW_SECONDS if are_pieces_short else _BATCH_SECONDS


class BackgroundWriter(Generic[_Event]):
    """Does one thing after the other in a thread, and is never many behind; a context manager.

    Leaving it waits for what was submitted: that is finished work, worth keeping even where the job is being stopped.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="write-codes")
        self._queue: deque[tuple[Future[object], _Event | None]] = deque()

    def __enter__(self) -> "BackgroundWriter[_Event]":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def submit(self, work: Callable[[], object], event: _Event | None = None) -> None:
        """Do `work` after all that was submitted before.

        Args:
            work: What to do.
            event: What `finished` is to say of it; `None` is not worth saying.
        """
        if len(self._queue) >= _MAX_WAITING:
            self._queue[0][0].result()
        self._queue.append((self._thread.submit(work), event))

    def finished(self, *, wait: bool = False) -> Iterator[_Event]:
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
    """Encodes a leased shard: takes its entries in order and gives the writer what is to be written.

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
        writer: BackgroundWriter[ShardEvent],
    ):
        self._lease, self._plan, self._codec, self._writer = lease, plan, codec, writer
        self._seconds_per_chunk = seconds_per_chunk
        self._num_chunks = len(lease.chunks)
        self._num_taken = sum(chunk.num_entries for chunk in lease.chunks)
        self._chunk = Chunk(arithmetic=codec.arithmetic)
        self._window: list[Clip] = []
        self._num_reported = 0
        self._skipped_reported = 0

    def begin(self) -> Iterator[ShardEvent]:
        """Says what an earlier run has done."""
        for chunk in self._lease.chunks:
            yield self._event(chunk.seconds, 0.0, chunk.num_entries, chunk.skipped)

    def take(self, item: Entry) -> Iterator[ShardEvent]:
        """Take the next entry; encode when enough have come together."""
        if isinstance(item, LongClip):
            # What came before must be encoded first, since records keep the order of the corpus.
            yield from self._encode_window()
        self._chunk.num_entries += 1
        self._num_taken += 1
        if isinstance(item, Clip):
            self._window.append(item)
        elif isinstance(item, LongClip):
            yield from self._encode_long(item.utterance)
        elif isinstance(item, Unreadable):
            self._skip(item.utterance.id, item.reason)
        elif isinstance(item, Skipped):
            self._skip(item.id, item.reason)
        if self._is_window_full():
            yield from self._encode_window()
        if self._chunk.seconds >= self._seconds_per_chunk and not self._window:
            yield self._progress(0.0, 0.0)
            self._writer.submit(partial(self._lease.files.write_chunk, self._num_chunks, self._chunk))
            self._num_chunks += 1
            self._chunk = Chunk(arithmetic=self._codec.arithmetic)
            self._num_reported = self._skipped_reported = 0

    def end(self, reason: str) -> Iterator[ShardEvent]:
        """Write the shard, or release it where it could not be read to its end."""
        index = self._lease.files.index
        if reason:
            self._writer.submit(self._lease.lock.close, ShardEvent(index, "failed", reason=reason))
            return
        yield from self._encode_window()
        self._writer.submit(partial(self._finish, self._chunk), ShardEvent(index, "done"))

    def _finish(self, last: Chunk) -> None:
        self._lease.files.finish(last, self._lease.source.name, self._num_taken)
        self._lease.lock.close()

    def _skip(self, name: str, reason: str) -> None:
        self._chunk.skipped.append({"id": name, "reason": reason})

    def _is_window_full(self) -> bool:
        seconds = sum(len(clip.samples) for clip in self._window) / self._codec.sample_rate_hz
        left = min(_WINDOW_SECONDS, self._seconds_per_chunk - self._chunk.seconds)
        return len(self._window) == _WINDOW_UTTERANCES or (seconds > 0 and seconds >= left)

    def _encode_window(self) -> Iterator[ShardEvent]:
        """Encode a few clips at all frame offsets, signals of similar length together; keep their order."""
        rate_hz, plan = self._codec.sample_rate_hz, self._plan
        jobs = [
            (clip, frame_offset)
            for clip in self._window
            for frame_offset in range(plan.frame_offsets_of(clip.utterance.split))
        ]
        signals = [signals_of(clip, frame_offset, plan, self._codec) for clip, frame_offset in jobs]
        codes = self._encode([signal for pieces in signals for signal in pieces])
        for (clip, frame_offset), pieces in zip(jobs, signals, strict=True):
            seconds = len(clip.samples) / rate_hz / speed_of(clip.utterance, frame_offset, plan)
            self._add(clip.utterance, frame_offset, seconds, list(islice(codes, len(pieces))))
        source_seconds = sum(len(clip.samples) for clip in self._window) / rate_hz
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

    def _event(self, source: float, encoded: float, num_entries: int, skipped: Sequence[Mapping]) -> ShardEvent:
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
        source = stack.enter_context(closing(_entries(job, indices)))
        writer = stack.enter_context(BackgroundWriter[ShardEvent]())
        clips = read_ahead(source, codec.sample_rate_hz, job.plan.target_rms, long_seconds=long_seconds(job.plan))
        shard: ShardEncoder | None = None
        for item in stack.enter_context(closing(clips)):
            yield from writer.finished()
            if isinstance(item, ShardEvent):
                yield item
            elif isinstance(item, ShardLease):
                shard = ShardEncoder(item, job.plan, codec, job.seconds_per_chunk, writer)
                yield from shard.begin()
            elif shard is not None:
                yield from shard.end(item.reason) if isinstance(item, _End) else shard.take(item)
        yield from writer.finished(wait=True)


@dataclass(frozen=True)
class _End:
    """Behind the last entry of a shard that can be read; `reason` says why there are no more, where that is a fault."""

    reason: str = ""


_Entry = Utterance | Skipped | None | ShardLease | _End | ShardEvent


def _entries(job: ShardJob, indices: Iterable[int]) -> Generator[_Entry, None, None]:
    """Yield the entries of all shards that no other process holds, after those that chunks on disk already hold."""
    out = storage_path(job.out)
    with ExitStack() as locks:
        for index in indices:
            files = EncodedShardFiles(out, index)
            lock = locks.enter_context(ExitStack())
            if not lock.enter_context(exclusive(files.lock)):
                yield ShardEvent(index, "held")
            elif files.is_done():
                lock.close()
                yield ShardEvent(index, "done")
            else:
                lease = ShardLease(files, job.shards[index], files.chunks(), lock)
                yield lease
                yield from _entries_of(lease, job)


def _entries_of(lease: ShardLease, job: ShardJob) -> Iterator[_Entry]:
    num_taken = sum(chunk.num_entries for chunk in lease.chunks)
    splits = job.plan.splits
    try:
        for entry in islice(job.corpus.read(lease.source), num_taken, None):
            is_wanted = isinstance(entry, Skipped) or not splits or entry.split in splits
            yield entry if is_wanted else None
    except InputError as error:
        yield _End(error.message)
    else:
        yield _End()
