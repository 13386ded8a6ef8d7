"""Generation: prompts in, their continuations out, whole or as they are made."""

import dataclasses
from collections.abc import Iterator, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Int, Int32, UInt32

from audio_model.automaton import TokenAutomaton
from audio_model.decoding import DecodingConfig, DecodingState, Prompts, decode, prefill
from audio_model.errors import InputError
from audio_model.grammar_tables import GrammarTables
from audio_model.qwen3x import Qwen3x
from audio_model.sampling import GREEDY, Sampling

_SMALLEST_BUCKET = 32


def generate(
    model: Qwen3x,
    prompts: Sequence[Int[np.ndarray, "..."]],
    *,
    max_new_tokens: int,
    stop_ids: Sequence[int] = (),
    sampling: Sampling = GREEDY,
    automaton: TokenAutomaton | None = None,
    seeds: Sequence[int] | None = None,
    batch_size: int = 32,
    dtype: DTypeLike = jnp.float32,
) -> list[Int32[np.ndarray, " new"]]:
    """Continue every prompt until a stop id, the end of the grammar, or `max_new_tokens`.

    Prompts are grouped by their own length rounded up to a power of two and filled to `batch_size`
    rows, so each sequence is computed in a shape that its batch neighbours do not influence, and one
    program is compiled for each rounded length. Padding stands left of the prompt, unseen and uncounted.

    Args:
        model: The model.
        prompts: Token ids of each prompt, at least one each.
        max_new_tokens: Most tokens to add to each prompt.
        stop_ids: A sequence ends after any of these; the stop id is part of the result.
        sampling: How tokens are chosen.
        automaton: Grammar of the new tokens; a sequence ends where nothing may follow.
        seeds: Seed of each prompt, in [0, 2**32). A sequence draws from `(sampling.seed, its seed)` and nothing else,
            so a seed that goes with the prompt gives the same draws at any position and beside any other prompts. Two
            equal prompts need two seeds to differ. None takes the prompts' positions.
        batch_size: Rows computed together. Another size may round logits differently.
        dtype: Of activations, products and cache; weights of another dtype are cast once a call.

    Returns:
        For each prompt, its new tokens.

    Raises:
        InputError: If a prompt is empty, holds ids outside the vocabulary or leaves less than
            `max_new_tokens` of the context, if the automaton is for another vocabulary, or if there is not one
            seed in [0, 2**32) for each prompt.
    """
    _check(model, prompts, max_new_tokens, stop_ids, automaton, batch_size)
    seed_of = _checked_seeds(range(len(prompts)) if seeds is None else seeds, len(prompts))
    config = _decoding_config(model, stop_ids, sampling, automaton, max_new_tokens, dtype)
    model = _cast(model, config)
    results: list[np.ndarray] = [np.empty(0, np.int32)] * len(prompts)
    for bucket, members in _buckets(prompts).items():
        for start in range(0, len(members), batch_size):
            rows = members[start : start + batch_size]
            batch = _batch([prompts[row] for row in rows], seed_of[np.array(rows)], bucket, batch_size, sampling.seed)
            tokens, lengths = _generate(model, batch, config)
            for row, new, length in zip(rows, np.asarray(tokens), np.asarray(lengths), strict=False):
                results[row] = new[:length]
    return results


def stream(
    model: Qwen3x,
    prompt: Int[np.ndarray, "..."],
    *,
    max_new_tokens: int,
    tokens_per_piece: int = 8,
    stop_ids: Sequence[int] = (),
    sampling: Sampling = GREEDY,
    automaton: TokenAutomaton | None = None,
    seed: int = 0,
    dtype: DTypeLike = jnp.float32,
) -> Iterator[Int32[np.ndarray, " new"]]:
    """Continue one prompt and yield tokens as they are made: a frame of audio at a time, say.

    The pieces together are what `generate` gives for this prompt and seed alone at `batch_size` 1.

    Args:
        model: The model.
        prompt: Token ids, at least one.
        max_new_tokens: Most tokens to add.
        tokens_per_piece: Tokens of a piece; the last one may be shorter.
        stop_ids: As for `generate`.
        sampling: As for `generate`.
        automaton: As for `generate`.
        seed: One of `seeds` of `generate`.
        dtype: As for `generate`.

    Yields:
        The next tokens.

    Raises:
        InputError: As `generate`, at the first piece, or if `tokens_per_piece` is below 1.
    """
    _check(model, [prompt], max_new_tokens, stop_ids, automaton, 1)
    seeds = _checked_seeds([seed], 1)
    if tokens_per_piece < 1:
        raise InputError(f"`tokens_per_piece` must be at least 1, got {tokens_per_piece!r}")
    config = _decoding_config(model, stop_ids, sampling, automaton, max_new_tokens, dtype)
    model = _cast(model, config)
    state = _prefill(model, _batch([prompt], seeds, _bucket(prompt), 1, sampling.seed), config)
    given = 0
    while True:
        until = min(given + tokens_per_piece, max_new_tokens)
        state = _decode((model, config, jnp.asarray(until, jnp.int32)), state)
        length = int(state.lengths[0])
        if length > given:
            yield np.asarray(state.tokens[0, given:length])
        if bool(state.ended[0]) or length == max_new_tokens:
            return
        given = length


