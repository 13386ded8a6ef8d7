"""The compiled loop of generation: prefill into a cache of keys and values, then one token a step for every row."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32, Key

from audio_model.grammar_tables import GrammarTables
from audio_model.kernels.attention import attention
from audio_model.kernels.matmul import row_dot_products
from audio_model.qwen3x import Qwen3x
from audio_model.sampling import Sampling, choose


class Prompts(NamedTuple):
    """Prompts of one batch, padded on their left.

    Attributes:
        tokens: Token ids.
        lengths: Tokens of each prompt.
        keys: A key of randomness for each row.
        real: False for rows that only fill the batch.
    """

    tokens: Int32[Array, "batch prompt"]
    lengths: Int32[Array, " batch"]
    keys: Key[Array, " batch"]
    real: Bool[Array, " batch"]


class DecodingConfig(eqx.Module):
    """What may be generated, and how it is chosen.

    Attributes:
        stops: Ids that end a sequence.
        grammar: What may follow what, or None.
        sampling: How tokens are chosen; its seed is not used, the rows' keys carry it.
        max_new_tokens: Most tokens to add.
        dtype: Of activations and cache.
    """

    stops: Bool[Array, " vocab"]
    grammar: GrammarTables | None
    sampling: Sampling = eqx.field(static=True)
    max_new_tokens: int = eqx.field(static=True)
    dtype: jnp.dtype = eqx.field(static=True)


_Row = tuple[Float[Array, " embed"], Int32[Array, ""], Bool[Array, " ids"]]


class KVCache(NamedTuple):
    """Keys and values of every layer; slot j of a row holds its token j places after the row's left edge."""

    keys: Float[Array, "layers batch kv_heads slots head_dim"]
    values: Float[Array, "layers batch kv_heads slots head_dim"]

    @classmethod
    def empty(cls, model: Qwen3x, rows: int, slots: int, dtype: jnp.dtype) -> "KVCache":
        """Make a cache of zeros."""
        config = model.config
        zeros = jnp.zeros((config.layers, rows, config.kv_heads, slots, config.head_dim), dtype)
        return cls(zeros, zeros)

    def write(self, key: Array, value: Array, layer: Int32[Array, ""], slot: Int32[Array, ""]) -> "KVCache":
        """Store keys and values `[batch, tokens, kv_heads, head_dim]` of a layer from a slot on."""

        def stored(cache: Array, new: Array) -> Array:
            zero = jnp.zeros((), jnp.int32)
            return jax.lax.dynamic_update_slice(cache, jnp.swapaxes(new, 1, 2)[None], (layer, zero, zero, slot, zero))

        return KVCache(stored(self.keys, key), stored(self.values, value))


class DecodingState(NamedTuple):
    """Progress of a batch.

    Attributes:
        step: Tokens generated so far.
        tokens: Those tokens; zeros where none is yet.
        lengths: Tokens of each row that count.
        ended: Rows that have ended.
        grammar_state: State of the grammar in each row.
        context: Whether each id occurs in a row's prompt or continuation; one column without a repetition penalty.
        cache: Keys and values.
        padding: Empty slots left of each prompt.
        keys: Of the rows.
    """

    step: Int32[Array, ""]
    tokens: Int32[Array, "batch new"]
    lengths: Int32[Array, " batch"]
    ended: Bool[Array, " batch"]
    grammar_state: Int32[Array, " batch"]
    context: Bool[Array, "batch ids"]
    cache: KVCache
    padding: Int32[Array, " batch"]
    keys: Key[Array, " batch"]


def prefill(model: Qwen3x, prompts: Prompts, config: DecodingConfig) -> DecodingState:
    """Read the prompts and choose each row's first token.

    Args:
        model: The model.
        prompts: What to continue.
        config: How.

    Returns:
        The state after one step.
    """
    rows, bucket = prompts.tokens.shape
    padding = bucket - prompts.lengths
    slots = jnp.arange(bucket)[None]
    segment_ids = (slots >= padding[:, None]).astype(jnp.int32)

    def attend(query: Array, key: Array, value: Array, cache: KVCache, layer: Array) -> tuple[Array, KVCache]:
        return attention(query, key, value, segment_ids), cache.write(key, value, layer, jnp.zeros((), jnp.int32))

    cache = KVCache.empty(model, rows, bucket + config.max_new_tokens, config.dtype)
    positions = jnp.maximum(slots - padding[:, None], 0)
    hidden, cache = model.forward(prompts.tokens, positions, attend, cache, dtype=config.dtype)
    first = jnp.zeros((), jnp.int32) if config.grammar is None else config.grammar.initial_state
    state = DecodingState(
        step=jnp.zeros((), jnp.int32),
        tokens=jnp.zeros((rows, config.max_new_tokens), jnp.int32),
        lengths=jnp.zeros(rows, jnp.int32),
        ended=~prompts.real,
        grammar_state=jnp.broadcast_to(first, (rows,)),
        context=_context(prompts.tokens, padding, config),
        cache=cache,
        padding=padding,
        keys=prompts.keys,
    )
    return _emit(model, state, hidden[:, -1], config)


