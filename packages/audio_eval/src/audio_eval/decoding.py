"""Token automata of generated speech and text, and the continuation of many prompts under them.

A prompt that does not fit has no continuation.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click
import numpy as np
from jaxtyping import Int, Int32

from audio_data import InputError, Progress, Vocabulary
from audio_eval.journal import Journal
from audio_model import Qwen3x, Sampling, TokenAutomaton, generate


def audio_automaton(
    vocabulary: Vocabulary,
    *,
    min_frames: int,
    max_frames: int,
    num_codebooks: int | None = None,
    vocab_size: int | None = None,
) -> TokenAutomaton:
    """Make the grammar of speech after `audio_start`: whole frames, codebooks in order, then `audio_end`.

    Args:
        vocabulary: Vocabulary with the id range of each codebook.
        min_frames: Minimum number of frames, 0 or more (12.5 frames are a second).
        max_frames: Maximum number of frames, at least `min_frames` and at least 1.
        num_codebooks: Number of leading codebooks in a frame; all of the vocabulary's by default.
        vocab_size: Number of token ids of the model, where it has more than the vocabulary; the others are forbidden.

    Raises:
        InputError: The bounds contradict each other or the vocabulary.
    """
    books = vocabulary.num_codebooks if num_codebooks is None else num_codebooks
    if not 1 <= books <= vocabulary.num_codebooks:
        raise InputError(f"`num_codebooks` must be 1 to {vocabulary.num_codebooks}, got {books!r}")
    _check_bounds("frames", min_frames, max_frames)
    slots = [[vocabulary.audio_range(book)] for book in range(books)]
    size = vocab_size or vocabulary.size
    return TokenAutomaton.cycles(size, slots, vocabulary.audio_end, minimum=min_frames, maximum=max_frames)


def text_automaton(
    vocabulary: Vocabulary, *, max_tokens: int, min_tokens: int = 0, vocab_size: int | None = None
) -> TokenAutomaton:
    """Make the grammar of text after `text_start`: text ids, then `text_end`.

    Args:
        vocabulary: Vocabulary with the text ids; its begin and end of text are none, even inside their range.
        max_tokens: Maximum number of text tokens, at least 1.
        min_tokens: Minimum number of text tokens, 0 to `max_tokens`.
        vocab_size: Number of token ids of the model, where it has more than the vocabulary; the others are forbidden.

    Raises:
        InputError: The bounds contradict each other.
    """
    _check_bounds("tokens", min_tokens, max_tokens)
    # A Llama-3 tokenizer counts its begin and end of text among the text ids.
    specials = (vocabulary.begin_of_text, vocabulary.end_of_text, vocabulary.text_end)
    inside = sorted(one for one in specials if one < vocabulary.num_text)
    ranges = zip([0, *(one + 1 for one in inside)], [*inside, vocabulary.num_text], strict=True)
    slot = [(start, stop) for start, stop in ranges if start < stop]
    size = vocab_size or vocabulary.size
    return TokenAutomaton.cycles(size, [slot], vocabulary.text_end, minimum=min_tokens, maximum=max_tokens)


def _check_bounds(what: str, minimum: int, maximum: int) -> None:
    if minimum < 0:
        raise InputError(f"`min_{what}` must be 0 or more, got {minimum!r}")
    if maximum < max(1, minimum):
        raise InputError(f"`max_{what}` must be at least {max(1, minimum)}, got {maximum!r}")


# Batches between two progress reports and writes of the journal; a kill loses at most these.
_BATCHES_PER_CALL = 4
_STREAM_BYTES = 4
_NUM_SEEDS = 2**32
# A program is compiled for each greatest length of an answer: close ones share theirs.
_LENGTH_STEP = 12
# Shorter prompts are padded to this many tokens, longer ones to a power of two.
_SHORTEST = 32


def continue_prompts(
    model: Qwen3x,
    prompts: Sequence[Int[np.ndarray, " _"]],
    keys: Sequence[str],
    *,
    automaton: TokenAutomaton | None,
    stop_id: int,
    sampling: Sampling,
    max_new_tokens: int,
    batch_size: int,
    label: str,
    journal: Journal | None = None,
) -> list[Int32[np.ndarray, " _"] | None]:
    """Continue each prompt until the stop id.

    A continuation depends on the seed, the key and the prompt: not on the other prompts, nor on their order. Another
    batch size changes it by rounding alone.

    Args:
        model: The model.
        prompts: Token ids.
        keys: Name of each prompt, unique among them, such as the id of its item.
        automaton: Grammar of what follows a prompt, None where anything may.
        stop_id: Token that ends a continuation.
        sampling: How tokens are chosen; its seed and the prompt's key drive the draws.
        max_new_tokens: Maximum tokens to add, the stop id included.
        batch_size: Number of prompts computed together.
        label: Name of the progress line, and of the step in the journal.
        journal: Keeps finished continuations by key.

    Returns:
        For each prompt its continuation without the stop id, or None where prompt and continuation exceed the model's
        context: a task counts that as an error, so that a long item cannot improve a score by being skipped.
    """
    longest = model.config.max_seq_len - max_new_tokens
    fitting = [index for index in range(len(prompts)) if len(prompts[index]) <= longest]
    found = {key: np.array(tokens, np.int32) for key, tokens in (journal.known(label) if journal else {}).items()}
    waiting = [index for index in fitting if keys[index] not in found]
    if missing := len(prompts) - len(fitting):
        without = f"{missing:,} of {len(prompts):,} prompts leave no space in the context of {model.config.max_seq_len}"
        click.echo(f"{label}: {without}, and get no answer", err=True)
    with Progress(label, len(fitting), unit="items", done=len(fitting) - len(waiting)) as progress:
        for members in _calls([len(prompt) for prompt in prompts], waiting, batch_size * _BATCHES_PER_CALL):
            continued = generate(
                model,
                [prompts[index] for index in members],
                max_new_tokens=max_new_tokens,
                stop_ids=(stop_id,),
                sampling=sampling,
                automaton=automaton,
                seeds=[stream_of(keys[index]) for index in members],
                batch_size=batch_size,
            )
            new = {keys[index]: tokens for index, tokens in zip(members, continued, strict=True)}
            if journal is not None:
                journal.record(label, {key: tokens.tolist() for key, tokens in new.items()})
            found |= new
            progress.advance(len(members))
    results: list[Int32[np.ndarray, " _"] | None] = [None] * len(prompts)
    for index in fitting:
        tokens = found[keys[index]]
        results[index] = tokens[:-1] if len(tokens) and tokens[-1] == stop_id else tokens
    return results


def fitting_length(free: int, unit: int, *, min_units: int, max_units: int) -> int:
    """Return the maximum length of a continuation.

    Args:
        free: Tokens of the context after the prompt.
        unit: Tokens of a unit of length, such as the number of codebooks of a frame.
        min_units: Minimum units of a continuation.
        max_units: Maximum units.

    Returns:
        `max_units` where it fits beside the end token; else what fits, in steps; 0 for less than `min_units`.
    """
    fitting = (free - 1) // unit
    if fitting >= max_units:
        return max_units
    return max(min_units, fitting // _LENGTH_STEP * _LENGTH_STEP) if fitting >= max(1, min_units) else 0


def generate_within_context(
    model: Qwen3x,
    prompts: Sequence[Int[np.ndarray, " _"]],
    keys: Sequence[str],
    *,
    automaton: Callable[[int], TokenAutomaton] | None,
    unit: int,
    min_units: int,
    max_units: int,
    **options: Any,
) -> list[tuple[Int32[np.ndarray, " _"] | None, int]]:
    """Continue each prompt up to a maximum length or the end of the context.

    Args:
        model: The model.
        prompts: Token ids.
        keys: Name of each prompt, see `continue_prompts`.
        automaton: Makes the grammar of continuations of at most a number of units; None for no constraint.
        unit: Tokens of a unit of length, such as the number of codebooks of a frame.
        min_units: Minimum units of a continuation; a prompt that leaves space for fewer has none.
        max_units: Maximum units.
        **options: As for `continue_prompts`.

    Returns:
        For each prompt its continuation, or None without space for one; and the maximum units of it.
    """
    longest = [
        fitting_length(model.config.max_seq_len - len(prompt), unit, min_units=min_units, max_units=max_units)
        for prompt in prompts
    ]
    found: list[tuple[Int32[np.ndarray, " _"] | None, int]] = [(None, 0)] * len(prompts)
    for length in sorted(set(longest), reverse=True):
        members = [index for index, own in enumerate(longest) if own == length]
        continued = continue_prompts(
            model,
            [prompts[index] for index in members],
            [keys[index] for index in members],
            automaton=None if automaton is None else automaton(length or max_units),
            max_new_tokens=(length or max_units) * unit + 1,
            **options,
        )
        for index, tokens in zip(members, continued, strict=True):
            found[index] = tokens, length
    return found


def check_seed(seed: int) -> None:
    """Refuse a seed outside its range.

    Raises:
        InputError: It lies outside [0, 2**32).
    """
    if not 0 <= seed < _NUM_SEEDS:
        raise InputError(f"`seed` must lie in [0, {_NUM_SEEDS}), got {seed!r}")


def stream_of(key: str) -> int:
    """Return the stream of random draws that belongs to a key, in [0, 2**32)."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:_STREAM_BYTES], "big")


def _calls(lengths: Sequence[int], waiting: Sequence[int], call_size: int) -> Iterator[list[int]]:
    """Yield prompts by rounded length, since `generate` fills up the last batch of each; longest last."""
    by_length: dict[int, list[int]] = {}
    # Prompts of one length take about as many steps, and a batch goes on until its last sequence ends.
    for index in sorted(waiting, key=lambda index: lengths[index]):
        by_length.setdefault((max(_SHORTEST, lengths[index]) - 1).bit_length(), []).append(index)
    for members in by_length.values():
        for start in range(0, len(members), call_size):
            yield members[start : start + call_size]
