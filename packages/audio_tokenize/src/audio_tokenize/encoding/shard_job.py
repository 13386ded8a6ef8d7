"""The work itself: shards of a corpus read, encoded and written, with reading, encoding and writing at the same time.

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

from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice

from audio_data import InputError, storage_path
from audio_tokenize import codecs
from audio_tokenize.codecs.base import AbstractCodec
from audio_tokenize.corpora import AbstractCorpus, CorpusShard, Skipped, Utterance
from audio_tokenize.encoding.clips import read_ahead
from audio_tokenize.encoding.locks import exclusive
from audio_tokenize.encoding.plan import EncodePlan
from audio_tokenize.encoding.shard_encoder import BackgroundWriter, ShardEncoder, ShardEvent, ShardLease, long_seconds
from audio_tokenize.encoding.shard_files import EncodedShardFiles

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