def decode(model: Qwen3x, state: DecodingState, config: DecodingConfig, until: Int32[Array, ""]) -> DecodingState:
    """Generate until every row has ended or has `until` tokens.

    Args:
        model: The model.
        state: Progress so far.
        config: As given to `prefill`.
        until: Tokens to stop at, at most `config.max_new_tokens`.

    Returns:
        The state then.
    """
    bucket = state.cache.keys.shape[3] - config.max_new_tokens
    slots = jnp.arange(state.cache.keys.shape[3])[None]

    def step(state: DecodingState) -> DecodingState:
        slot, padding = bucket + state.step - 1, state.padding[:, None]
        visible = (slots >= padding) & (slots <= slot)

        def attend(query: Array, key: Array, value: Array, cache: KVCache, layer: Array) -> tuple[Array, KVCache]:
            # The cache is carried from layer to layer, so that one slot is written instead of all of it.
            cache = cache.write(key, value, layer, slot)
            return _attend(query, cache.keys[layer], cache.values[layer], visible), cache

        last = jax.lax.dynamic_index_in_dim(state.tokens, state.step - 1, axis=1)
        hidden, cache = model.forward(last, slot - padding, attend, state.cache, dtype=config.dtype)
        return _emit(model, state._replace(cache=cache), hidden[:, 0], config)

    return jax.lax.while_loop(lambda state: (state.step < until) & ~jnp.all(state.ended), step, state)


def _context(
    tokens: Int32[Array, "batch prompt"], padding: Int32[Array, " batch"], config: DecodingConfig
) -> Bool[Array, "..."]:
    rows, bucket = tokens.shape
    if config.sampling.repetition_penalty == 1:
        return jnp.zeros((rows, 1), bool)
    real = jnp.arange(bucket)[None] >= padding[:, None]
    context = jnp.zeros((rows, config.stops.shape[0]), bool)
    return context.at[jnp.arange(rows)[:, None], tokens].max(real)


def _emit(
    model: Qwen3x, state: DecodingState, hidden: Float[Array, "batch embed"], config: DecodingConfig
) -> DecodingState:
    """Chooses the next token of every row."""
    grammar = config.grammar
    if grammar is None or not grammar.window:
        return _record(state, _choose_among_all(model, state, hidden, config), config)
    narrow = (grammar.window_start[state.grammar_state] >= 0) | state.ended
    chosen = _choose_in_window(model, state, hidden, config, grammar)
    # Which rows a token is chosen from is the row's own affair, so that neighbours change nothing; what they
    # change is only whether the whole head is read as well.
    chosen = jax.lax.cond(
        jnp.all(narrow),
        lambda: chosen,
        lambda: jnp.where(narrow, chosen, _choose_among_all(model, state, hidden, config)),
    )
    return _record(state, chosen, config)


def _choose_among_all(
    model: Qwen3x, state: DecodingState, hidden: Float[Array, "batch embed"], config: DecodingConfig
) -> Int32[Array, " batch"]:
    logits = model.logits(hidden)
    if config.grammar is not None:
        allowed = config.grammar.masks[config.grammar.row_of_state[state.grammar_state]]
        logits = jnp.where(allowed, logits, -jnp.inf)
    return choose(logits, state.keys, state.step, config.sampling, state.context)


def _choose_in_window(
    model: Qwen3x,
    state: DecodingState,
    hidden: Float[Array, "batch embed"],
    config: DecodingConfig,
    grammar: GrammarTables,
) -> Int32[Array, " batch"]:
    """Choose the same from only the rows of the head that a narrow state can need; any id for a wide one."""
    head = model.head_matrix

    def row(inputs: _Row) -> tuple[Float[Array, " window"], Int32[Array, " window"], Bool[Array, " seen"]]:
        hidden, grammar_state, context = inputs
        start = jnp.maximum(grammar.window_start[grammar_state], 0)
        strays = grammar.strays[grammar_state]
        ids = jnp.concatenate([start + jnp.arange(grammar.window, dtype=jnp.int32), jnp.maximum(strays, 0)])
        window = jax.lax.dynamic_slice_in_dim(head, start, grammar.window).astype(hidden.dtype)
        rows = (window, head[jnp.maximum(strays, 0)].astype(hidden.dtype))
        logits = jnp.concatenate([row_dot_products(hidden[None], x)[0] for x in rows])
        allowed = jax.lax.dynamic_slice_in_dim(
            grammar.masks[grammar.row_of_state[grammar_state]], start, grammar.window
        )
        logits = jnp.where(jnp.concatenate([allowed, strays >= 0]), logits, -jnp.inf)
        return logits, ids, context[ids] if context.shape[0] > 1 else context

    logits, ids, context = jax.lax.map(row, (hidden, state.grammar_state, state.context))
    chosen = choose(logits, state.keys, state.step, config.sampling, context)
    return jnp.take_along_axis(ids, chosen[:, None], axis=-1)[:, 0]


def _record(state: DecodingState, chosen: Int32[Array, " batch"], config: DecodingConfig) -> DecodingState:
    chosen = jnp.where(state.ended, 0, chosen)
    ended = state.ended | config.stops[chosen]
    grammar, grammar_state, context = config.grammar, state.grammar_state, state.context
    if grammar is not None:
        following = grammar.next_state[grammar_state, grammar.class_of_token[chosen]]
        grammar_state = jnp.where(state.ended, grammar_state, following)
        ended = ended | (grammar.next_state[grammar_state] < 0).all(axis=-1)
    if context.shape[1] > 1:
        context = context.at[jnp.arange(chosen.shape[0]), chosen].max(~state.ended)
    return state._replace(
        step=state.step + 1,
        tokens=jax.lax.dynamic_update_index_in_dim(state.tokens, chosen, state.step, axis=1),
        lengths=state.lengths + (~state.ended).astype(jnp.int32),
        ended=ended,
        grammar_state=grammar_state,
        context=context,
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
