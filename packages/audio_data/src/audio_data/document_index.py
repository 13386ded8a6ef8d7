"""An index of documents: from a token of a dataset's stream to its shard and record, and back.

What a process keeps of a shard is read when something of the shard is first needed: 4 bytes a document, and 4 more in
shards with documents of several records or of which a part is chosen. (Mapping the files instead would keep a file
descriptor for each: more than a process may have.)
"""

import bisect
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Int, Int32, Int64

from audio_data.manifest import ShardInfo

LoadOffsets = Callable[[int], Int[np.ndarray, " offsets"]]
LoadChosen = Callable[[int], Bool[np.ndarray, " documents"]]


class ShardIndex(NamedTuple):
    """What is known of the documents of one shard.

    Attributes:
        offsets: Where each begins, in tokens of the shard; the last is the number of tokens. An int32 where that will
            do.
        records: The first record of each; None where document `i` is record `i`.
        num_records: Records of the whole shard.
    """

    offsets: Int[np.ndarray, " offsets"]
    records: Int32[np.ndarray, " documents"] | None
    num_records: int

    def first_record(self, document: int) -> int:
        """Return the record with which a document of the shard begins."""
        return document if self.records is None else int(self.records[document])


# Tokens of the stream that lie in one record: which shard, which of its records, the first token and the one after the
# last of those in the record, and the tokens of the whole record. A plain tuple, because several are made for a window.
RecordPart: TypeAlias = tuple[int, int, int, int, int]


class DocumentIndex:
    """The documents of a dataset, end to end, and the records that hold them.

    Args:
        shards: The shards as the manifest describes them.
        tokens_per_record: Tokens of every record of a document but its last.
        load_offsets: Reads where the documents of a shard begin, by the number of the shard.
        load_chosen: Says which documents of a shard there are; None for all. Unlike everything else it is asked of
            every shard at once, because what comes before a document depends on it.
    """

    def __init__(
        self,
        shards: Sequence[ShardInfo],
        tokens_per_record: int,
        load_offsets: LoadOffsets,
        load_chosen: LoadChosen | None = None,
    ):
        self._tokens_per_record = tokens_per_record
        self._load_offsets, self._load_chosen = load_offsets, load_chosen
        self._shards: list[ShardIndex | None] = [None] * len(shards)
        counts = [(shard.num_documents, shard.num_tokens) for shard in shards]
        if load_chosen is not None:
            sizes = ((np.diff(load_offsets(i)), load_chosen(i)) for i in range(len(shards)))
            counts = [(int(chosen.sum()), int(lengths[chosen].sum())) for lengths, chosen in sizes]
        # Looked up once a record read, where a list is several times faster than an array.
        self._first_documents = list(itertools.accumulate((documents for documents, _ in counts), initial=0))
        self._first_tokens = list(itertools.accumulate((tokens for _, tokens in counts), initial=0))

    @property
    def num_shards(self) -> int:
        """Shards, also those of which no document is chosen."""
        return len(self._shards)

    @property
    def num_documents(self) -> int:
        """Documents in all."""
        return self._first_documents[-1]

    @property
    def num_tokens(self) -> int:
        """Tokens in all."""
        return self._first_tokens[-1]

    def shard(self, number: int) -> ShardIndex:
        """Return what is known of a shard; safe to ask from several threads, of which two may then do the same work.

        Args:
            number: Which shard.
        """
        found = self._shards[number]
        if found is None:
            chosen = None if self._load_chosen is None else self._load_chosen(number)
            found = index_shard(self._load_offsets(number), self._tokens_per_record, chosen)
            self._shards[number] = found
        return found

    def place(self, document: int) -> tuple[int, int]:
        """Return the shard of a document, and its number among those of the shard that there are.

        Args:
            document: 0 .. num_documents - 1.
        """
        shard = bisect.bisect_right(self._first_documents, document) - 1
        return shard, document - self._first_documents[shard]

    def span(self, document: int) -> tuple[int, int]:
        """First token of a document in the stream, and the token after its last.

        Args:
            document: 0 .. num_documents - 1.
        """
        shard, within = self.place(document)
        start, stop = self.shard(shard).offsets[within : within + 2].tolist()
        return self._first_tokens[shard] + start, self._first_tokens[shard] + stop

    def documents_of(self, tokens: Int[np.ndarray, " tokens"]) -> Int64[np.ndarray, " tokens"]:
        """Return the document of each of some tokens of the stream.

        Args:
            tokens: Each 0 .. num_tokens - 1.
        """
        shards = np.searchsorted(self._first_tokens, tokens, "right") - 1
        documents = np.empty(tokens.size, np.int64)
        for shard in np.unique(shards).tolist():
            here = shards == shard
            within = np.searchsorted(self.shard(shard).offsets, tokens[here] - self._first_tokens[shard], "right") - 1
            documents[here] = within + self._first_documents[shard]
        return documents

    def token_offsets(self) -> Int64[np.ndarray, " offsets"]:
        """Where each document begins in the stream, and where the last ends: 8 bytes a document, made anew."""
        bases = zip(range(len(self._shards)), self._first_tokens, strict=False)
        starts = (self.shard(i).offsets[:-1].astype(np.int64) + base for i, base in bases)
        return np.concatenate([*starts, np.array([self.num_tokens])])

    def parts(self, start: int, stop: int) -> list[RecordPart]:
        """Return the records that hold a slice of the stream, in order, each with the part inside the slice.

        Args:
            start: First token, 0 .. num_tokens.
            stop: The token after the last.
        """
        found: list[RecordPart] = []
        while start < stop:
            # The last shard that begins here, since those before it that do are empty; so with documents below.
            number = bisect.bisect_right(self._first_tokens, start) - 1
            base = self._first_tokens[number]
            until = min(stop, self._first_tokens[number + 1])
            self._add_parts(found, number, start - base, until - base)
            start = until
        return found

    def _add_parts(self, found: list[RecordPart], number: int, start: int, stop: int) -> None:
        (offsets, records, _), limit = self.shard(number), self._tokens_per_record
        # Of the type of the array, because numpy would else copy all of it into the type of the number.
        document = int(offsets.searchsorted(offsets.dtype.type(start), "right")) - 1
        end = offsets.item(document)
        while start < stop:
            begin, end = end, offsets.item(document + 1)
            record, until = document if records is None else records.item(document), min(stop, end)
            while start < until:
                within, first = divmod(start - begin, limit) if end - begin > limit else (0, start - begin)
                size = min(limit, end - begin - within * limit)
                last = min(size, first + until - start)
                found.append((number, record + within, first, last, size))
                start += last - first
            document += 1


