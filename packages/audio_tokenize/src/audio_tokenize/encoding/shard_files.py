"""The files of one shard of codes: chunks while it is being encoded, then the shard and its counts."""

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from audio_data import (
    InputError,
    StoragePath,
    decode_object,
    fetch,
    file_errors,
    from_json,
    read_json,
    remove_file,
    write_records,
    write_sealed_json,
)
from audio_tokenize.encoding.encoded import EncodedShard, check_shard, distinct, write_shard
from audio_tokenize.encoding.records import EncodedUtterance, decode_record, encode_record, read_records

_REMAINS = re.compile(r"\.shard-.*|shard-\d+\.part-.*")
_NUM_REQUESTS = 16


@dataclass
class Chunk:
    """Records of a run of a shard's entries, and what else is known of the run.

    Attributes:
        records: In order.
        skipped: Utterances of the run that could not be encoded, as `{"id": ..., "reason": ...}`.
        num_entries: Entries of the corpus' shard that the run took, used or not.
        seconds: Audio of its utterances, each counted once.
        arithmetic: `AbstractCodec.arithmetic` of what made the codes.
    """

    records: list[EncodedUtterance] = field(default_factory=list)
    skipped: list[Mapping[str, str]] = field(default_factory=list)
    num_entries: int = 0
    seconds: float = 0.0
    arithmetic: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ChunkTrailer:
    """The last record of a chunk, as JSON: what `Chunk` says beside its records."""

    num_entries: int
    seconds: float
    skipped: tuple[Mapping[str, str], ...]
    arithmetic: Mapping[str, Any] = field(default_factory=dict)


class EncodedShardFiles:
    """Where a shard of codes lies.

    A chunk is one file (`shard-00000.part-00000.arrayrecord`), so that it is there or not: its records, then a last one
    that says which entries it took. The shard is its chunks one after the other, wherever they were cut.

    Args:
        out: Folder of the codes.
        index: Of the shard.
    """

    def __init__(self, out: StoragePath, index: int):
        self.index = index
        self._out, self._stem = out, f"shard-{index:05d}"
        self.lock = out / f".{self._stem}.lock"

    def is_done(self) -> bool:
        """Whether the shard is whole."""
        return self._counts.is_file()

    def counts(self) -> EncodedShard:
        """Return the counts of a whole shard.

        Raises:
            InputError: The file is damaged.
        """
        remedy = "delete it and run the same command again, which encodes this shard anew"
        value = read_json(self._counts, remedy=remedy)
        with file_errors(self._counts, remedy):
            shard = from_json(EncodedShard, value, "shard")
            check_shard(shard)
        return shard

    def chunks(self) -> list["ChunkTrailer"]:
        """Return the trailers of the chunks on disk.

        Raises:
            InputError: A chunk is damaged.
        """
        return [trailer for _, trailer in self._chunks_on_disk()]

    def write_chunk(self, number: int, chunk: Chunk) -> None:
        """Write chunk `number`, whole or not at all.

        Raises:
            InputError: The disk or the store refuses.
        """
        trailer = ChunkTrailer(chunk.num_entries, chunk.seconds, tuple(chunk.skipped), chunk.arithmetic)
        content = json.dumps(dataclasses.asdict(trailer)).encode()
        write_records(self._chunk(number), [*map(encode_record, chunk.records), content])

    def finish(self, last: Chunk, source: str, num_entries: int) -> EncodedShard:
        """Join the chunks to the shard and remove them; killed on the way, it can be done again.

        On an object store, which has no locks, another process may have worked on the same shard: one that is whole
        stays as it is, and chunks that another process wrote are refused.

        Args:
            last: What comes after the chunks on disk.
            source: Name of the corpus' shard.
            num_entries: Entries that the chunks on disk and the last one must have taken.

        Returns:
            Its counts.

        Raises:
            InputError: The disk or the store refuses, or another process works on the shard.
        """
        if self.is_done():
            return self.counts()
        chunks = self.chunks()
        found = sum(chunk.num_entries for chunk in chunks) + last.num_entries
        if found != num_entries:
            raise InputError(
                f"parts of `{self._out / self._stem}` must hold {num_entries} entries of `{source}`, got {found!r}: "
                "another process works on this shard; let one end, then run the same command again"
            )
        skipped = [entry for chunk in chunks for entry in chunk.skipped]
        counts = write_shard(self._out / f"{self._stem}.arrayrecord", self._all(last), [*skipped, *last.skipped])
        arithmetic = distinct([*(chunk.arithmetic for chunk in chunks), last.arithmetic])
        counts = dataclasses.replace(counts, source=source, arithmetic=arithmetic)
        write_sealed_json(self._counts, dataclasses.asdict(counts))
        self.remove_chunks()
        return counts

    def remove_chunks(self) -> None:
        """Remove the chunks of the shard that are on disk."""
        for path in reversed(list(self._chunk_paths())):
            remove_file(path)

    def _all(self, last: Chunk) -> Iterator[EncodedUtterance]:
        for records, _ in self._chunks_on_disk():
            yield from records
        yield from last.records

    def _chunks_on_disk(self) -> Iterator[tuple[list[EncodedUtterance], "ChunkTrailer"]]:
        for path in self._chunk_paths():
            with file_errors(path, f"delete the parts of `{self._stem}` and run the same command again"):
                *records, trailer = read_records(fetch(path), bytes)
                found = from_json(ChunkTrailer, decode_object(trailer), "chunk")
                if found.num_entries < 0 or found.seconds < 0:
                    raise InputError(f"a part must have counts from 0, got {found!r:.200}")
                utterances = [decode_record(record) for record in records]
            yield utterances, found

    def _chunk_paths(self) -> Iterator[StoragePath]:
        number = 0
        while self._chunk(number).is_file():
            yield self._chunk(number)
            number += 1

    def _chunk(self, number: int) -> StoragePath:
        return self._out / f"{self._stem}.part-{number:05d}.arrayrecord"

    @property
    def _counts(self) -> StoragePath:
        return self._out / _counts_name(self.index)


def done_shards(out: StoragePath, num_shards: int) -> set[int]:
    """Return which shards of a folder of codes are whole; the folder is listed once.

    Args:
        out: Folder of the codes.
        num_shards: How many there are to be.
    """
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    return {index for index in range(num_shards) if _counts_name(index) in names}


def read_counts(out: StoragePath, indices: Iterable[int]) -> list[EncodedShard]:
    """Return the counts of whole shards; an object store is asked for many at a time.

    Args:
        out: Folder of the codes.
        indices: Of the shards.
    """
    with ThreadPoolExecutor(_NUM_REQUESTS) as pool:
        return list(pool.map(lambda index: EncodedShardFiles(out, index).counts(), indices))


def remove_remains(out: StoragePath) -> None:
    """Remove what killed processes left in a folder of codes whose shards are all done.

    Args:
        out: Folder of the codes.
    """
    for path in list(out.iterdir()):
        if _REMAINS.fullmatch(path.name):
            remove_file(path)


def _counts_name(index: int) -> str:
    return f"shard-{index:05d}.json"
