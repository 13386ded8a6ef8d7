"""Generation: prefill, a cache of keys and values, and a loop that ends when every sequence has ended."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Int32, Key

from audio_model.automaton import TokenAutomaton
from audio_model.errors import InputError
from audio_model.kernels.attention import attention
from audio_model.layers import DecoderLayer, rms_norm
from audio_model.qwen3x import Qwen3x
from audio_model.rope import rope_tables
from audio_model.sampling import GREEDY, Sampling, choose

_SMALLEST_BUCKET = 32


def generate(
    model: Qwen3x,
    prompts: Sequence[Int[np.ndarray, "..."]],
    *,
    max_new_tokens: int,
    stop_ids: Sequence[int] = (),
    sampling: Sampling = GREEDY,
    automaton: TokenAutomaton | None = None,
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
        sampling: How tokens are chosen. Sequence i draws from `(sampling.seed, i)`.
        automaton: Grammar of the new tokens; a sequence ends where nothing may follow.
        batch_size: Rows computed together. Another size may round logits differently.
        dtype: Of activations and cache.

    Returns:
        For each prompt, its new tokens.

    Raises:
        InputError: If a prompt is empty, holds ids outside the vocabulary or leaves less than
            `max_new_tokens` of the context, or if the automaton is for another vocabulary.
    """
    _check(model, prompts, max_new_tokens, stop_ids, automaton, batch_size)
    grammar = _GrammarTables.of(automaton, model.config.vocab_size)
    # Keys carry the seed; a program is not compiled anew for another one.
    method = dataclasses.replace(sampling, seed=0)
    stops = np.zeros(model.config.vocab_size, bool)
    stops[list(stop_ids)] = True
    results: list[np.ndarray] = [np.empty(0, np.int32)] * len(prompts)
    for bucket, members in _buckets(prompts).items():
        for start in range(0, len(members), batch_size):
            rows = members[start : start + batch_size]
            batch = _Batch.of([prompts[row] for row in rows], rows, bucket, batch_size, sampling.seed)
            tokens, lengths = _run(model, batch, grammar, jnp.asarray(stops), method, max_new_tokens, jnp.dtype(dtype))
            for row, new, length in zip(rows, np.asarray(tokens), np.asarray(lengths), strict=False):
                results[row] = new[:length]
    return results


def _check(model, prompts, max_new_tokens, stop_ids, automaton, batch_size) -> None:
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


def _buckets(prompts: Sequence[np.ndarray]) -> dict[int, list[int]]:
    buckets: dict[int, list[int]] = {}
    for index, prompt in enumerate(prompts):
        bucket = max(_SMALLEST_BUCKET, 1 << (prompt.size - 1).bit_length())
        buckets.setdefault(bucket, []).append(index)
    return dict(sorted(buckets.items()))


class _Batch(NamedTuple):
    tokens: Int32[np.ndarray, "batch prompt"]
    lengths: Int32[np.ndarray, " batch"]
    keys: Key[Array, " batch"]
    real: Bool[np.ndarray, " batch"]

    @staticmethod
    def of(prompts: list[np.ndarray], indices: list[int], bucket: int, batch_size: int, seed: int) -> "_Batch":
        tokens = np.zeros((batch_size, bucket), np.int32)
        lengths = np.ones(batch_size, np.int32)
        for row, prompt in enumerate(prompts):
            tokens[row, bucket - prompt.size :] = prompt
            lengths[row] = prompt.size
        padded = np.zeros(batch_size, np.uint32)
        padded[: len(indices)] = indices
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.key(seed), jnp.asarray(padded))
        return _Batch(tokens, lengths, keys, np.arange(batch_size) < len(prompts))


