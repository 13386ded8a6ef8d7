"""Speech that continues prompts, up to a maximum length or the end of the context."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32

from audio_data import InputError, Vocabulary
from audio_eval.decoding import generate_within_context
from audio_eval.grammars import audio_automaton
from audio_eval.journal import Journal
from audio_eval.tasks.base import Context
from audio_model import Sampling, TokenAutomaton

Codes = Int32[np.ndarray, "_ codebooks"]


@dataclasses.dataclass(frozen=True, eq=False)
class Continuation:
    """Speech that continues a prompt.

    Attributes:
        codes: Codes of the speech; no frames where the ids are not those of whole frames.
        ended: Whether the end token was generated, after at least one other.
        problem: Why there is no speech; None where there is.
    """

    codes: Codes
    ended: bool = False
    problem: str | None = None


def generate_speech(
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
) -> list[Continuation]:
    """Continue prompts that end inside audio.

    Args:
        context: Gives the model.
        prompts: Token ids.
        keys: Name of each prompt, see `continue_prompts`.
        min_frames: Minimum frames of a continuation; a prompt that leaves space for fewer has none.
        max_frames: Maximum frames; a prompt that leaves space for fewer has its own maximum.
        sampling: How tokens are chosen.
        batch_size: Number of prompts continued together.
        label: Name of the progress line, and of the step in the journal.
        journal: Keeps finished continuations.
        grammar: Whether only whole frames and then the end of audio can follow.
    """
    model, vocabulary = context.checkpoint.model, context.checkpoint.vocabulary
    books, vocab_size = vocabulary.num_codebooks, model.config.vocab_size

    def frames_up_to(limit: int) -> TokenAutomaton:
        return audio_automaton(vocabulary, min_frames=min(min_frames, limit), max_frames=limit, vocab_size=vocab_size)

    continued = generate_within_context(
        model,
        prompts,
        keys,
        automaton=frames_up_to if grammar else None,
        unit=books,
        min_units=min_frames,
        max_units=max_frames,
        stop_id=vocabulary.audio_end,
        sampling=sampling,
        batch_size=batch_size,
        label=label,
        journal=journal,
    )
    continuations = []
    for prompt, (tokens, limit) in zip(prompts, continued, strict=True):
        if tokens is None:
            nothing = np.zeros((0, books), np.int32)
            continuations.append(
                Continuation(nothing, problem=does_not_fit(len(prompt), model.config.max_seq_len, "speech"))
            )
        else:
            continuations.append(Continuation(as_frames(tokens, vocabulary), 0 < len(tokens) < limit * books))
    return continuations


def does_not_fit(num_tokens: int, context: int, what: str) -> str:
    """Say in one line why a prompt has no continuation."""
    return f"{num_tokens} tokens leave no space for {what} in the context of {context}"


def as_frames(tokens: Int32[np.ndarray, " tokens"], vocabulary: Vocabulary) -> Int32[np.ndarray, "frames codebooks"]:
    """Return the codes of generated audio ids, cut to whole frames; none where an id is out of its place."""
    books = vocabulary.num_codebooks
    try:
        return vocabulary.codes(tokens[: len(tokens) // books * books])
    except InputError:
        return np.zeros((0, books), np.int32)
