"""Encoding a corpus: from recordings to codes on disk, resumable at any moment.

The unit of work is a shard: a fixed run of utterances, in corpus order. A shard is written whole and its counts after
it, so a process that is killed at any moment loses at most the shard in hand; the next run of the same command does
what is missing and nothing twice. Since a codec gives the same codes whatever else is in the batch, the outcome does
not depend on where it was stopped.

Audio is read and resampled by threads ahead of the codec, clips of similar length go through it together, and memory is
bounded by seconds of audio, not by the corpus.
"""

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from audio_data import InputError, Progress
from audio_tokenize.clips import Clip, Unreadable, batches_by_length, read_ahead
from audio_tokenize.codecs.base import AbstractCodec
from audio_tokenize.corpora import Corpus, Utterance
from audio_tokenize.encoded import (
    MANIFEST_NAME,
    SCHEMA_VERSION,
    EncodedCorpus,
    EncodedManifest,
    EncodedShard,
    EncodedUtterance,
    codes_uint16,
    shard_from_json,
    write_shard,
)
from audio_tokenize.storage import sole_writer, write_json
from audio_tokenize.waveform import AudioBytes, AudioSource, resample

PLAN_NAME = "plan.json"
# Clips are sorted by length within a window, which also bounds what is held in memory.
_WINDOW_SECONDS = 240.0
_WINDOW_UTTERANCES = 64
_BATCH_SECONDS = 64.0


@dataclass(frozen=True)
class EncodePlan:
    """What a folder of codes is to hold; a second run must ask for the same.

    Attributes:
        schema_version: Of the codes.
        corpus: Name of the corpus.
        corpus_fingerprint: Of its utterances, with their texts and the sizes of their audio files.
        codec_id: Of the codec.
        num_phases: Phases of a train utterance.
        speed_spread: How far the speed of later phases may be from 1.
        level: Root mean square that utterances are brought to; `None` leaves them as they were recorded.
        splits: Splits to encode; none means all.
        utterances_per_shard: Grain of resuming.
        num_utterances: Utterances of those splits.
    """

    schema_version: int
    corpus: str
    corpus_fingerprint: str
    codec_id: str
    num_phases: int
    speed_spread: float
    level: float | None
    splits: tuple[str, ...]
    utterances_per_shard: int
    num_utterances: int


def encode_corpus(
    corpus: Corpus,
    codec: AbstractCodec,
    out: str | Path,
    *,
    codec_name: str = "embedded",
    num_phases: int = 1,
    speed_spread: float = 0.0,
    level: float | None = None,
    splits: Sequence[str] = (),
    utterances_per_shard: int = 256,
) -> EncodedManifest:
    """Encodes a corpus, or goes on where an earlier run stopped; a finished one is returned as it is.

    Args:
        corpus: Utterances of a recording side by side, in time order.
        codec: What encodes them.
        out: Folder of the codes; created.
        codec_name: What `load_codec` takes to load `codec`; recorded.
        num_phases: Each utterance of split `train` is encoded that often, with silence of 0, 1, ... of `num_phases`
            parts of a frame before it; frames of 80 ms make codes depend on where they begin.
        speed_spread: Phases after the first are played at a speed within 1 ± this, drawn by a hash of the utterance's
            id and the phase. Pitch and formants move along, as if another voice spoke: speed perturbation, a common
            augmentation for recognition (Ko et al., Interspeech 2015).
        level: Root mean square that each utterance is brought to, full scale being 1; `None` leaves it as it was
            recorded. The embedded codec expects speech near 0.07.
        splits: Splits to encode; none means all.
        utterances_per_shard: What a kill can cost at most.

    Returns:
        What the folder holds.

    Raises:
        InputError: Nothing to encode, another plan in `out`, another process at work there, or the disk refuses.
    """
    out = Path(out)
    if num_phases < 1:
        raise InputError(f"`num_phases` must be at least 1, got {num_phases!r}")
    if level is not None and not 0 < level < 1:
        raise InputError(f"`level` must be a root mean square between 0 and 1, got {level!r}")
    if not 0 <= speed_spread < 0.5:
        raise InputError(f"`speed_spread` must be in [0, 0.5), got {speed_spread!r}")
    utterances = _select(corpus, splits)
    plan = EncodePlan(
        schema_version=SCHEMA_VERSION,
        corpus=corpus.name,
        corpus_fingerprint=_fingerprint(utterances),
        codec_id=codec.codec_id,
        num_phases=num_phases,
        speed_spread=speed_spread,
        level=level,
        splits=tuple(sorted(splits)),
        utterances_per_shard=utterances_per_shard,
        num_utterances=len(utterances),
    )
    with sole_writer(out):
        _agree(plan, out)
        if not (out / MANIFEST_NAME).is_file():
            shards = [utterances[i : i + utterances_per_shard] for i in range(0, len(utterances), utterances_per_shard)]
            _encode_shards(shards, codec, plan, out)
            write_json(out / MANIFEST_NAME, _manifest(corpus, codec, codec_name, plan, out, len(shards)).to_json())
    return EncodedCorpus.open(out).manifest