class _GrammarTables(NamedTuple):
    """An automaton as arrays of the device; rows of `masks` are shared by states that allow the same."""

    masks: Bool[Array, "rows vocab"]
    row_of_state: Int32[Array, " states"]
    next_state: Int32[Array, "states classes"]
    class_of_token: Int32[Array, " vocab"]
    initial_state: Int32[Array, ""]

    @staticmethod
    def of(automaton: TokenAutomaton | None, vocab_size: int) -> "_GrammarTables | None":
        if automaton is None:
            return None
        allowed, row_of_state = np.unique(automaton.next_state >= 0, axis=0, return_inverse=True)
        return _GrammarTables(
            masks=jnp.asarray(allowed[:, automaton.class_of_token]),
            row_of_state=jnp.asarray(row_of_state.reshape(-1), jnp.int32),
            next_state=jnp.asarray(automaton.next_state),
            class_of_token=jnp.asarray(automaton.class_of_token),
            initial_state=jnp.asarray(automaton.initial_state, jnp.int32),
        )


class _Cache(NamedTuple):
    """Keys and values of every layer; slot j of a row holds its token j places after the row's left edge."""

    keys: Float[Array, "layers batch kv_heads slots head_dim"]
    values: Float[Array, "layers batch kv_heads slots head_dim"]


class _State(NamedTuple):
    step: Int32[Array, ""]
    tokens: Int32[Array, "batch new"]
    lengths: Int32[Array, " batch"]
    ended: Bool[Array, " batch"]
    grammar_state: Int32[Array, " batch"]
    cache: _Cache


@eqx.filter_jit
def _run(model, batch: _Batch, grammar, stops, sampling: Sampling, max_new_tokens: int, dtype):
    bucket = batch.tokens.shape[1]
    padding = bucket - jnp.asarray(batch.lengths)
    hidden, cache = _prefill(model, jnp.asarray(batch.tokens), padding, max_new_tokens, dtype)

    def emit(state: _State, hidden: Array) -> _State:
        logits = model.logits(hidden)
        if grammar is not None:
            logits = jnp.where(grammar.masks[grammar.row_of_state[state.grammar_state]], logits, -jnp.inf)
        chosen = choose(logits, batch.keys, state.step, sampling)
        return _record(state, chosen, grammar, stops)

    def advance(state: _State) -> _State:
        last = jax.lax.dynamic_index_in_dim(state.tokens, state.step - 1, axis=1, keepdims=False)
        hidden, cache = _decode(model, last, state.cache, bucket + state.step - 1, padding, dtype)
        return emit(state._replace(cache=cache), hidden)

    rows = batch.tokens.shape[0]
    state = _State(
        step=jnp.zeros((), jnp.int32),
        tokens=jnp.zeros((rows, max_new_tokens), jnp.int32),
        lengths=jnp.zeros(rows, jnp.int32),
        ended=jnp.asarray(~batch.real),
        grammar_state=jnp.zeros(rows, jnp.int32)
        if grammar is None
        else jnp.broadcast_to(grammar.initial_state, (rows,)),
        cache=cache,
    )
    state = jax.lax.while_loop(
        lambda state: (state.step < max_new_tokens) & ~jnp.all(state.ended), advance, emit(state, hidden)
    )
    return state.tokens, state.lengths


def _record(state: _State, chosen: Int32[Array, " batch"], grammar, stops: Bool[Array, " vocab"]) -> _State:
    chosen = jnp.where(state.ended, 0, chosen)
    ended = state.ended | stops[chosen]
    grammar_state = state.grammar_state
    if grammar is not None:
        following = grammar.next_state[grammar_state, grammar.class_of_token[chosen]]
        grammar_state = jnp.where(state.ended, grammar_state, following)
        ended = ended | (grammar.next_state[grammar_state] < 0).all(axis=-1)
    return _State(
        step=state.step + 1,
        tokens=jax.lax.dynamic_update_index_in_dim(state.tokens, chosen, state.step, axis=1),
        lengths=state.lengths + (~state.ended).astype(jnp.int32),
        ended=ended,
        grammar_state=grammar_state,
        cache=state.cache,
    )


