"""What a checkpoint can do in the demo: derived from its vocabulary and the length of its context."""

import dataclasses
from collections.abc import Mapping

from audio_data import InputError
from audio_eval.checkpoint import Checkpoint
from audio_eval.demo.limits import Limits

TRANSCRIBE, SPEAK, CONTINUE, TRANSLATE = "transcribe", "speak", "continue", "translate"
# Shorter speech holds no word, so a context that has room for no more is of no use.
MIN_SECONDS = 0.5
# begin_of_text, audio_start, audio_end, text_start, and the end of the answer.
_MARKERS = 5
# A small context is kept for the speech: an eighth of it for the text is 64 tokens of the quickstart's 512.
_TEXT_SHARE = 8


@dataclasses.dataclass(frozen=True)
class Room:
    """What the context of a model holds.

    Attributes:
        context: Its tokens.
        text_tokens: Those kept for a text that is written.
        frame_tokens: Tokens of a frame of speech.
        frame_rate_hz: Frames a second.
    """

    context: int
    text_tokens: int
    frame_tokens: int
    frame_rate_hz: float

    @property
    def listening_seconds(self) -> float:
        """Longest speech that leaves room for a text about it, 0 for none."""
        return self._seconds(self.context - _MARKERS - self.text_tokens)

    @property
    def sharing_seconds(self) -> float:
        """Longest speech that leaves room for as much again."""
        return self._seconds((self.context - _MARKERS) // 2)

    def _seconds(self, tokens: int) -> float:
        return max(0, tokens // self.frame_tokens) / self.frame_rate_hz


def require_audio(checkpoint: Checkpoint) -> None:
    """Refuse a model that can neither hear nor speak.

    Raises:
        InputError: Its vocabulary has no audio.
    """
    vocabulary = checkpoint.vocabulary
    if not vocabulary.num_codebooks:
        raise InputError(
            f"`{checkpoint.folder}` must have audio tokens to hear or speak, got vocabulary {vocabulary.name!r} of "
            "text alone: give a checkpoint with codebooks"
        )


def measure_room(checkpoint: Checkpoint, frame_rate_hz: float, limits: Limits) -> Room:
    """Split the context of a model.

    Args:
        checkpoint: The model and its vocabulary, which has audio.
        frame_rate_hz: Frames a second of its codec.
        limits: Maximum text tokens.
    """
    context = checkpoint.model.config.max_seq_len
    text_tokens = max(1, min(limits.max_text_tokens, context // _TEXT_SHARE))
    return Room(context, text_tokens, checkpoint.vocabulary.num_codebooks, frame_rate_hz)


def find_abilities(checkpoint: Checkpoint, room: Room) -> Mapping[str, str | None]:
    """Return the abilities of a model.

    Whether it learned to do it is another matter, which its data decides.

    Args:
        checkpoint: The model and its vocabulary.
        room: What its context holds.

    Returns:
        For each of the four abilities None, or why the model lacks it.
    """
    num_text, name = checkpoint.vocabulary.num_text, checkpoint.vocabulary.name
    silent = None if num_text else f"vocabulary {name!r} has no text"
    texts = silent or _too_short(room, room.listening_seconds, "speech beside a text")
    speech = _too_short(room, room.sharing_seconds, "speech and as much again")
    return {TRANSCRIBE: texts, SPEAK: texts, CONTINUE: speech, TRANSLATE: texts or speech}


def _too_short(room: Room, seconds: float, what: str) -> str | None:
    if seconds >= MIN_SECONDS:
        return None
    return f"the context of {room.context} tokens holds {seconds:.2f} s of {what}, at least {MIN_SECONDS:g} s is needed"
