"""Encoded utterances by position, in any order."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

from audio_data import InputError, fetch
from audio_tokenize.encoding.encoded import EncodedCorpus, EncodedUtterance, decode_record

if TYPE_CHECKING:
    from types import TracebackType

# An open shard holds its index in memory and a file descriptor.
_OPEN_SHARDS = 16


class RecordReader:
    """Random access to the records of a folder of codes; a context manager.

    Args:
        corpus: The codes. A shard is opened when it is first asked for, and few are open at a time.
    """

    def __init__(self, corpus: EncodedCorpus):
        self._corpus = corpus
        self._stops = np.array(list(accumulate(shard.num_records for shard in corpus.manifest.shards)), np.int64)
        self._open: OrderedDict[int, ArrayRecordReader] = OrderedDict()

    def __enter__(self) -> "RecordReader":
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def read(self, positions: Sequence[int]) -> list[EncodedUtterance]:
        """Return the records at `positions`, in that order.

        Args:
            positions: Each 0 to the number of records less one, counted as the corpus is iterated.

        Raises:
            InputError: A shard is damaged; the message names it.
        """
        return [self._read(int(position)) for position in positions]

    def _read(self, position: int) -> EncodedUtterance:
        shard = int(np.searchsorted(self._stops, position, side="right"))
        first = int(self._stops[shard - 1]) if shard else 0
        path = self._corpus.path / self._corpus.manifest.shards[shard].name
        try:
            return decode_record(self._shard(shard).read([position - first])[0])
        except (RuntimeError, IndexError, InputError) as error:
            # Closing a reader that has failed raises again.
            self._open.pop(shard, None)
            raise InputError(f"`{path}` is damaged ({error}): delete `{path.parent}` and encode again") from error

    def _shard(self, index: int) -> ArrayRecordReader:
        if index not in self._open:
            if len(self._open) == _OPEN_SHARDS:
                self._open.popitem(last=False)[1].close()
            shard = self._corpus.manifest.shards[index]
            self._open[index] = ArrayRecordReader(str(fetch(self._corpus.path / shard.name, sha256=shard.sha256)))
        self._open.move_to_end(index)
        return self._open[index]
