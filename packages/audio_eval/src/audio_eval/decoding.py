"""Continuing many prompts under a grammar, with progress; a prompt that does not fit is an item that got no answer."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int32

from audio_data import Progress
from audio_eval.journal import Journal
from audio_model import Qwen3x, Sampling, TokenAutomaton, generate

# Batches between two signs of progress, which are also what a kill costs.
_BATCHES_PER_CALL = 4
_SAMPLED_PER_CALL = 256
# Far enough from the next seed a person would choose.
_SEED_STRIDE = 7_919


def continue_prompts(
    model: Qwen3x,
    prompts: Sequence[Int[np.ndarray, " _"]],
    *,
    automaton: TokenAutomaton | None,
    stop_id: int,
    sampling: Sampling,
    max_new_tokens: int,
    batch_size: int,
    label: str,
    journal: Journal | None = None,
) -> list[Int32[np.ndarray, " _"] | None]:
    """Continues each prompt until the stop id.

    Args:
        model: The model.
        prompts: Token ids.
        automaton: Grammar of what follows a prompt, None where anything may.
        stop_id: Token that ends a continuation.
        sampling: How tokens are chosen; its seed drives the draws.
        max_new_tokens: Most tokens to add, the stop id included.
        batch_size: Prompts computed together.
        label: Name of the progress line, and of the step in the journal.
        journal: Keeps what was continued already, by the prompt's index.

    Returns:
        For each prompt its continuation without the stop id, or None where prompt and continuation exceed the model's
        context: a task counts that as an error, so that a long item cannot improve a score by being skipped.
    """
    room = model.config.max_seq_len - max_new_tokens
    # Sorted by length, prompts of one compiled shape come together.
    fitting = sorted((i for i in range(len(prompts)) if len(prompts[i]) <= room), key=lambda i: len(prompts[i]))
    # Draws follow a prompt's index in a call, so sampled prompts come in groups that no batch size changes.
    step = batch_size * _BATCHES_PER_CALL if sampling.temperature == 0 else _SAMPLED_PER_CALL
    known = journal.known(label) if journal is not None else {}
    results: list[Int32[np.ndarray, " _"] | None] = [None] * len(prompts)
    with Progress(label, len(fitting), unit="items") as progress:
        for start in range(0, len(fitting), step):
            members = fitting[start : start + step]
            if any(str(index) not in known for index in members):
                continued = generate(
                    model,
                    [prompts[index] for index in members],
                    max_new_tokens=max_new_tokens,
                    stop_ids=(stop_id,),
                    sampling=dataclasses.replace(sampling, seed=sampling.seed + _SEED_STRIDE * start),
                    automaton=automaton,
                    batch_size=batch_size,
                )
                found = {str(index): one for index, one in zip(members, continued, strict=True)}
                if journal is not None:
                    journal.record(label, {index: tokens.tolist() for index, tokens in found.items()})
            else:
                found = {str(index): np.array(known[str(index)], np.int32) for index in members}
            for index in members:
                tokens = found[str(index)]
                results[index] = tokens[:-1] if len(tokens) and tokens[-1] == stop_id else tokens
            progress.advance(len(members))
    return results