def _select(corpus: Corpus, splits: Sequence[str]) -> list[Utterance]:
    if unknown := sorted(set(splits) - set(corpus.splits)):
        raise InputError(
            f"`split` of corpus `{corpus.name}` must be one of {', '.join(corpus.splits)}, got {unknown[0]!r}"
        )
    chosen = [utterance for utterance in corpus if not splits or utterance.split in splits]
    if not chosen:
        raise InputError(f"corpus `{corpus.name}` has no utterance: add audio with text")
    return chosen


def _fingerprint(utterances: Iterable[Utterance]) -> str:
    """Changes with texts, cuts and audio files, but not with the folder that the corpus lies in."""
    digest = hashlib.sha256()
    sizes: dict[AudioSource, int | None] = {}
    for utterance in utterances:
        audio = utterance.audio
        if audio not in sizes:
            sizes[audio] = _num_bytes(audio)
        name = audio.name if isinstance(audio, AudioBytes) else Path(audio).name
        fields = vars(utterance) | {"audio": name, "audio_bytes": sizes[audio]}
        digest.update(json.dumps(fields, sort_keys=True, default=dict).encode())
    return digest.hexdigest()


def _num_bytes(audio: AudioSource) -> int | None:
    if isinstance(audio, AudioBytes):
        return len(audio.content)
    return audio.stat().st_size if audio.is_file() else None


def _agree(plan: EncodePlan, out: Path) -> None:
    """Records the plan in a new folder; refuses a folder that was begun with another."""
    path = out / PLAN_NAME
    wanted = json.loads(json.dumps(dataclasses.asdict(plan)))
    if not path.is_file():
        write_json(path, wanted)
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    for name, value in wanted.items():
        if found.get(name) != value:
            raise InputError(
                f"`{out}` was begun with `{name}` {found.get(name)!r}, now it is {value!r}: "
                "choose another folder, or delete this one to encode anew"
            )


def _encode_shards(shards: Sequence[Sequence[Utterance]], codec: AbstractCodec, plan: EncodePlan, out: Path) -> None:
    pending = [i for i in range(len(shards)) if not (out / _counts_name(i)).is_file()]
    seconds = [utterance.seconds * _num_phases(utterance, plan) for i in pending for utterance in shards[i]]
    label = "encode" if len(pending) == len(shards) else "encode (continued)"
    with Progress(label, sum(seconds), unit="seconds of audio") as progress:
        meter = _Meter(progress)
        with closing(read_ahead((u for i in pending for u in shards[i]), codec.sample_rate_hz, plan.level)) as clips:
            for i in pending:
                encoded, skipped = _encode_shard(clips, len(shards[i]), codec, plan, meter)
                counts = write_shard(out / f"shard-{i:05d}.arrayrecord", encoded, skipped)
                write_json(out / _counts_name(i), dataclasses.asdict(counts))


class _Meter:
    """Says how many hours are done and how many times faster than speech."""

    def __init__(self, progress: Progress):
        self._progress = progress
        self._start = time.monotonic()
        self._seconds = 0.0

    def advance(self, seconds: float) -> None:
        self._seconds += seconds
        speed = self._seconds / max(time.monotonic() - self._start, 1e-9)
        self._progress.advance(seconds, audio=f"{self._seconds / 3600:.2f} h", speed=f"{speed:.0f}x real time")


def _encode_shard(
    clips: Iterator[Clip | Unreadable], num_clips: int, codec: AbstractCodec, plan: EncodePlan, meter: _Meter
) -> tuple[list[EncodedUtterance], list[dict[str, str]]]:
    """Takes the next `num_clips` clips and encodes them, in windows that bound memory."""
    encoded: list[EncodedUtterance] = []
    skipped: list[dict[str, str]] = []
    window: list[Clip] = []
    for remaining in reversed(range(num_clips)):
        clip = next(clips)
        if isinstance(clip, Unreadable):
            skipped.append({"id": clip.utterance.id, "reason": clip.reason})
        else:
            window.append(clip)
        seconds = sum(len(clip.samples) for clip in window) / codec.sample_rate_hz
        if not remaining or len(window) == _WINDOW_UTTERANCES or seconds >= _WINDOW_SECONDS:
            encoded += _encode_window(window, codec, plan, meter)
            window = []
    return encoded, skipped


