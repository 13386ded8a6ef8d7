"""The compiled loop of generation: prefill, a cache of keys and values, one token a step for every row."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32, Key

from audio_model.grammar_tables import GrammarTables
from audio_model.kernels.attention import attention
from audio_model.kernels.cpu import not_alone
from audio_model.layers import DecoderLayer
from audio_model.norms import rms_norm
from audio_model.qwen3x import Qwen3x
from audio_model.rope import rope_tables
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


class Rules(eqx.Module):
    """What may be generated, and how it is chosen.

    Attributes:
        stops: Ids that end a sequence.
        grammar: What may follow what, or None.
        sampling: How tokens are chosen; its seed is not used, the rows' keys carry it.
        room: Most tokens to add.
        dtype: Of activations and cache.
    """

    stops: Bool[Array, " vocab"]
    grammar: GrammarTables | None
    sampling: Sampling = eqx.field(static=True)
    room: int = eqx.field(static=True)
    dtype: jnp.dtype = eqx.field(static=True)


class Cache(NamedTuple):
    """Keys and values of every layer; slot j of a row holds its token j places after the row's left edge."""

    keys: Float[Array, "layers batch kv_heads slots head_dim"]
    values: Float[Array, "layers batch kv_heads slots head_dim"]


class State(NamedTuple):
    """Where a batch stands.

    Attributes:
        step: Tokens generated so far.
        tokens: Those tokens; zeros where none is yet.
        lengths: Tokens of each row that count.
        ended: Rows that have ended.
        grammar_state: State of the grammar in each row.
        seen: Ids of each row's prompt and of what followed; one column where nobody asks.
        cache: Keys and values.
        padding: Empty slots left of each prompt.
        keys: Of the rows.
    """

    step: Int32[Array, ""]
    tokens: Int32[Array, "batch new"]
    lengths: Int32[Array, " batch"]
    ended: Bool[Array, " batch"]
    grammar_state: Int32[Array, " batch"]
    seen: Bool[Array, "batch ids"]
    cache: Cache
    padding: Int32[Array, " batch"]
    keys: Key[Array, " batch"]


def begin(model: Qwen3x, prompts: Prompts, rules: Rules) -> State:
    """Read the prompts and choose each row's first token.

    Args:
        model: The model.
        prompts: What to continue.
        rules: How.

    Returns:
        The state after one step.
    """
    rows, bucket = prompts.tokens.shape
    padding = bucket - prompts.lengths
    hidden, cache = _prefill(model, prompts.tokens, padding, rules.room, rules.dtype)
    first = jnp.zeros((), jnp.int32) if rules.grammar is None else rules.grammar.initial_state
    state = State(
        step=jnp.zeros((), jnp.int32),
        tokens=jnp.zeros((rows, rules.room), jnp.int32),
        lengths=jnp.zeros(rows, jnp.int32),
        ended=~prompts.real,
        grammar_state=jnp.broadcast_to(first, (rows,)),
        seen=_seen(prompts.tokens, padding, rules),
        cache=cache,
        padding=padding,
        keys=prompts.keys,
    )
    return _emit(model, state, hidden, rules)


def advance(model: Qwen3x, state: State, rules: Rules, until: Int32[Array, ""]) -> State:
    """Generate until every row has ended or `until` tokens are there.

    Args:
        model: The model.
        state: Where the batch stands.
        rules: As given to `begin`.
        until: Tokens to stop at, at most `rules.room`.

    Returns:
        The state then.
    """
    bucket = state.cache.keys.shape[3] - rules.room

    def step(state: State) -> State:
        last = jax.lax.dynamic_index_in_dim(state.tokens, state.step - 1, axis=1, keepdims=False)
        hidden, cache = _decode(model, last, state.cache, bucket + state.step - 1, state.padding, rules.dtype)
        return _emit(model, state._replace(cache=cache), hidden, rules)

    return jax.lax.while_loop(lambda state: (state.step < until) & ~jnp.all(state.ended), step, state)


def _seen(tokens: Int32[Array, "batch prompt"], padding: Int32[Array, " batch"], rules: Rules) -> Bool[Array, "..."]:
    rows, bucket = tokens.shape
    if rules.sampling.repetition_penalty == 1:
        return jnp.zeros((rows, 1), bool)
    real = jnp.arange(bucket)[None] >= padding[:, None]
    seen = jnp.zeros((rows, rules.stops.shape[0]), bool)
    return seen.at[jnp.arange(rows)[:, None], tokens].max(real)