def _check(
    model: Qwen3x,
    prompts: Sequence[np.ndarray],
    max_new_tokens: int,
    stop_ids: Sequence[int],
    automaton: TokenAutomaton | None,
    batch_size: int,
) -> None:
    vocab_size, limit = model.config.vocab_size, model.config.max_seq_len
    if max_new_tokens < 1 or batch_size < 1:
        raise InputError(
            f"`max_new_tokens` and `batch_size` must be at least 1, got {max_new_tokens!r} and {batch_size!r}"
        )
    for index, prompt in enumerate(prompts):
        if prompt.ndim != 1 or prompt.size == 0:
            raise InputError(
                f"prompt {index} of `prompts` must be 1-D with at least one token, got shape {prompt.shape}"
            )
        if prompt.min() < 0 or prompt.max() >= vocab_size:
            raise InputError(
                f"prompt {index} of `prompts` must hold ids in [0, {vocab_size}), got {prompt.min()} to {prompt.max()}"
            )
        if prompt.size + max_new_tokens > limit:
            raise InputError(
                f"prompt {index} of `prompts` must leave `max_new_tokens` = {max_new_tokens} of the model's context of "
                f"{limit} tokens, got {prompt.size} tokens; shorten it or ask for fewer"
            )
    outside = [token for token in stop_ids if not 0 <= token < vocab_size]
    if outside:
        raise InputError(f"`stop_ids` must lie in [0, {vocab_size}), got {outside!r}")
    if automaton is not None and automaton.vocab_size != vocab_size:
        raise InputError(f"`automaton` must be for {vocab_size} token ids, got one for {automaton.vocab_size}")


def _checked_seeds(seeds: Sequence[int], num_prompts: int) -> UInt32[np.ndarray, " prompts"]:
    if len(seeds) != num_prompts:
        raise InputError(f"`seeds` must hold one seed for each of the {num_prompts} prompts, got {len(seeds)}")
    outside = [seed for seed in seeds if not 0 <= seed < 2**32]
    if outside:
        raise InputError(f"`seeds` must lie in [0, {2**32}), got {outside!r}; number or hash what they stand for")
    return np.array(seeds, np.uint32)


def _buckets(prompts: Sequence[np.ndarray]) -> dict[int, list[int]]:
    buckets: dict[int, list[int]] = {}
    for index, prompt in enumerate(prompts):
        buckets.setdefault(_bucket(prompt), []).append(index)
    return dict(sorted(buckets.items()))


def _bucket(prompt: np.ndarray) -> int:
    return max(_SMALLEST_BUCKET, 1 << (prompt.size - 1).bit_length())


def _batch(
    prompts: list[np.ndarray], seeds: UInt32[np.ndarray, " prompts"], bucket: int, batch_size: int, seed: int
) -> Prompts:
    tokens = np.zeros((batch_size, bucket), np.int32)
    lengths = np.ones(batch_size, np.int32)
    for row, prompt in enumerate(prompts):
        tokens[row, bucket - prompt.size :] = prompt
        lengths[row] = prompt.size
    padded = np.zeros(batch_size, np.uint32)
    padded[: len(seeds)] = seeds
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.key(seed), jnp.asarray(padded))
    real = jnp.asarray(np.arange(batch_size) < len(prompts))
    return Prompts(jnp.asarray(tokens), jnp.asarray(lengths), keys, real)


def _decoding_config(
    model: Qwen3x,
    stop_ids: Sequence[int],
    sampling: Sampling,
    automaton: TokenAutomaton | None,
    max_new_tokens: int,
    dtype: DTypeLike,
) -> DecodingConfig:
    stops = np.zeros(model.config.vocab_size, bool)
    stops[list(stop_ids)] = True
    return DecodingConfig(
        stops=jnp.asarray(stops),
        grammar=None if automaton is None else GrammarTables.of(automaton),
        # Keys carry the seed; a program is not compiled anew for another one.
        sampling=dataclasses.replace(sampling, seed=0),
        max_new_tokens=max_new_tokens,
        dtype=jnp.dtype(dtype),
    )


def _cast(model: Qwen3x, config: DecodingConfig) -> Qwen3x:
    """Cast the matrices to the dtype of the products, once instead of at every token; norms keep theirs.

    Where a grammar reads windows of the head only, the head stays: casting 144,644 rows takes longer than casting the
    few that a short run reads.
    """
    layers = jax.tree.map(lambda x: x.astype(config.dtype) if x.ndim == 3 else x, model.layers)
    model = dataclasses.replace(model, layers=layers)
    if config.grammar is not None and config.grammar.is_narrow:
        return model
    if model.head is None:
        return dataclasses.replace(model, embedding=model.embedding.astype(config.dtype))
    return dataclasses.replace(model, head=model.head.astype(config.dtype))


@eqx.filter_jit
def _generate(
    model: Qwen3x, prompts: Prompts, config: DecodingConfig
) -> tuple[Int32[Array, "batch new"], Int32[Array, " batch"]]:
    state = prefill(model, prompts, config)
    state = decode(model, state, config, jnp.asarray(config.max_new_tokens, jnp.int32))
    return state.tokens, state.lengths


_prefill = eqx.filter_jit(prefill)


@eqx.filter_jit(donate="all-except-first")
def _decode(kept: tuple[Qwen3x, DecodingConfig, Int32[Array, ""]], state: DecodingState) -> DecodingState:
    model, config, until = kept
    return decode(model, state, config, until)
