"""Cross-entropy inside allowed sets, in plain JAX: positions sorted by set, tile by tile."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int, Int32

from audio_model.kernels import tiled_softmax
from audio_model.kernels.grammar_cross_entropy.sets import TokenSets
from audio_model.kernels.tiled_softmax import Blocks, TilePlan

_Both = tuple[Float32[Array, " tokens"], Float32[Array, " tokens"]]


class _Layout(NamedTuple):
    """Where every position went: `slot` of each position, `source` of each slot (or the number of positions)."""

    slot: Int32[Array, " tokens"]
    source: Int32[Array, " slots"]
    blocks: Blocks


_Hidden = Float[Array, "tokens embed"]
_Head = Float[Array, "vocab embed"]
_Targets = Int32[Array, " tokens"]
# Hidden states in slots, head, targets, layout, and the logsumexp of each slot.
_Residuals = tuple[Float[Array, "slots embed"], _Head, _Targets, _Layout, Float32[Array, " slots"]]


def xla_grammar_cross_entropy(
    hidden: Float[Array, "tokens embed"],
    head: Float[Array, "vocab embed"],
    targets: Int[Array, " tokens"],
    mask: Bool[Array, " tokens"],
    sets: TokenSets,
    *,
    block_rows: int,
    block_columns: int,
) -> tuple[Float32[Array, " tokens"], Float32[Array, " tokens"]]:
    """`logsumexp over the target's set - logit of the target`, and that logsumexp.

    Positions are laid out in slots so that each set's begin at a block boundary: with static shapes
    that takes `ceil(tokens / block_rows) + num_sets` blocks, and loops run over the blocks in use
    only. A block meets the rows of its own set alone, so work is proportional to
    `tokens x size of a set`, not to `tokens x vocab`. Masked positions get no slot.

    Logits, softmax and sums are float32; products take operands of `hidden`'s dtype. The backward
    pass recomputes the logits.
    """
    set_of_token = jnp.asarray(sets.set_of_token(head.shape[0]))
    targets = jnp.where(mask, targets, 0).astype(jnp.int32)
    set_of_position = jnp.where(mask, set_of_token[targets], -1)
    plan = tiled_softmax.plan_tiles(sets.ranges, block_rows, block_columns)
    layout = _lay_out(set_of_position, sets.num_sets, block_rows)
    both: _Both = _cross_entropy(hidden, head, targets, layout, plan)
    loss, logsumexp = both
    # A counted target in no set is a mistake of the caller: not a number is louder than zero.
    legal = jnp.where(mask & (set_of_position < 0), jnp.nan, 0.0).astype(jnp.float32)
    counted = set_of_position >= 0
    return jnp.where(counted, loss, legal), jnp.where(counted, logsumexp, legal)


def _lay_out(set_of_position: Int32[Array, " tokens"], num_sets: int, block_rows: int) -> _Layout:
    tokens = set_of_position.shape[0]
    num_slots = (-(-tokens // block_rows) + num_sets) * block_rows
    member = (set_of_position[:, None] == jnp.arange(num_sets)[None]).astype(jnp.int32)
    rank = jnp.sum((jnp.cumsum(member, axis=0) - 1) * member, axis=1)
    count = -(-jnp.sum(member, axis=0) // block_rows)
    first = jnp.cumsum(count) - count
    slot = jnp.where(set_of_position < 0, num_slots, first[set_of_position] * block_rows + rank)
    source = jnp.full((num_slots,), tokens, jnp.int32)
    source = source.at[slot].set(jnp.arange(tokens, dtype=jnp.int32), mode="drop", unique_indices=True)
    return _Layout(slot, source, Blocks(first, first + count))


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _cross_entropy(hidden: _Hidden, head: _Head, targets: _Targets, layout: _Layout, plan: TilePlan) -> _Both:
    return _forward(hidden, head, targets, layout, plan)[0]


def _forward(
    hidden: _Hidden, head: _Head, targets: _Targets, layout: _Layout, plan: TilePlan
) -> tuple[_Both, _Residuals]:
    rows = _to_slots(hidden, layout)
    slot_logsumexp = tiled_softmax.forward(rows, head, layout.blocks, plan)
    logsumexp = _from_slots(slot_logsumexp, layout)
    loss = tiled_softmax.losses(hidden, head, targets, logsumexp)
    return (loss, logsumexp), (rows, head, targets, layout, slot_logsumexp)


def _backward(plan: TilePlan, residuals: _Residuals, cotangents: _Both) -> tuple[_Hidden, _Head, None, None]:
    rows, head, targets, layout, slot_logsumexp = residuals
    loss_cotangent, logsumexp_cotangent = cotangents
    rows_gradient, head_gradient = tiled_softmax.backward(
        rows,
        head,
        layout.blocks,
        plan,
        slot_logsumexp,
        _to_slots(targets, layout),
        softmax_weight=_to_slots(loss_cotangent + logsumexp_cotangent, layout),
        target_weight=_to_slots(loss_cotangent, layout),
    )
    return _from_slots(rows_gradient, layout).astype(rows.dtype), head_gradient.astype(head.dtype), None, None


_cross_entropy.defvjp(_forward, _backward)


def _to_slots(x: Array, layout: _Layout) -> Array:
    return jnp.take(x, layout.source, axis=0, mode="fill", fill_value=0)


def _from_slots(x: Array, layout: _Layout) -> Array:
    return jnp.take(x, layout.slot, axis=0, mode="fill", fill_value=0)
