"""One utterance that is to be spoken."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from voices import Voice


@dataclass(frozen=True)
class Line:
    """Who says what, how fast, and what the manifest says of it.

    Attributes:
        id: Unique in its corpus.
        text: What is said, as the transcript spells it.
        voice: Who says it.
        speed: Speech rate relative to the voice's own.
        split: `train`, `heldout` or `heldout-VOICE`.
        recording: Name of the recording it belongs to; long ones are cut into several.
        language: BCP 47 code.
        extra: Further fields of the manifest.
    """

    id: str
    text: str
    voice: Voice
    speed: float
    split: str
    recording: str
    language: str = "en"
    extra: Mapping[str, str] = field(default_factory=dict)

    def fields(self) -> dict[str, str | float]:
        """Return the manifest's fields, but for the place in the recording."""
        return {
            "id": self.id,
            "text": self.text,
            "speaker": self.voice.speaker,
            "language": self.language,
            "split": self.split,
            "speed": self.speed,
            **self.extra,
        }
