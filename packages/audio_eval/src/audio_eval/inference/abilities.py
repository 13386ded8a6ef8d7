"""What a model can do: derived from its vocabulary, its context, and the documents that it was trained on."""

import dataclasses
import math
from collections.abc import Mapping

from audio_data import InputError
from audio_eval.checkpoint import Checkpoint
from audio_eval.tasks.seed_tts import SeedTtsTask
from audio_tokenize import layout

TRANSCRIBE, SPEAK, CONTINUE, TRANSLATE = "transcribe", "speak", "continue", "translate"
# Shorter speech holds no word, so a context for less is of no use.
MIN_SECONDS = 0.5
# begin_of_text, audio_start, audio_end, text_start, and the end of the answer.
_MARKERS = 5
# A small context is kept for the speech: an eighth of it for the text is 64 tokens of the quickstart's 512.
_TEXT_SHARE = 8


@dataclasses.dataclass(frozen=True)
class AnswerLimits:
    """How long a request and its answer may be; the model's context may hold less.

    Attributes:
        max_characters: Longest text to speak.
        max_text_tokens: Maximum text tokens of an answer.
        max_frames: Maximum frames of an answer; by default those of task `seed_tts`, 15 s of eight codebooks.

    Raises:
        InputError: A limit that leaves nothing.
    """

    max_characters: int = 1_000
    max_text_tokens: int = 200
    max_frames: int = SeedTtsTask.max_tokens // 8

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if not 0 < (value := getattr(self, field.name)) < math.inf:
                raise InputError(f"`{field.name}` must be above 0 and finite, got {value!r}")


@dataclasses.dataclass(frozen=True)
class ContextBudget:
    """How the context of a model is divided between text and speech.

    Attributes:
        context: Its tokens.
        text_tokens: Tokens reserved for generated text.
        frame_tokens: Tokens of a frame of speech.
        frame_rate_hz: Frames a second.
    """

    context: int
    text_tokens: int
    frame_tokens: int
    frame_rate_hz: float

    @property
    def max_input_seconds(self) -> float:
        """Longest speech whose transcript fits too, 0 for none."""
        return self._seconds(self.context - _MARKERS - self.text_tokens)

    @property
    def max_continued_seconds(self) -> float:
        """Longest speech after which as much again fits."""
        return self._seconds((self.context - _MARKERS) // 2)

    def _seconds(self, tokens: int) -> float:
        return max(0, tokens // self.frame_tokens) / self.frame_rate_hz


def require_audio(checkpoint: Checkpoint) -> None:
    """Refuse a model without audio tokens.

    Raises:
        InputError: Its vocabulary has no audio.
    """
    vocabulary = checkpoint.vocabulary
    if not vocabulary.num_codebooks:
        raise InputError(
            f"`{checkpoint.folder}` must have audio tokens, got vocabulary {vocabulary.name!r} of "
            "text alone: give a checkpoint with codebooks"
        )


def split_context(checkpoint: Checkpoint, frame_rate_hz: float, limits: AnswerLimits) -> ContextBudget:
    """Split the context of a model.

    Args:
        checkpoint: The model and its vocabulary, which has audio.
        frame_rate_hz: Frames a second of its codec.
        limits: Maximum text tokens.
    """
    context = checkpoint.model.config.max_seq_len
    text_tokens = max(1, min(limits.max_text_tokens, context // _TEXT_SHARE))
    return ContextBudget(context, text_tokens, checkpoint.vocabulary.num_codebooks, frame_rate_hz)


def find_abilities(checkpoint: Checkpoint, budget: ContextBudget) -> Mapping[str, str | None]:
    """Return the abilities of a model.

    An ability means that vocabulary and context allow it and that the model was trained on documents of that order, as
    far as its provenance records them; the quality depends on the training.

    Args:
        checkpoint: The model and its vocabulary.
        budget: Its context.

    Returns:
        For each of the four abilities None, or why the model lacks it.
    """
    num_text, name = checkpoint.vocabulary.num_text, checkpoint.vocabulary.name
    silent = None if num_text else f"vocabulary {name!r} has no text"
    texts = silent or _too_short(budget, budget.max_input_seconds, "speech beside a text")
    speech = _too_short(budget, budget.max_continued_seconds, "speech and as much again")
    possible = {TRANSCRIBE: texts, SPEAK: texts, CONTINUE: speech, TRANSLATE: texts or speech}
    return {ability: reason or _untrained(checkpoint, ability) for ability, reason in possible.items()}


def _untrained(checkpoint: Checkpoint, ability: str) -> str | None:
    """Why the documents that a model was trained on do not teach an ability; None if they do or are not recorded."""
    if checkpoint.layouts is None or any(ability in _taught(name) for name in checkpoint.layouts):
        return None
    return f"it was trained on documents of layout {', '.join(sorted(checkpoint.layouts))}, which do not teach that"


def _taught(name: str) -> set[str]:
    """Abilities that documents of a layout teach."""
    spans = layout(name).pattern
    if any(span.segment for span in spans):
        return {TRANSLATE}
    kinds = [span.kind for span in spans]
    taught = {CONTINUE} if "audio" in kinds else set()
    if {"audio", "text"} <= set(kinds):
        taught.add(TRANSCRIBE if kinds.index("audio") < kinds.index("text") else SPEAK)
    return taught


def _too_short(budget: ContextBudget, seconds: float, what: str) -> str | None:
    if seconds >= MIN_SECONDS:
        return None
    return (
        f"the context of {budget.context} tokens holds {seconds:.2f} s of {what}, at least {MIN_SECONDS:g} s is needed"
    )
