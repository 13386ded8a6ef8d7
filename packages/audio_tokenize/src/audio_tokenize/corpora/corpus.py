"""What every corpus is to a job: shards that are listed cheaply and read one utterance at a time."""

import abc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audio_tokenize.corpora.record_rules import printable
from audio_tokenize.waveform import AudioSource

UNKNOWN_SPEAKER = "unknown"
UNDETERMINED_LANGUAGE = "und"  # BCP 47's code for a language nobody stated


@dataclass(frozen=True)
class Skipped:
    r"""An utterance that cannot be used. What cannot be written as UTF-8 becomes an escape, such as `\udce9`.

    Attributes:
        id: Its id, or the file's name where it has none.
        reason: Why, in a few words.
    """

    id: str
    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", printable(self.id))
        object.__setattr__(self, "reason", printable(self.reason))


@dataclass(frozen=True)
class Utterance:
    """One transcribed stretch of speech.

    Attributes:
        id: Unique in its corpus.
        text: Transcript, after the transcript rule of its corpus (`transcripts`), most often stripped; never blank.
        audio: The file that holds it, or that file's bytes.
        recording: Id of the recording it is part of; utterances of one recording can form one document.
        seconds: Its duration.
        start_seconds: Where it begins in the file.
        end_seconds: Where it ends, exclusive; None is the end of the file.
        speaker: Who speaks, `unknown` where nobody says.
        language: BCP 47 code, `und` where nobody says.
        split: Part of the corpus: `train`, `heldout`, and so on.
        extra: What else the manifest says, by its own names.
    """

    id: str
    text: str
    audio: AudioSource
    recording: str
    seconds: float
    start_seconds: float = 0.0
    end_seconds: float | None = None
    speaker: str = UNKNOWN_SPEAKER
    language: str = UNDETERMINED_LANGUAGE
    split: str = "train"
    extra: Mapping[str, Any] = field(default_factory=dict)


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
