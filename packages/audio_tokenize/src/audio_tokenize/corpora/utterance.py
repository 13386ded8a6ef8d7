"""One transcribed stretch of speech, and one that cannot be used."""

from collections.abc import Mapping
from dataclasses import dataclass, field
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