def index_shard(
    offsets: Int[np.ndarray, " offsets"], tokens_per_record: int, chosen: Bool[np.ndarray, " documents"] | None = None
) -> ShardIndex:
    """Return what is known of a shard whose documents are the chosen ones, end to end.

    Args:
        offsets: Where each document of the shard begins, and where the last ends.
        tokens_per_record: Tokens of every record of a document but its last.
        chosen: Which documents there are; all if None.
    """
    records = first_records(offsets, tokens_per_record)
    num_records = offsets.size - 1 if records is None else int(records[-1])
    if chosen is None:
        return ShardIndex(offsets, None if records is None else records[:-1], num_records)
    lengths = np.diff(offsets)[chosen]
    kept = np.concatenate([[0], np.cumsum(lengths)]).astype(offsets.dtype)
    starts = np.arange(offsets.size - 1, dtype=np.int32) if records is None else records[:-1]
    return ShardIndex(kept, starts[chosen], num_records)


def first_records(offsets: Int[np.ndarray, " offsets"], tokens_per_record: int) -> Int32[np.ndarray, " offsets"] | None:
    """Return the first record of each document of a shard, and the number of records; None where each has exactly one.

    Args:
        offsets: Where each document begins in tokens, and where the last ends.
        tokens_per_record: Tokens of every record of a document but its last; an empty document has one record.
    """
    num_records = np.maximum(1, -(-np.diff(offsets) // tokens_per_record))
    if (num_records == 1).all():
        return None
    return np.concatenate([[0], np.cumsum(num_records)]).astype(np.int32)