def _encode_window(
    window: Sequence[Clip], codec: AbstractCodec, plan: EncodePlan, meter: _Meter
) -> list[EncodedUtterance]:
    """Encodes all phases of a few clips, those of similar length together; keeps their order."""
    jobs = [(clip, phase) for clip in window for phase in range(_num_phases(clip.utterance, plan))]
    waveforms = [_waveform(clip, phase, plan, codec) for clip, phase in jobs]
    encoded: dict[int, EncodedUtterance] = {}
    lengths = [len(waveform) for waveform in waveforms]
    for batch in batches_by_length(lengths, round(_BATCH_SECONDS * codec.sample_rate_hz)):
        for i, codes in zip(batch, codec.encode_batch([waveforms[i] for i in batch]), strict=True):
            encoded[i] = _record(*jobs[i], plan, np.asarray(codes), codec.sample_rate_hz)
        meter.advance(sum(len(jobs[i][0].samples) for i in batch) / codec.sample_rate_hz)
    return [encoded[i] for i in range(len(jobs))]


def _waveform(clip: Clip, phase: int, plan: EncodePlan, codec: AbstractCodec) -> Float32[np.ndarray, " samples"]:
    """A phase of a clip: the silence that shifts its frames, then its samples at the phase's speed."""
    rate = codec.sample_rate_hz
    silence = np.zeros(codec.samples_per_frame * phase // plan.num_phases, np.float32)
    return np.concatenate([silence, resample(clip.samples, rate, round(rate / _speed(clip.utterance, phase, plan)))])


def _speed(utterance: Utterance, phase: int, plan: EncodePlan) -> float:
    """Speed of a phase, 1 being as recorded."""
    if phase == 0 or not plan.speed_spread:
        return 1.0
    drawn = int.from_bytes(hashlib.sha256(f"{utterance.id}/{phase}".encode()).digest()[:8]) / 2**64
    return 1.0 + plan.speed_spread * (2.0 * drawn - 1.0)


def _record(clip: Clip, phase: int, plan: EncodePlan, codes: np.ndarray, sample_rate_hz: int) -> EncodedUtterance:
    utterance = clip.utterance
    return EncodedUtterance(
        id=utterance.id,
        text=utterance.text,
        speaker=utterance.speaker,
        language=utterance.language,
        recording=utterance.recording,
        split=utterance.split,
        seconds=len(clip.samples) / sample_rate_hz / _speed(utterance, phase, plan),
        phase=phase,
        num_phases=_num_phases(utterance, plan),
        extra=dict(utterance.extra),
        codes=codes_uint16(codes),
    )


def _num_phases(utterance: Utterance, plan: EncodePlan) -> int:
    return plan.num_phases if utterance.split == "train" else 1


def _counts_name(shard: int) -> str:
    return f"shard-{shard:05d}.json"


def _manifest(
    corpus: Corpus, codec: AbstractCodec, codec_name: str, plan: EncodePlan, out: Path, num_shards: int
) -> EncodedManifest:
    shards = [_read_counts(out / _counts_name(i)) for i in range(num_shards)]
    skipped = [{"id": entry.id, "reason": entry.reason} for entry in corpus.skipped]
    skipped += [dict(entry) for shard in shards for entry in shard.skipped]
    if not any(shard.num_records for shard in shards):
        raise InputError(
            f"no utterance of corpus `{corpus.name}` could be encoded ({len(skipped)} skipped; the first, "
            f"`{skipped[0]['id']}`: {skipped[0]['reason']}): check its audio"
        )
    return EncodedManifest(
        schema_version=SCHEMA_VERSION,
        corpus=corpus.name,
        licence=corpus.licence,
        codec={
            "name": codec_name,
            "id": codec.codec_id,
            "num_codebooks": codec.num_codebooks,
            "codebook_size": codec.codebook_size,
            "sample_rate_hz": codec.sample_rate_hz,
            "frame_rate_hz": codec.frame_rate_hz,
            "attention_window_frames": codec.attention_window_frames,
        },
        num_phases=plan.num_phases,
        speed_spread=plan.speed_spread,
        level=plan.level,
        num_utterances=sum(shard.num_utterances for shard in shards),
        num_records=sum(shard.num_records for shard in shards),
        num_frames=sum(shard.num_frames for shard in shards),
        seconds=float(sum(shard.seconds for shard in shards)),
        skipped=tuple(skipped),
        shards=tuple(shards),
    )


def _read_counts(path: Path) -> EncodedShard:
    return shard_from_json(json.loads(path.read_text(encoding="utf-8")))
