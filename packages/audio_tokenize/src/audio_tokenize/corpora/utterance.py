"""One transcribed stretch of speech, and a corpus of them in document order."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from audio_data import InputError
from audio_tokenize.waveform import AudioSource

UNKNOWN_SPEAKER = "unknown"
UNDETERMINED_LANGUAGE = "und"  # BCP 47's code for a language nobody stated


class Skipped(NamedTuple):
    """An utterance that cannot be used.

    Attributes:
        id: Its id, or the file's name where it has none.
        reason: Why, in a few words.
    """

    id: str
    reason: str


@dataclass(frozen=True)
class Utterance:
    """One transcribed stretch of speech.

    Attributes:
        id: Unique in its corpus.
        text: Transcript, as given but for white space at its ends; never empty.
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
class Corpus:
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

    def select(self, *, split: str | None = None, speaker: str | None = None, language: str | None = None) -> "Corpus":
        """Keeps the utterances of one split, speaker or language; None keeps all.

        Raises:
            InputError: If nothing is left; names the values there are.
        """
        wanted = {"split": split, "speaker": speaker, "language": language}
        chosen = self.utterances
        for attribute, value in wanted.items():
            if value is None:
                continue
            known = sorted({getattr(utterance, attribute) for utterance in chosen})
            chosen = tuple(utterance for utterance in chosen if getattr(utterance, attribute) == value)
            if not chosen:
                raise InputError(f"`{attribute}` of corpus `{self.name}`: expected one of {known}, got {value!r}")
        return replace(self, utterances=chosen)

    def _values(self, attribute: str) -> tuple[str, ...]:
        return tuple(sorted({getattr(utterance, attribute) for utterance in self.utterances}))