def _prefill(
    model: Qwen3x, tokens: Int32[Array, "batch prompt"], padding: Int32[Array, " batch"], room: int, dtype
) -> tuple[Float[Array, "batch embed"], _Cache]:
    """Hidden states of the last prompt tokens, and a cache with `room` free slots after the prompts."""
    config = model.config
    slots = jnp.arange(tokens.shape[1])[None]
    segment_ids = (slots >= padding[:, None]).astype(jnp.int32)
    tables = rope_tables(config.rope, config.head_dim, jnp.maximum(slots - padding[:, None], 0))

    def block(x: Array, layer: DecoderLayer):
        query, key, value = layer.project(x, tables, config.rms_epsilon)
        x = layer.finish(x, attention(query, key, value, segment_ids), config.rms_epsilon)
        return x, (_with_room(key, room), _with_room(value, room))

    x = jnp.take(model.embedding, tokens, axis=0).astype(dtype)
    x, (keys, values) = jax.lax.scan(block, x, model.layers)
    return rms_norm(x[:, -1], model.final_norm, config.rms_epsilon), _Cache(keys, values)


def _with_room(x: Float[Array, "batch prompt kv_heads head_dim"], room: int) -> Array:
    return jnp.pad(jnp.swapaxes(x, 1, 2), ((0, 0), (0, 0), (0, room), (0, 0)))


def _decode(
    model: Qwen3x,
    tokens: Int32[Array, " batch"],
    cache: _Cache,
    slot: Int32[Array, ""],
    padding: Int32[Array, " batch"],
    dtype,
) -> tuple[Float[Array, "batch embed"], _Cache]:
    """Hidden states of one more token a row, which takes `slot` in the cache."""
    config = model.config
    tables = rope_tables(config.rope, config.head_dim, (slot - padding)[:, None])
    slots = jnp.arange(cache.keys.shape[3])[None]
    visible = (slots >= padding[:, None]) & (slots <= slot)

    def block(carry, layer_and_index):
        x, cache = carry
        layer, index = layer_and_index
        query, key, value = layer.project(x, tables, config.rms_epsilon)
        # The cache is carried, not scanned over, so that one slot is written instead of all of it.
        cache = _Cache(_store(cache.keys, key, index, slot), _store(cache.values, value, index, slot))
        attended = _attend(query, cache.keys[index], cache.values[index], visible)
        return (layer.finish(x, attended, config.rms_epsilon), cache), None

    x = jnp.take(model.embedding, tokens, axis=0).astype(dtype)[:, None]
    (x, cache), _ = jax.lax.scan(block, (x, cache), (model.layers, jnp.arange(config.layers)))
    return rms_norm(x[:, 0], model.final_norm, config.rms_epsilon), cache


def _store(cache: Array, new: Float[Array, "batch 1 kv_heads head_dim"], layer: Array, slot: Array) -> Array:
    zero = jnp.zeros((), slot.dtype)
    return jax.lax.dynamic_update_slice(
        cache, jnp.swapaxes(new, 1, 2)[None], (layer.astype(slot.dtype), zero, zero, slot, zero)
    )


def _attend(
    query: Float[Array, "batch 1 heads head_dim"],
    keys: Float[Array, "batch kv_heads slots head_dim"],
    values: Float[Array, "batch kv_heads slots head_dim"],
    visible: Bool[Array, "batch slots"],
) -> Float[Array, "batch 1 heads head_dim"]:
    batch, _, heads, head_dim = query.shape
    grouped = query.reshape(batch, keys.shape[1], heads // keys.shape[1], head_dim)
    scores = jnp.einsum("bkgd,bksd->bkgs", grouped, keys, preferred_element_type=jnp.float32) * head_dim**-0.5
    weights = jax.nn.softmax(jnp.where(visible[:, None, None], scores, -jnp.inf), axis=-1).astype(values.dtype)
    attended = jnp.einsum("bkgs,bksd->bkgd", weights, values, preferred_element_type=jnp.float32)
    return attended.astype(query.dtype).reshape(batch, 1, heads, head_dim)
