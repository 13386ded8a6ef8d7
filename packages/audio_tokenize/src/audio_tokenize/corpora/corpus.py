"""The interface of a corpus, whose shards are listed cheaply and read one utterance at a time; and one in memory."""

import abc
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from audio_data import InputError, nearest
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
    """One stretch of speech, with its transcript where there is one.

    Attributes:
        id: Unique in its corpus.
        text: Transcript, after the rule of its corpus (`TRANSCRIPT_RULES`), most often stripped; empty where there is
            none.
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
    """Speech in shards.

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
        """Stream every utterance that can be used, shard by shard."""
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
        """Stream the utterances of `shard` in order, and those that cannot be used with the reason.

        Memory is bounded by one recording, whatever the size of the shard; reading again yields the same. Ids are
        unique in the corpus.

        Args:
            shard: One of `shards()`, perhaps listed in another process.

        Raises:
            InputError: If a file of the shard is missing, cut short or of another layout; names the file, and the
                member where there is one.
        """


UTTERANCES_PER_SHARD = 256


@dataclass(frozen=True)
class Corpus(AbstractCorpus):
    """Utterances sorted by recording and, inside a recording, by time.

    Attributes:
        name: Short name, used for datasets made of it.
        licence: Terms of the audio and the texts, `unknown` for a user's own.
        utterances: At least one.
        skipped: What was left out of `utterances` while it was opened, with the reason.
    """

    name: str
    licence: str
    utterances: tuple[Utterance, ...]
    skipped: tuple[Skipped, ...] = ()

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.utterances)

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def seconds(self) -> float:
        """Duration of all utterances together."""
        return sum(utterance.seconds for utterance in self.utterances)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, in alphabetical order."""
        return self._values("split")

    @property
    def speakers(self) -> tuple[str, ...]:
        """Names of the speakers, in alphabetical order."""
        return self._values("speaker")

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages, in alphabetical order."""
        return self._values("language")

    def select(
        self, *, split: str | Sequence[str] | None = None, speaker: str | None = None, language: str | None = None
    ) -> "Corpus":
        """Keep the utterances of one split or several, of one speaker or language; None keeps all.

        Raises:
            InputError: If one of them has no utterance; names the values there are.
        """
        chosen = self.utterances
        for attribute, value in {"split": split, "speaker": speaker, "language": language}.items():
            if value is None:
                continue
            values = (value,) if isinstance(value, str) else value
            known = sorted({getattr(utterance, attribute) for utterance in chosen})
            for value in values:
                if value not in known:
                    raise InputError(
                        f"`{attribute}` of corpus `{self.name}`: no utterance has {value!r}; {nearest(value, known)}"
                    )
            chosen = tuple(utterance for utterance in chosen if getattr(utterance, attribute) in values)
        return replace(self, utterances=chosen)

    def shards(self, utterances_per_shard: int = UTTERANCES_PER_SHARD) -> tuple[CorpusShard, ...]:
        """Cut the utterances into runs, named by where they begin and how long they may be, as `00000256-256`.

        Args:
            utterances_per_shard: Utterances of a shard; the last one may have fewer.
        """
        if utterances_per_shard < 1:
            raise InputError(f"`utterances_per_shard` must be at least 1, got {utterances_per_shard!r}")
        return tuple(
            self._shard(start, utterances_per_shard) for start in range(0, len(self.utterances), utterances_per_shard)
        )

    def input_files(self, shard: CorpusShard) -> tuple[Path, ...]:
        """Return the recordings of `shard`, each once."""
        start, length = _run(shard.name)
        run = self.utterances[start : start + length]
        return tuple(sorted({utterance.audio for utterance in run if isinstance(utterance.audio, Path)}))

    def read(self, shard: CorpusShard) -> Iterator[Utterance | Skipped]:
        """Yield the utterances of `shard`; the first shard begins with what was skipped while the corpus was opened.

        Raises:
            InputError: If `shard` is not of this corpus, or the corpus has changed since it was listed.
        """
        start, length = _run(shard.name)
        if not (start < len(self.utterances) and self._shard(start, length) == shard):
            raise InputError(
                f"shard `{shard.name}` of corpus `{self.name}`: expected one of its shards, got one of other contents; "
                "list the shards again"
            )
        if start == 0:
            yield from self.skipped
        yield from self.utterances[start : start + length]

    def _shard(self, start: int, length: int) -> CorpusShard:
        run = self.utterances[start : start + length]
        return CorpusShard(
            name=f"{start:08d}-{length}",
            fingerprint=_fingerprint(run),
            num_utterances=len(run),
            seconds=sum(utterance.seconds for utterance in run),
        )

    def _values(self, attribute: str) -> tuple[str, ...]:
        return tuple(sorted({getattr(utterance, attribute) for utterance in self.utterances}))


def _run(name: str) -> tuple[int, int]:
    """Where a shard of that name begins and how many utterances it may have."""
    start, _, length = name.partition("-")
    if not (start.isdecimal() and length.isdecimal() and int(length) > 0):
        raise InputError(f"shard `{name}`: expected a name such as `00000256-256`; list the shards of this corpus")
    return int(start), int(length)


def _fingerprint(utterances: Sequence[Utterance]) -> str:
    """Return a fingerprint of texts, cuts, labels and audio files; the corpus's folder does not change it."""
    digest = hashlib.sha256()
    sizes: dict[Path, int | None] = {}
    for utterance in utterances:
        audio = utterance.audio
        fields = vars(utterance) | {"audio": Path(str(audio)).name, "audio_bytes": _num_bytes(audio, sizes)}
        digest.update(json.dumps(fields, sort_keys=True, default=dict).encode())
    return digest.hexdigest()


def _num_bytes(audio: AudioSource, sizes: dict[Path, int | None]) -> int | None:
    """Size of an audio file, None where it has gone; each path is asked for once."""
    if not isinstance(audio, Path):
        return len(audio.content)
    if audio not in sizes:
        sizes[audio] = audio.stat().st_size if audio.is_file() else None
    return sizes[audio]
