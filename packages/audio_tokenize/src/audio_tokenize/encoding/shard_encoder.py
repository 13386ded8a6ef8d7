"""One shard in the making: clips become records, records parts, and parts the shard."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Literal

import numpy as np
from jaxtyping import UInt16

from audio_data import InputError
from audio_tokenize.codecs.base import AbstractCodec
from audio_tokenize.corpora import CorpusShard, Skipped, Utterance
from audio_tokenize.encoding.clips import Clip, LongClip, Unreadable, batches_by_length
from audio_tokenize.encoding.encoded import EncodedUtterance, codes_uint16
from audio_tokenize.encoding.plan import EncodePlan
from audio_tokenize.encoding.shard_files import EncodedShardFiles, Part, PartTrailer
from audio_tokenize.encoding.signals import Signal, long_signals_of, signals_of, speed_of
from audio_tokenize.encoding.write_behind import WriteBehind

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
        encoded_seconds: Audio that was encoded since the last event, each phase counted.
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
class Claim:
    """A shard that is this process' own until `lock` is closed.

    Attributes:
        files: Where it goes.
        source: The corpus' shard it is made of.
        parts: What the parts on disk say of themselves.
        lock: Keeps others away.
    """

    files: EncodedShardFiles
    source: CorpusShard
    parts: Sequence[PartTrailer]
    lock: ExitStack


class Unwanted:
    """An entry of a split that is not asked for."""


Entry = Clip | LongClip | Unreadable | Skipped | Unwanted


def long_seconds(plan: EncodePlan) -> float:
    """Above which length an utterance is not held but streamed: no signal is ever longer than a batch."""
    are_pieces_short = plan.max_clip_seconds is not None and plan.max_clip_seconds <= _BATCH_SECONDS
    return _WINDOW_SECONDS if are_pieces_short else _BATCH_SECONDS


class ShardEncoder:
    """A claimed shard: takes what was read of it in order, and gives the writer what has become of it.

    Args:
        claim: The shard; it is released when it is written.
        plan: What the folder is to hold.
        codec: What encodes.
        seconds_per_part: Audio that makes a part.
        writer: What writes.
    """

    def __init__(
        self,
        claim: Claim,
        plan: EncodePlan,
        codec: AbstractCodec,
        seconds_per_part: float,
        writer: WriteBehind[ShardEvent],
    ):
        self._claim, self._plan, self._codec, self._writer = claim, plan, codec, writer
        self._seconds_per_part = seconds_per_part
        self._num_parts = len(claim.parts)
        self._num_taken = sum(part.num_entries for part in claim.parts)
        self._part = Part(arithmetic=codec.arithmetic)
        self._window: list[Clip] = []
        self._num_reported = 0
        self._skipped_reported = 0

    def begin(self) -> Iterator[ShardEvent]:
        """Says what an earlier run has done."""
        for part in self._claim.parts:
            yield self._event(part.seconds, 0.0, part.num_entries, part.skipped)

    def take(self, item: Entry) -> Iterator[ShardEvent]:
        """Takes the next entry; encodes when enough have come together."""
        if isinstance(item, LongClip):
            # What came before must be encoded first, since records keep the order of the corpus.
            yield from self._encode_window()
        self._part.num_entries += 1
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
        if self._part.seconds >= self._seconds_per_part and not self._window:
            yield self._progress(0.0, 0.0)
            self._writer.submit(partial(self._claim.files.write_part, self._num_parts, self._part))
            self._num_parts += 1
            self._part = Part(arithmetic=self._codec.arithmetic)
            self._num_reported = self._skipped_reported = 0

    def end(self, reason: str) -> Iterator[ShardEvent]:
        """Write the shard, or release it where it could not be read to its end."""
        index = self._claim.files.index
        if reason:
            self._writer.submit(self._claim.lock.close, ShardEvent(index, "failed", reason=reason))
            return
        yield from self._encode_window()
        self._writer.submit(partial(self._finish, self._part), ShardEvent(index, "done"))

    def _finish(self, last: Part) -> None:
        self._claim.files.finish(last, self._claim.source.name, self._num_taken)
        self._claim.lock.close()

    def _skip(self, name: str, reason: str) -> None:
        self._part.skipped.append({"id": name, "reason": reason})

    def _is_window_full(self) -> bool:
        seconds = sum(len(clip.samples) for clip in self._window) / self._codec.sample_rate_hz
        left = min(_WINDOW_SECONDS, self._seconds_per_part - self._part.seconds)
        return len(self._window) == _WINDOW_UTTERANCES or (seconds > 0 and seconds >= left)

    def _encode_window(self) -> Iterator[ShardEvent]:
        """Encodes all phases of a few clips, signals of similar length together; keeps their order."""
        rate_hz, plan = self._codec.sample_rate_hz, self._plan
        jobs = [(clip, phase) for clip in self._window for phase in range(plan.phases_of(clip.utterance.split))]
        signals = [signals_of(clip, phase, plan, self._codec) for clip, phase in jobs]
        codes = self._encode([signal for pieces in signals for signal in pieces])
        for (clip, phase), pieces in zip(jobs, signals, strict=True):
            seconds = len(clip.samples) / rate_hz / speed_of(clip.utterance, phase, plan)
            self._add(clip.utterance, phase, seconds, list(islice(codes, len(pieces))))
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
        """Encodes all phases of an utterance as streams; all of them or, where its audio has a fault, none."""
        plan, rate_hz = self._plan, self._codec.sample_rate_hz
        num_samples, phases = 0, []
        try:
            for phase in range(plan.phases_of(utterance.split)):
                codes: list[_Codes] = []
                for blocks in long_signals_of(utterance, phase, plan, self._codec, _BLOCK_SECONDS):
                    stream = self._codec.encoder_stream()
                    for block in blocks:
                        codes.append(codes_uint16(stream.push(block)))
                        num_samples += len(block) if phase == 0 else 0
                        yield self._progress(len(block) / rate_hz if phase == 0 else 0.0, len(block) / rate_hz)
                    codes.append(codes_uint16(stream.finish()))
                phases.append(codes)
        except InputError as error:
            self._skip(utterance.id, error.message)
            return
        for phase, codes in enumerate(phases):
            self._add(utterance, phase, num_samples / rate_hz / speed_of(utterance, phase, plan), codes)

    def _add(self, utterance: Utterance, phase: int, seconds: float, codes: Sequence[_Codes]) -> None:
        self._part.records.append(
            EncodedUtterance(
                id=utterance.id,
                text=utterance.text,
                speaker=utterance.speaker,
                language=utterance.language,
                recording=utterance.recording,
                split=utterance.split,
                seconds=seconds,
                phase=phase,
                num_phases=self._plan.phases_of(utterance.split),
                extra=dict(utterance.extra),
                codes=np.concatenate(codes),
            )
        )

    def _progress(self, source_seconds: float, encoded_seconds: float) -> ShardEvent:
        part = self._part
        part.seconds += source_seconds
        num_entries, self._num_reported = part.num_entries - self._num_reported, part.num_entries
        skipped, self._skipped_reported = part.skipped[self._skipped_reported :], len(part.skipped)
        return self._event(source_seconds, encoded_seconds, num_entries, skipped)

    def _event(self, source: float, encoded: float, num_entries: int, skipped: Sequence[Mapping]) -> ShardEvent:
        return ShardEvent(self._claim.files.index, "encoding", source, encoded, num_entries, tuple(skipped))
