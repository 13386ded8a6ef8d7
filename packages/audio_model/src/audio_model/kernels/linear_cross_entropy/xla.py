"""Linear layer and softmax cross-entropy in plain JAX, tile by tile."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int, Int32

from audio_model.kernels import tiled_softmax
from audio_model.kernels.tiled_softmax import Blocks, TilePlan

_Both = tuple[Float32[Array, " tokens"], Float32[Array, " tokens"]]
_Hidden = Float[Array, "tokens embed"]
_Head = Float[Array, "vocab embed"]
_Targets = Int32[Array, " tokens"]
# Operands and logsumexp.
_Residuals = tuple[_Hidden, _Head, _Targets, Float32[Array, " tokens"]]


def xla_linear_cross_entropy(
    hidden: Float[Array, "tokens embed"],
    head: Float[Array, "vocab embed"],
    targets: Int[Array, " tokens"],
    *,
    block_rows: int,
    block_columns: int,
) -> tuple[Float32[Array, " tokens"], Float32[Array, " tokens"]]:
    """`logsumexp(hidden head') - logit of the target`, and that logsumexp.

    The logits exist one `block_rows x block_columns` tile at a time, forward and backward; the
    backward pass recomputes them (four products instead of three). Logits, softmax and sums are
    float32; products take operands of `hidden`'s dtype.

    Source: the recomputation of Cut Cross-Entropy (arXiv 2411.09009). Changed: plain JAX, no
    skipping of small probabilities, so gradients are exact.
    """
    tokens = hidden.shape[0]
    rows_per_block = -(-tokens // -(-tokens // block_rows))
    plan = tiled_softmax.plan_tiles([[(0, head.shape[0])]], rows_per_block, block_columns)
    padded = jnp.pad(hidden, ((0, -tokens % rows_per_block), (0, 0)))
    targets = jnp.pad(targets.astype(jnp.int32), (0, -tokens % rows_per_block))
    both: _Both = _cross_entropy(padded, head, targets, plan)
    loss, logsumexp = both
    return loss[:tokens], logsumexp[:tokens]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _cross_entropy(hidden: _Hidden, head: _Head, targets: _Targets, plan: TilePlan) -> _Both:
    return _forward(hidden, head, targets, plan)[0]


def _forward(hidden: _Hidden, head: _Head, targets: _Targets, plan: TilePlan) -> tuple[_Both, _Residuals]:
    logsumexp = tiled_softmax.forward(hidden, head, _all_blocks(hidden, plan), plan)
    loss = tiled_softmax.losses(hidden, head, targets, logsumexp)
    return (loss, logsumexp), (hidden, head, targets, logsumexp)


def _backward(plan: TilePlan, residuals: _Residuals, cotangents: _Both) -> tuple[_Hidden, _Head, None]:
    hidden, head, targets, logsumexp = residuals
    loss_cotangent, logsumexp_cotangent = cotangents
    hidden_gradient, head_gradient = tiled_softmax.backward(
        hidden,
        head,
        _all_blocks(hidden, plan),
        plan,
        logsumexp,
        targets,
        softmax_weight=loss_cotangent + logsumexp_cotangent,
        target_weight=loss_cotangent,
    )
    return hidden_gradient.astype(hidden.dtype), head_gradient.astype(head.dtype), None


_cross_entropy.defvjp(_forward, _backward)


def _all_blocks(hidden: Array, plan: TilePlan) -> Blocks:
    return Blocks(jnp.zeros((1,), jnp.int32), jnp.full((1,), hidden.shape[0] // plan.block_rows, jnp.int32))
