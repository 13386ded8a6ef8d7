"""What every corpus is to a job: shards that are listed cheaply and read one utterance at a time."""

import abc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from audio_tokenize.corpora.utterance import Skipped, Utterance


@dataclass(frozen=True)
class CorpusShard:
    """The unit of a job: one published file, a pair of files, or a run of utterances of a corpus in memory.

    Attributes:
        name: Unique and stable in its corpus, of letters, digits and `._/-`, e.g. `en000/00000012`.
        fingerprint: Changes when what `read` yields may have changed: made of the names and sizes of its files, or of
            the texts and cuts of its utterances.
        num_utterances: How many it holds, where that is known without reading it.
        seconds: Duration of them, where that is known without reading it.
        num_bytes: Size of its files, where that is known.
        files: Paths or URLs it is read from.
    """

    name: str
    fingerprint: str
    num_utterances: int | None = None
    seconds: float | None = None
    num_bytes: int | None = None
    files: tuple[str, ...] = ()


class AbstractCorpus(abc.ABC):
    """Transcribed speech in shards.

    Attributes:
        name: Short name, used for datasets made of it.
        licence: Terms of the audio and the texts, `unknown` for a user's own.
    """

    name: str
    licence: str

    @abc.abstractmethod
    def shards(self) -> tuple[CorpusShard, ...]:
        """List the shards, in order, without opening a published file.

        Raises:
            InputError: If there are none, or they cannot be listed.
        """

    def __iter__(self) -> Iterator[Utterance]:
        """Streams every utterance that can be used, shard by shard."""
        for shard in self.shards():
            yield from (item for item in self.read(shard) if isinstance(item, Utterance))

    def input_files(self, shard: CorpusShard) -> tuple[Path, ...]:
        """Return the local files that `shard` is read from, sorted, as far as they are known.

        Args:
            shard: One of `shards()`.
        """
        return tuple(path for path in map(Path, shard.files) if path.is_file())

    @abc.abstractmethod
    def read(self, shard: CorpusShard) -> Iterator[Utterance | Skipped]:
        """Streams the utterances of `shard` in order, and those that cannot be used with the reason.

        Memory is bounded by one recording, whatever the size of the shard; reading again yields the same. Ids are
        unique in the corpus.

        Args:
            shard: One of `shards()`, perhaps listed in another process.

        Raises:
            InputError: If a file of the shard is missing, cut short or of another layout; names the file, and the
                member where there is one.
        """