def _emit(model: Qwen3x, state: State, hidden: Float[Array, "batch embed"], rules: Rules) -> State:
    """Chooses the next token of every row."""
    grammar = rules.grammar
    if grammar is None or not grammar.window:
        return _record(state, _choose_among_all(model, state, hidden, rules), rules)
    narrow = (grammar.window_start[state.grammar_state] >= 0) | state.ended
    chosen = _choose_in_window(model, state, hidden, rules, grammar)
    # Which rows a token is chosen from is the row's own affair, so that neighbours change nothing; what they
    # change is only whether the whole head is read as well.
    chosen = jax.lax.cond(
        jnp.all(narrow),
        lambda: chosen,
        lambda: jnp.where(narrow, chosen, _choose_among_all(model, state, hidden, rules)),
    )
    return _record(state, chosen, rules)


def _choose_among_all(
    model: Qwen3x, state: State, hidden: Float[Array, "batch embed"], rules: Rules
) -> Int32[Array, " batch"]:
    logits = model.logits(hidden)
    if rules.grammar is not None:
        allowed = rules.grammar.masks[rules.grammar.row_of_state[state.grammar_state]]
        logits = jnp.where(allowed, logits, -jnp.inf)
    return choose(logits, state.keys, state.step, rules.sampling, state.seen)


def _choose_in_window(
    model: Qwen3x, state: State, hidden: Float[Array, "batch embed"], rules: Rules, grammar: GrammarTables
) -> Int32[Array, " batch"]:
    """The same, reading only the rows of the head that a narrow state can need; anything for a wide one."""
    head = model.head_matrix

    def row(inputs):
        hidden, grammar_state, seen = inputs
        start = jnp.maximum(grammar.window_start[grammar_state], 0)
        strays = grammar.strays[grammar_state]
        ids = jnp.concatenate([start + jnp.arange(grammar.window, dtype=jnp.int32), jnp.maximum(strays, 0)])
        window = jax.lax.dynamic_slice_in_dim(head, start, grammar.window).astype(hidden.dtype)
        rows = (window, head[jnp.maximum(strays, 0)].astype(hidden.dtype))
        left = not_alone(hidden[None])
        logits = jnp.concatenate([jnp.matmul(left, x.T, preferred_element_type=jnp.float32)[0] for x in rows])
        allowed = jax.lax.dynamic_slice_in_dim(
            grammar.masks[grammar.row_of_state[grammar_state]], start, grammar.window
        )
        logits = jnp.where(jnp.concatenate([allowed, strays >= 0]), logits, -jnp.inf)
        return logits, ids, seen[ids] if seen.shape[0] > 1 else seen

    logits, ids, seen = jax.lax.map(row, (hidden, state.grammar_state, state.seen))
    chosen = choose(logits, state.keys, state.step, rules.sampling, seen)
    return jnp.take_along_axis(ids, chosen[:, None], axis=-1)[:, 0]


def _record(state: State, chosen: Int32[Array, " batch"], rules: Rules) -> State:
    chosen = jnp.where(state.ended, 0, chosen)
    ended = state.ended | rules.stops[chosen]
    grammar, grammar_state, seen = rules.grammar, state.grammar_state, state.seen
    if grammar is not None:
        following = grammar.next_state[grammar_state, grammar.class_of_token[chosen]]
        grammar_state = jnp.where(state.ended, grammar_state, following)
        ended = ended | (grammar.next_state[grammar_state] < 0).all(axis=-1)
    if seen.shape[1] > 1:
        seen = seen.at[jnp.arange(chosen.shape[0]), chosen].max(~state.ended)
    return state._replace(
        step=state.step + 1,
        tokens=jax.lax.dynamic_update_index_in_dim(state.tokens, chosen, state.step, axis=1),
        lengths=state.lengths + (~state.ended).astype(jnp.int32),
        ended=ended,
        grammar_state=grammar_state,
        seen=seen,
    )


def _prefill(
    model: Qwen3x, tokens: Int32[Array, "batch prompt"], padding: Int32[Array, " batch"], room: int, dtype
) -> tuple[Float[Array, "batch embed"], Cache]:
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
    return rms_norm(x[:, -1], model.final_norm, config.rms_epsilon), Cache(keys, values)


def _with_room(x: Float[Array, "batch prompt kv_heads head_dim"], room: int) -> Array:
    return jnp.pad(jnp.swapaxes(x, 1, 2), ((0, 0), (0, 0), (0, room), (0, 0)))


def _decode(
    model: Qwen3x,
    tokens: Int32[Array, " batch"],
    cache: Cache,
    slot: Int32[Array, ""],
    padding: Int32[Array, " batch"],
    dtype,
) -> tuple[Float[Array, "batch embed"], Cache]:
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
        cache = Cache(_store(cache.keys, key, index, slot), _store(cache.values, value, index, slot))
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
