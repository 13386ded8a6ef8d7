"""Attention in plain JAX, by blocks of queries: fast on a CPU, light in memory everywhere."""

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Float32, Int

from audio_model.kernels.matmul import transposed_matmul

ATTENTION = "attention"
"""Name under which the output and the logsumexp can be kept for the backward pass."""

_SMALLEST_BLOCK = 128
_MOST_BLOCKS = 8
# Finite, so that a row whose scores are all hidden (there is none: a token sees itself) cannot make NaN.
_HIDDEN = -1e30

_Heads = Float[Array, "batch kv_heads seq head_dim"]
_GroupedHeads = Float[Array, "batch kv_heads groups seq head_dim"]
_Segments = Int[Array, "batch seq"]
# Operands, output and logsumexp.
_Residuals = tuple[
    _GroupedHeads, _Heads, _Heads, _Segments, _GroupedHeads, Float32[Array, "batch kv_heads groups seq 1"]
]


def xla_attention(
    query: Float[Array, "batch seq heads head_dim"],
    key: Float[Array, "batch seq kv_heads head_dim"],
    value: Float[Array, "batch seq kv_heads head_dim"],
    segment_ids: Int[Array, "batch seq"],
) -> Float[Array, "batch seq heads head_dim"]:
    """Causal attention within segments.

    For query block i and the keys up to its end, `softmax(q k' / sqrt(head_dim)) v`; keys beyond the
    block's end are never touched, which skips nearly half the work. The backward pass keeps only the
    output and each query's logsumexp and recomputes the scores. Query heads that share a key head are
    stacked as rows of one product, so keys are never repeated. Blocks hold 128 queries, or an eighth
    of the row where that is more.

    Scores, softmax and all sums are float32; products take operands of `query`'s dtype. Measured on one
    AVX-512 core at batch 4, 512 tokens, 3 heads of 64, forward and backward: 11.8 ms, against 28.8 ms
    for the definition.

    Source: the recomputation of FlashAttention (arXiv 2205.14135) and the block order of
    FlashAttention-2 (arXiv 2307.08691). Changed: blocks of queries only, whole rows of keys.
    """
    batch, seq, heads, head_dim = query.shape
    block = max(_SMALLEST_BLOCK, -(-seq // _MOST_BLOCKS))
    padding = -seq % block if seq > block else 0
    query, key, value, segment_ids = (
        jnp.pad(x, [(0, 0), (0, padding)] + [(0, 0)] * (x.ndim - 2)) for x in (query, key, value, segment_ids)
    )
    kv_heads = key.shape[2]
    grouped = query.reshape(batch, seq + padding, kv_heads, heads // kv_heads, head_dim).transpose(0, 2, 3, 1, 4)
    attended = _attend(grouped, jnp.swapaxes(key, 1, 2), jnp.swapaxes(value, 1, 2), segment_ids)
    return attended.transpose(0, 3, 1, 2, 4).reshape(query.shape)[:, :seq]


@jax.custom_vjp
def _attend(query: _GroupedHeads, key: _Heads, value: _Heads, segment_ids: _Segments) -> _GroupedHeads:
    return _forward(query, key, value, segment_ids)[0]


def _forward(
    query: _GroupedHeads, key: _Heads, value: _Heads, segment_ids: _Segments
) -> tuple[_GroupedHeads, _Residuals]:
    outputs, logsumexps = [], []
    for start, stop in _blocks(query.shape[3]):
        scores = _scores(_rows(query, start, stop), key[:, :, :stop], segment_ids, start, stop)
        row_max = jnp.max(scores, axis=-1, keepdims=True)
        weights = jnp.exp(scores - row_max)
        total = jnp.sum(weights, axis=-1, keepdims=True)
        output = _product("bkqs,bksd->bkqd", weights.astype(value.dtype), value[:, :, :stop]) / total
        outputs.append(_unrows(output.astype(query.dtype), query.shape[2]))
        logsumexps.append(_unrows(row_max + jnp.log(total), query.shape[2]))
    output = checkpoint_name(jnp.concatenate(outputs, axis=3), ATTENTION)
    logsumexp = checkpoint_name(jnp.concatenate(logsumexps, axis=3), ATTENTION)
    return output, (query, key, value, segment_ids, output, logsumexp)


def _backward(residuals: _Residuals, cotangent: _GroupedHeads) -> tuple[_GroupedHeads, _Heads, _Heads, None]:
    query, key, value, segment_ids, output, logsumexp = residuals
    blocks = _blocks(query.shape[3])
    delta = jnp.sum(cotangent.astype(jnp.float32) * output.astype(jnp.float32), axis=-1, keepdims=True)
    query_gradients = []
    key_parts: list[list[Array]] = [[] for _ in blocks]
    value_parts: list[list[Array]] = [[] for _ in blocks]
    for start, stop in blocks:
        rows, rows_cotangent = _rows(query, start, stop), _rows(cotangent, start, stop)
        keys, values = key[:, :, :stop], value[:, :, :stop]
        weights = jnp.exp(_scores(rows, keys, segment_ids, start, stop) - _rows(logsumexp, start, stop))
        weights_gradient = _product("bkqd,bksd->bkqs", rows_cotangent, values)
        scores_gradient = weights * (weights_gradient - _rows(delta, start, stop)) * query.shape[-1] ** -0.5
        scores_gradient = scores_gradient.astype(query.dtype)
        query_gradients.append(_unrows(_product("bkqs,bksd->bkqd", scores_gradient, keys), query.shape[2]))
        # `[head_dim, rows] @ [rows, keys]`: the smaller side is the one that is laid out anew.
        _split(key_parts, transposed_matmul(rows, scores_gradient), blocks)
        _split(value_parts, transposed_matmul(rows_cotangent, weights.astype(value.dtype)), blocks)
    query_gradient = jnp.concatenate(query_gradients, axis=3).astype(query.dtype)
    return query_gradient, _joined(key_parts, key), _joined(value_parts, value), None


_attend.defvjp(_forward, _backward)


def _blocks(seq: int) -> list[tuple[int, int]]:
    size = max(_SMALLEST_BLOCK, -(-seq // _MOST_BLOCKS))
    return [(start, min(start + size, seq)) for start in range(0, seq, size)]


def _rows(x: Float[Array, "batch kv_heads groups seq width"], start: int, stop: int) -> Array:
    """Return queries of one block, heads that share a key head one below the other."""
    block = x[:, :, :, start:stop]
    return block.reshape(*x.shape[:2], -1, x.shape[-1])


def _unrows(x: Float[Array, "batch kv_heads rows width"], groups: int) -> Array:
    return x.reshape(*x.shape[:2], groups, -1, x.shape[-1])


def _scores(
    rows: Float[Array, "batch kv_heads rows head_dim"],
    keys: Float[Array, "batch kv_heads stop head_dim"],
    segment_ids: Int[Array, "batch seq"],
    start: int,
    stop: int,
) -> Float32[Array, "batch kv_heads rows stop"]:
    visible = _visible(segment_ids, start, stop)
    scores = _product("bkqd,bksd->bkqs", rows, keys) * rows.shape[-1] ** -0.5
    groups = rows.shape[2] // (stop - start)
    split = scores.reshape(*scores.shape[:2], groups, stop - start, stop)
    return jnp.where(visible[:, None, None], split, _HIDDEN).reshape(scores.shape)


def _visible(segment_ids: Int[Array, "batch seq"], start: int, stop: int) -> Bool[Array, "batch block stop"]:
    same_segment = segment_ids[:, start:stop, None] == segment_ids[:, None, :stop]
    causal = jnp.arange(start, stop)[:, None] >= jnp.arange(stop)[None, :]
    return same_segment & causal[None]


def _product(equation: str, left: Array, right: Array) -> Float32[Array, "..."]:
    return jnp.einsum(equation, left, right, preferred_element_type=jnp.float32)


def _split(parts: list[list[Array]], gradient: Array, blocks: list[tuple[int, int]]) -> None:
    for part, (start, stop) in zip(parts, blocks, strict=True):
        if stop <= gradient.shape[-1]:
            part.append(gradient[..., start:stop])


def _joined(parts: list[list[Array]], like: Array) -> Array:
    return jnp.swapaxes(jnp.concatenate([sum(part[1:], part[0]) for part in parts], axis=-1), 2, 3).astype(like.dtype)
