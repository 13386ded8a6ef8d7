"""Texts and frames that follow a prompt, a few tokens at a time, under a token grammar."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int32

from audio_data import InputError
from audio_eval.checkpoint import Checkpoint
from audio_eval.decoding import fitting_length
from audio_eval.demo.abilities import ContextBudget
from audio_eval.grammars import audio_automaton, text_automaton
from audio_eval.tasks.speech_to_speech import SpeechTranslationTask
from audio_model import Sampling, stream

MIN_FRAMES = SpeechTranslationTask.min_frames
# A sixth of a second: sound starts soon, and a piece costs little besides its tokens.
_FRAMES_PER_PIECE = 2
_TOKENS_PER_PIECE = 4


def stream_text(
    checkpoint: Checkpoint, budget: ContextBudget, prompt: Int32[np.ndarray, " prompt"], sampling: Sampling
) -> Iterator[Int32[np.ndarray, " _"]]:
    """Write the text that follows a prompt, until `text_end` or the maximum length.

    Args:
        checkpoint: The model and its vocabulary.
        budget: Its context.
        prompt: Ids that end where a text begins.
        sampling: How tokens are chosen.

    Yields:
        All its ids so far, at least once, possibly none.

    Raises:
        InputError: The prompt leaves no space.
    """
    vocabulary, max_tokens = checkpoint.vocabulary, budget.text_tokens
    _check_length(budget, prompt, max_tokens + 1, "text to be written")
    ids = np.zeros(0, np.int32)
    for piece in stream(
        checkpoint.model,
        prompt,
        max_new_tokens=max_tokens + 1,
        tokens_per_piece=_TOKENS_PER_PIECE,
        stop_ids=(vocabulary.text_end,),
        sampling=sampling,
        automaton=text_automaton(vocabulary, max_tokens=max_tokens, vocab_size=checkpoint.model.config.vocab_size),
    ):
        ids = np.concatenate([ids, piece[piece != vocabulary.text_end]])
        yield ids


def stream_frames(
    checkpoint: Checkpoint, prompt: Int32[np.ndarray, " prompt"], sampling: Sampling, max_frames: int
) -> Iterator[Int32[np.ndarray, "frames codebooks"]]:
    """Generate the speech that follows a prompt, until `audio_end`.

    Args:
        checkpoint: The model and its vocabulary.
        prompt: Ids that end where a frame begins.
        sampling: How tokens are chosen.
        max_frames: Maximum frames, see `max_continuation_frames`.

    Yields:
        The next frames, one or more.
    """
    vocabulary, vocab_size = checkpoint.vocabulary, checkpoint.model.config.vocab_size
    books = vocabulary.num_codebooks
    for piece in stream(
        checkpoint.model,
        prompt,
        max_new_tokens=max_frames * books + 1,
        tokens_per_piece=books * _FRAMES_PER_PIECE,
        stop_ids=(vocabulary.audio_end,),
        sampling=sampling,
        automaton=audio_automaton(
            vocabulary, min_frames=min(MIN_FRAMES, max_frames), max_frames=max_frames, vocab_size=vocab_size
        ),
    ):
        said = piece[piece != vocabulary.audio_end]
        if said.size:
            yield vocabulary.codes(said)


def max_continuation_frames(budget: ContextBudget, prompt: Int32[np.ndarray, " prompt"], limit: int) -> int:
    """Return the maximum number of frames that can follow a prompt.

    Args:
        budget: Context of the model.
        prompt: Ids of the prompt.
        limit: Maximum number of frames to return.

    Raises:
        InputError: The prompt leaves no space for the minimum frames of an answer.
    """
    _check_length(budget, prompt, MIN_FRAMES * budget.frame_tokens + 1, "speech to follow")
    return fitting_length(budget.context - prompt.size, budget.frame_tokens, min_units=MIN_FRAMES, max_units=limit)


def _check_length(budget: ContextBudget, prompt: Int32[np.ndarray, " prompt"], needed: int, what: str) -> None:
    surplus = prompt.size + needed - budget.context
    if surplus > 0:
        second = budget.frame_tokens * budget.frame_rate_hz
        raise InputError(
            f"the request must leave {needed} of the model's {budget.context} tokens for {what}, got {prompt.size} "
            f"tokens: give {surplus / second:.1f} s less speech (a second is {second:g} tokens) or a shorter text"
        )
