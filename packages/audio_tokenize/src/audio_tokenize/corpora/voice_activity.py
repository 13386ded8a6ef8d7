"""Long recordings without transcripts as utterances: cut at pauses that voice activity detection finds."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64

from audio_data import InputError
from audio_tokenize.corpora.corpus import AbstractCorpus, CorpusShard, Skipped, Utterance
from audio_tokenize.waveform import audio_pieces

_RATE_HZ = 16_000
_FRAME_SECONDS = 0.03
_SAMPLES_PER_FRAME = round(_FRAME_SECONDS * _RATE_HZ)
# 0 takes most for speech, 3 least.
_AGGRESSIVENESS = 2
# A frame counts as speech where most of a third of a second around it does, so that clicks and dips do not.
_SMOOTHED_FRAMES = 11
_MARGIN_SECONDS = 0.21
_LONGEST_PAUSE_SECONDS = 1.5
_SHORTEST_SECONDS = 0.3


@dataclass(frozen=True)
class SpeechSegments(AbstractCorpus):
    """A corpus whose utterances without transcript are cut into segments of speech; silence is left out.

    A transcribed utterance stays whole, since nothing says which of its words are where. The segments of an utterance
    are part of its recording and are called after their times, as `ID@12.30-25.11`.

    Attributes:
        corpus: What is cut.
        max_seconds: A segment is at most as long. Longer speech is cut at its longest pause, or without one where it is
            least like speech.
    """

    corpus: AbstractCorpus
    max_seconds: float

    def __post_init__(self) -> None:
        _detector()
        if not self.max_seconds >= 1:
            raise InputError(f"`max_seconds` of a segment must be at least 1, got {self.max_seconds!r}")

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]: the other corpus may not change
        """Name of the corpus that is cut."""
        return self.corpus.name

    @property
    def licence(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]: as above
        """Licence of the corpus that is cut."""
        return self.corpus.licence

    def shards(self) -> tuple[CorpusShard, ...]:
        """List the shards of the corpus; what they hold after the cut is not known yet."""
        return tuple(
            replace(shard, fingerprint=self._fingerprint(shard), num_utterances=None, seconds=None)
            for shard in self._by_name.values()
        )

    def input_files(self, shard: CorpusShard) -> tuple[Path, ...]:
        """Return the local files that `shard` is read from."""
        return self.corpus.input_files(self._uncut(shard))

    def read(self, shard: CorpusShard) -> Iterator[Utterance | Skipped]:
        """Stream the utterances of `shard`; see `AbstractCorpus.read`."""
        for item in self.corpus.read(self._uncut(shard)):
            if isinstance(item, Skipped) or item.text:
                yield item
            else:
                yield from _segments_of(item, self.max_seconds)

    @cached_property
    def _by_name(self) -> dict[str, CorpusShard]:
        return {shard.name: shard for shard in self.corpus.shards()}

    def _uncut(self, shard: CorpusShard) -> CorpusShard:
        found = self._by_name.get(shard.name)
        if found is None or self._fingerprint(found) != shard.fingerprint:
            raise InputError(f"shard `{shard.name}` of corpus `{self.name}` has changed; list the shards again")
        return found

    def _fingerprint(self, shard: CorpusShard) -> str:
        settings = [shard.fingerprint, "webrtcvad", _AGGRESSIVENESS, self.max_seconds]
        return hashlib.sha256(json.dumps(settings).encode()).hexdigest()


def _detector():
    try:
        import webrtcvad  # pyright: ignore[reportMissingImports]: an extra
    except ModuleNotFoundError as error:
        raise InputError(
            "cutting at pauses needs webrtcvad, which is not installed: `uv pip install webrtcvad-wheels`"
        ) from error
    return webrtcvad.Vad(_AGGRESSIVENESS)


def _segments_of(utterance: Utterance, max_seconds: float) -> Iterator[Utterance | Skipped]:
    try:
        speech = _is_speech(audio_pieces(utterance.audio, _RATE_HZ, utterance.start_seconds, utterance.end_seconds))
    except InputError as error:
        yield Skipped(utterance.id, error.message)
        return
    spans = speech_spans(speech, max_seconds)
    if not spans:
        yield Skipped(utterance.id, f"`{utterance.audio}`: voice activity detection found no speech")
    for start, end in spans:
        begin = utterance.start_seconds + start
        last = utterance.start_seconds + min(end, utterance.seconds)
        yield replace(
            utterance,
            id=f"{utterance.id}@{begin:.2f}-{last:.2f}",
            seconds=last - begin,
            start_seconds=begin,
            end_seconds=last,
        )


def _is_speech(pieces: Iterable[Float32[np.ndarray, " samples"]]) -> Bool[np.ndarray, " frames"]:
    """Say of every 30 ms at 16 kHz whether it is speech; memory is bounded by a piece."""
    detector, rest, found = _detector(), np.zeros(0, np.float32), list[bool]()
    for piece in pieces:
        rest = np.concatenate([rest, piece])
        whole = len(rest) // _SAMPLES_PER_FRAME
        frames = np.round(np.clip(rest[: whole * _SAMPLES_PER_FRAME], -1, 1) * 32767).astype("<i2")
        rest = rest[whole * _SAMPLES_PER_FRAME :]
        found += [detector.is_speech(frame.tobytes(), _RATE_HZ) for frame in frames.reshape(whole, _SAMPLES_PER_FRAME)]
    return np.array(found, bool)


def speech_spans(speech: Bool[np.ndarray, " frames"], max_seconds: float) -> list[tuple[float, float]]:
    """Segments of speech, in seconds, with a margin around each; neighbours are joined up to the longest allowed.

    Args:
        speech: Whether each frame of 30 ms is speech.
        max_seconds: Longest segment.

    Returns:
        Beginning and end of each segment, in order, none overlapping.
    """
    if not speech.any():
        return []
    share = np.convolve(speech, np.ones(_SMOOTHED_FRAMES) / _SMOOTHED_FRAMES, mode="same")
    margin, longest = round(_MARGIN_SECONDS / _FRAME_SECONDS), int(max_seconds / _FRAME_SECONDS)
    spans: list[tuple[int, int]] = []
    place = 0
    for is_speech, run in groupby(share > 0.5):
        length = len(list(run))
        if is_speech:
            # The margin of the span before may reach into this one's.
            start = max(place - margin, spans[-1][1] if spans else 0)
            spans += _cut(share, start, min(place + length + margin, len(share)), longest)
        place += length
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if (
            joined
            and start - joined[-1][1] <= _LONGEST_PAUSE_SECONDS / _FRAME_SECONDS
            and end - joined[-1][0] <= longest
        ):
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    seconds = [(start * _FRAME_SECONDS, end * _FRAME_SECONDS) for start, end in joined]
    return [(start, end) for start, end in seconds if end - start >= _SHORTEST_SECONDS]


def _cut(share: Float64[np.ndarray, " frames"], start: int, end: int, longest: int) -> list[tuple[int, int]]:
    """Cut a span that is too long where it is least like speech, in the second half of what a segment may hold."""
    cuts = [start]
    while end - cuts[-1] > longest:
        half = cuts[-1] + longest // 2
        cuts.append(half + int(np.argmin(share[half : cuts[-1] + longest])))
    return list(zip(cuts, [*cuts[1:], end], strict=True))
