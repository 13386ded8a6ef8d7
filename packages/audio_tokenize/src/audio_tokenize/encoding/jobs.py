"""Encoding a corpus: from recordings to codes on disk, resumable at any moment, by one process or many.

The unit of work is a shard of the corpus. A shard is written whole and its counts after it; while it is in the making
its finished chunks are on disk (`shard_encoder`). So whoever is killed at any moment loses minutes at most, the next
run of the same command does what is missing and nothing twice, and the bytes are those of an undisturbed run.
A shard is held by one process at a time, so many jobs can share a folder (`shard=(i, n)`); whoever finds all shards
done writes the manifest.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from math import fsum
from typing import Any

from audio_data import InputError, Progress, StoragePath, exclusive, make_folder, storage_path, write_sealed_json
from audio_tokenize import codecs
from audio_tokenize.codecs import AbstractCodec, CodecSpec
from audio_tokenize.corpora import AbstractCorpus, Corpus, CorpusShard
from audio_tokenize.encoding.encoded import MANIFEST_NAME, QUARANTINE_NAME, EncodedCorpus, EncodedManifest, EncodedShard
from audio_tokenize.encoding.engines import Engine
from audio_tokenize.encoding.plan import EncodePlan, check_inputs, planned_codec, planned_shards
from audio_tokenize.encoding.quarantine import (
    DEFAULT_MAX_FRACTION,
    QuarantineBudget,
    reasons_by_count,
    write_quarantine,
)
from audio_tokenize.encoding.records import SCHEMA_VERSION
from audio_tokenize.encoding.shard_encoder import SECONDS_PER_CHUNK, ShardEvent, ShardJob
from audio_tokenize.encoding.shard_files import done_shards, read_counts, remove_remains

_LOCK_NAME = ".lock"
_NUM_SHOWN = 3


def encode_corpus(
    corpus: AbstractCorpus,
    codec: AbstractCodec | CodecSpec | str,
    out: str | StoragePath,
    *,
    codec_name: str | None = None,
    num_frame_offsets: int = 1,
    speed_perturbation: float = 0.0,
    target_rms: float | None = None,
    splits: Sequence[str] = (),
    max_clip_seconds: int | float | None = None,
    utterances_per_shard: int = 256,
    seconds_per_chunk: float = SECONDS_PER_CHUNK,
    shard: tuple[int, int] | None = None,
    engine: str = "local",
    num_workers: int | None = None,
    gpus_per_worker: int | float = 0,
    max_quarantined: int | float = DEFAULT_MAX_FRACTION,
    verify_inputs: bool = False,
) -> EncodedManifest | None:
    """Encode a corpus, or go on where an earlier run stopped; a finished one is returned as it is.

    Args:
        corpus: Utterances of a recording side by side, in time order.
        codec: What encodes them. Workers load it by themselves, so for several it must be a spec or a name.
        out: Folder of the codes, a path or a URL; created.
        codec_name: What `load_codec` takes to load `codec`, where that is given as an object; recorded.
        num_frame_offsets: Each utterance of split `train` is encoded N times, the i-th time after silence of i/N of a
            frame: where a frame of 80 ms begins changes most codes.
        speed_perturbation: The shifted copies are played at a speed within 1 ± this, drawn by a hash of the utterance's
            id and the offset; pitch and formants change with the speed. An augmentation for recognition (Ko et al.,
            Interspeech 2015).
        target_rms: Root mean square that each utterance is brought to, full scale being 1; `None` leaves it as it was
            recorded. The embedded codec expects speech near 0.07.
        splits: Splits to encode; none means all.
        max_clip_seconds: Utterances above this length are cut into pieces of it, which are encoded apart; their codes
            one after the other are the utterance's. `yodas2-mm-pretrain` was made with 60. `None` encodes each in one.
        utterances_per_shard: Grain of a corpus that is listed in memory; published ones have shards of their own.
        seconds_per_chunk: Audio that a kill can cost, at most, but for one utterance.
        shard: `(i, n)`: do every n-th shard of the corpus from the i-th on, 0 <= i < n; others do the rest.
        engine: `local` or `ray`.
        num_workers: Processes, or Ray tasks at a time; `None` is this process itself, or all of Ray's processors.
        gpus_per_worker: GPUs, or part of one, that a Ray task asks for. The processes of one machine share what it has.
        max_quarantined: How many utterances may be left out because they cannot be encoded, those included that were
            skipped when the corpus was opened: a count (`int`) or a fraction (`float`), judged where there are more
            than 100. Where a corpus is not listed in memory the fraction is of those seen so far.
        verify_inputs: Compare a sample of every recording (up to 256 KiB of each are read) with that of an earlier run,
            even where its time stamp is as it was. Where it differs, that is done anyway.

    Returns:
        What the folder holds; `None` where shards of others are still missing.

    Raises:
        InputError: Nothing to encode, another plan or codes of other recordings in `out`, another process at work on
            the same shards, a shard that cannot be read, too much in quarantine, or the disk refuses.
    """
    folder = storage_path(out)
    workers = Engine(engine, num_workers, gpus_per_worker)
    encoder, description = _encoder(codec, codec_name, workers)
    corpus, shards = _listed(corpus, splits, utterances_per_shard)
    num_listed = len(corpus.utterances) + len(corpus.skipped) if isinstance(corpus, Corpus) else 0
    budget = QuarantineBudget(max_quarantined, num_listed)
    mine = _mine(len(shards), shard)
    plan = EncodePlan(
        corpus=corpus.name,
        shards=planned_shards(shards),
        codec=planned_codec(description),
        num_frame_offsets=num_frame_offsets,
        speed_perturbation=speed_perturbation,
        target_rms=target_rms,
        splits=tuple(sorted(splits)),
        max_clip_seconds=None if max_clip_seconds is None else float(max_clip_seconds),
    )
    make_folder(folder)
    with exclusive(folder / _LOCK_NAME, wait=True):
        plan.check_same_job(folder)
    check_inputs(corpus, shards, mine, folder, folder / _LOCK_NAME, verify=verify_inputs)
    if not (folder / MANIFEST_NAME).is_file():
        job = ShardJob(corpus, shards, encoder, plan, str(folder), seconds_per_chunk)
        _encode(job, mine, budget, workers)
        with exclusive(folder / _LOCK_NAME, wait=True):
            _finish(corpus, description, plan, folder)
    return EncodedCorpus.open(folder).manifest if (folder / MANIFEST_NAME).is_file() else None


def _encoder(
    codec: AbstractCodec | CodecSpec | str, name: str | None, workers: Engine
) -> tuple[AbstractCodec | CodecSpec, dict[str, Any]]:
    """Return the codec as the workers need it, and what the manifest says of it."""
    if isinstance(codec, AbstractCodec):
        if not workers.is_this_process:
            raise InputError(
                f"`codec` must be given as a name or a CodecSpec, so that workers can load it, got {type(codec)!r}"
            )
        return codec, {**codec.description, "name": name or codec.name}
    spec = CodecSpec(name=codec) if isinstance(codec, str) else codec
    loaded = codecs.load_codec(spec)
    return loaded if workers.is_this_process else spec, {**loaded.description, "name": spec.name}


def summary(manifest: EncodedManifest) -> list[str]:
    """Return what a folder of codes holds, in lines for people.

    Args:
        manifest: Of the folder.
    """
    lines = [
        f"{manifest.num_records:,} records of {manifest.num_utterances:,} utterances of {manifest.corpus}, "
        f"{manifest.seconds / 3600:.2f} h, {manifest.num_frames:,} frames, {len(manifest.skipped):,} skipped"
    ]
    if count := manifest.num_without_transcript:
        lines.append(f"  {count:,} without transcript, for layouts of audio alone")
    reasons = reasons_by_count(manifest.skipped)
    return lines + [f"  skipped {number:,}: {reason}" for reason, number in reasons.items()]


def shard_of_jobs(text: str | None) -> tuple[int, int] | None:
    """`(i, n)` of "i/n", the share of one of n jobs; `None` stays.

    Raises:
        InputError: It is not two whole numbers.
    """
    if text is None:
        return None
    index, _, number = text.partition("/")
    if not (index.isdecimal() and number.isdecimal()):
        raise InputError(f"`--shard` must be I/N, e.g. 0/8 for the first of eight jobs, got {text!r}")
    return int(index), int(number)


def seconds_or_none(text: str) -> float | None:
    """10.0 of "10", and nothing of "none".

    Raises:
        InputError: It is neither.
    """
    try:
        return None if text == "none" else float(text)
    except ValueError as error:
        raise InputError(f"`--attention-window` must be seconds or none, e.g. 10, got {text!r}") from error


def _listed(
    corpus: AbstractCorpus, splits: Sequence[str], utterances_per_shard: int
) -> tuple[AbstractCorpus, tuple[CorpusShard, ...]]:
    """Return the corpus, reduced to the splits where it is listed in memory, and its shards."""
    if not isinstance(corpus, Corpus):
        shards = corpus.shards()
    else:
        if unknown := sorted(set(splits) - set(corpus.splits)):
            raise InputError(
                f"`split` of corpus `{corpus.name}` must be one of {', '.join(corpus.splits)}, got {unknown[0]!r}"
            )
        chosen = tuple(utterance for utterance in corpus if not splits or utterance.split in splits)
        corpus = dataclasses.replace(corpus, utterances=chosen)
        shards = corpus.shards(utterances_per_shard)
    if not shards:
        raise InputError(f"corpus `{corpus.name}` has no utterance: add audio")
    return corpus, shards


def _mine(num_shards: int, shard: tuple[int, int] | None) -> list[int]:
    index, number = shard or (0, 1)
    if not 0 <= index < number:
        raise InputError(f"`shard` must be i/n with 0 <= i < n, e.g. 0/8, got {f'{index}/{number}'!r}")
    return list(range(index, num_shards, number))


def _encode(job: ShardJob, mine: Sequence[int], budget: QuarantineBudget, workers: Engine) -> None:
    """Encode what is missing of `mine`, and say what others hold or cannot be read when all else is done."""
    folder = storage_path(job.out)
    done = done_shards(folder, len(job.shards))
    pending = [index for index in mine if index not in done]
    label = "encode" if len(pending) == len(mine) else "encode (continued)"
    known = [seconds for index in pending if (seconds := job.shards[index].seconds) is not None]
    seconds = fsum(known) if len(known) == len(pending) else None
    with Progress(label, seconds or len(pending), "seconds of audio" if seconds else "shards") as progress:
        watch = _Watch(progress, budget, in_seconds=bool(seconds))
        try:
            for counts in read_counts(folder, sorted(done)):
                budget.count(counts.num_utterances + len(counts.skipped), counts.skipped)
            with closing(workers.run(job, pending)) as events:
                for event in events:
                    watch.note(event)
        except InputError:
            if budget.is_exceeded():
                write_quarantine(folder / QUARANTINE_NAME, budget.entries)
            raise
    watch.require_all(job)


class _Watch:
    """Follow the shards: says how many hours are done and how many times faster than speech, keeps what went wrong."""

    def __init__(self, progress: Progress, budget: QuarantineBudget, *, in_seconds: bool):
        self._progress, self._budget, self._in_seconds = progress, budget, in_seconds
        self._start = time.monotonic()
        self._source_seconds = self._encoded_seconds = 0.0
        self._failed: dict[int, str] = {}
        self._held: list[int] = []

    def note(self, event: ShardEvent) -> None:
        """Take what happened."""
        self._source_seconds += event.source_seconds
        self._encoded_seconds += event.encoded_seconds
        speed = self._encoded_seconds / max(time.monotonic() - self._start, 1e-9)
        amount = event.source_seconds if self._in_seconds else float(event.state == "done")
        self._progress.advance(amount, audio=f"{self._source_seconds / 3600:.2f} h", speed=f"{speed:.0f}x real time")
        self._budget.count(event.num_entries, event.quarantined)
        if event.state == "failed":
            self._failed[event.index] = event.reason
        elif event.state == "held":
            self._held.append(event.index)

    def require_all(self, job: ShardJob) -> None:
        """Raise what kept shards from being done."""
        if self._failed:
            first = list(self._failed.items())[:_NUM_SHOWN]
            reasons = "; ".join(f"`{job.shards[index].name}`: {reason}" for index, reason in first)
            raise InputError(
                f"{len(self._failed)} of {len(job.shards)} shards of corpus `{job.corpus.name}` cannot be read "
                f"({reasons}): restore their files and run the same command again; the other shards are kept"
            )
        if self._held:
            names = ", ".join(f"`{job.shards[index].name}`" for index in self._held[:_NUM_SHOWN])
            raise InputError(
                f"another process is writing {len(self._held)} shards in `{job.out}` ({names}): wait for it, then run "
                "the same command again"
            )


def _finish(corpus: AbstractCorpus, description: Mapping[str, Any], plan: EncodePlan, folder: StoragePath) -> None:
    """Write the manifest if all shards are done, and remove what killed processes left behind."""
    indices = range(len(plan.shards))
    if (folder / MANIFEST_NAME).is_file() or not done_shards(folder, len(plan.shards)).issuperset(indices):
        return
    manifest = _manifest(corpus, description, plan, read_counts(folder, indices))
    if manifest.skipped:
        write_quarantine(folder / QUARANTINE_NAME, manifest.skipped)
    remove_remains(folder)
    write_sealed_json(folder / MANIFEST_NAME, manifest.to_json())


def _manifest(
    corpus: AbstractCorpus, description: Mapping[str, Any], plan: EncodePlan, shards: Sequence[EncodedShard]
) -> EncodedManifest:
    skipped = [dict(entry) for shard in shards for entry in shard.skipped]
    if not any(shard.num_records for shard in shards):
        first = f"; the first, `{skipped[0]['id']}`: {skipped[0]['reason']}" if skipped else ""
        raise InputError(
            f"no utterance of corpus `{corpus.name}` could be encoded ({len(skipped)} skipped{first}): "
            "check its audio and the splits asked for"
        )
    return EncodedManifest(
        schema_version=SCHEMA_VERSION,
        corpus=corpus.name,
        licence=corpus.licence,
        codec=description,
        num_frame_offsets=plan.num_frame_offsets,
        speed_perturbation=plan.speed_perturbation,
        target_rms=plan.target_rms,
        num_utterances=sum(shard.num_utterances for shard in shards),
        num_records=sum(shard.num_records for shard in shards),
        num_frames=sum(shard.num_frames for shard in shards),
        seconds=float(sum(shard.seconds for shard in shards)),
        skipped=tuple(skipped),
        shards=tuple(shards),
        max_clip_seconds=plan.max_clip_seconds,
    )
