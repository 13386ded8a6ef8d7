"""Speech that follows prompts, each as long as is wanted or as the context has room for."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32

from audio_data import InputError, Vocabulary
from audio_eval.decoding import continue_in_room
from audio_eval.grammars import audio_automaton
from audio_eval.journal import Journal
from audio_eval.tasks.base import Context
from audio_model import Sampling, TokenAutomaton

Codes = Int32[np.ndarray, "_ codebooks"]


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
    """What follows a prompt.

    Attributes:
        codes: What is said; no frames where there are none that mean a sound.
        ended: Whether it ended by itself, after at least a token.
        problem: Why there is no answer, None where there is one.
    """

    codes: Codes
    ended: bool = False
    problem: str | None = None


def speak(
    context: Context,
    prompts: Sequence[Int32[np.ndarray, " _"]],
    keys: Sequence[str],
    *,
    min_frames: int,
    max_frames: int,
    sampling: Sampling,
    batch_size: int,
    label: str,
    journal: Journal,
    grammar: bool = True,
) -> list[Answer]:
    """Continues prompts that end inside audio.

    Args:
        context: Gives the model.
        prompts: Token ids.
        keys: Name of each prompt, see `continue_prompts`.
        min_frames: Fewest frames of an answer.
        max_frames: Most; a prompt that leaves room for fewer has its own limit, for fewer than the fewest no answer.
        sampling: How tokens are chosen.
        batch_size: Prompts continued together.
        label: Name of the progress line, and of the step in the journal.
        journal: Keeps what was continued already.
        grammar: Whether whole frames, then the end of audio, are all that can follow.
    """
    model, vocabulary = context.checkpoint.model, context.checkpoint.vocabulary
    books, vocab_size = vocabulary.num_codebooks, model.config.vocab_size

    def frames_up_to(most: int) -> TokenAutomaton:
        return audio_automaton(vocabulary, min_frames=min(min_frames, most), max_frames=most, vocab_size=vocab_size)

    continued = continue_in_room(
        model,
        prompts,
        keys,
        automaton=frames_up_to if grammar else None,
        unit=books,
        least=min_frames,
        most=max_frames,
        stop_id=vocabulary.audio_end,
        sampling=sampling,
        batch_size=batch_size,
        label=label,
        journal=journal,
    )
    answers = []
    for prompt, (tokens, most) in zip(prompts, continued, strict=True):
        if tokens is None:
            nothing = np.zeros((0, books), np.int32)
            answers.append(Answer(nothing, problem=no_room(len(prompt), model.config.max_seq_len, "speech")))
        else:
            answers.append(Answer(as_frames(tokens, vocabulary), 0 < len(tokens) < most * books))
    return answers


def no_room(num_tokens: int, context: int, what: str) -> str:
    """Why a prompt has no answer, in one line."""
    return f"{num_tokens} tokens leave no room for {what} in the context of {context}"


def as_frames(tokens: Int32[np.ndarray, " tokens"], vocabulary: Vocabulary) -> Int32[np.ndarray, "frames codebooks"]:
    """Codes of generated audio ids, cut to whole frames; none where an id is out of its place."""
    books = vocabulary.num_codebooks
    try:
        return vocabulary.codes(tokens[: len(tokens) // books * books])
    except InputError:
        return np.zeros((0, books), np.int32)
