"""Linear layer and softmax cross-entropy on a TPU core: a tile of logits lives in vector memory and nowhere else."""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float, Float32, Int, Int32

from audio_model.kernels.linear_cross_entropy.tiles import TpuTiles, choose_tiles, vmem_limit_bytes

_Both = tuple[Float32[Array, "1 tokens"], Float32[Array, "1 tokens"]]
_Hidden = Float[Array, "tokens embed"]
_Head = Float[Array, "vocab embed"]
_Targets = Int32[Array, "1 tokens"]
# Operands, the head rounded to the hidden states' dtype; logsumexp; an empty array of the head's own dtype.
_Residuals = tuple[_Hidden, _Head, _Targets, Float32[Array, "1 tokens"], Float[Array, " 0"]]
_Contraction = tuple[tuple[tuple[int], tuple[int]], tuple[tuple[()], tuple[()]]]
_COLUMNS_BY_FEATURES: _Contraction = (((1,), (1,)), ((), ()))
_SHARED_COLUMNS: _Contraction = (((0,), (0,)), ((), ()))


def pallas_tpu_linear_cross_entropy(
    hidden: Float[Array, "tokens embed"],
    head: Float[Array, "vocab embed"],
    targets: Int[Array, " tokens"],
    *,
    tiles: TpuTiles | None = None,
    interpret: bool = False,
) -> tuple[Float32[Array, " tokens"], Float32[Array, " tokens"]]:
    """`logsumexp(hidden head') - logit of the target`, and that logsumexp.

    Forward: for a block of rows, tiles of the head stream by; `head tile x rows'` gives logits with tokens along the
    lanes, so that the running maximum, sum and target logit of the online softmax are one lane-dense row each.

    Backward: the logits are recomputed, four products in all. A block of rows keeps its hidden states and their
    gradient in vector memory while head tiles stream by, each with its slice of the head's gradient, which is read,
    added to and written back; so the head's gradient crosses the memory bus twice for each block of rows and is summed
    in float32.

    Bytes moved: forward, `hidden` once and `head` once for each block of rows; backward, the same and the float32
    gradient of the head twice for each block of rows. `tiles x tiles` logits are the largest temporary.

    Logits, softmax and all sums are float32; products take operands of `hidden`'s dtype. Runs on TPU v4 and later, one
    device: shard the rows with `shard_map`.

    Args:
        hidden: Hidden states.
        head: Output rows; cast to `hidden`'s dtype.
        targets: Expected ids in [0, vocab).
        tiles: Sides of a tile of logits; None for `choose_tiles`.
        interpret: Run the kernel's operations one by one on any device, for tests.

    Returns:
        Loss and logsumexp of every token in float32.

    Source: the online softmax (arXiv 1805.02867) and the recomputation of Cut Cross-Entropy (arXiv 2411.09009).
    Changed: tokens along lanes, one fused backward kernel instead of two, no skipping of small probabilities.
    """
    tokens, embed = hidden.shape
    if tiles is None:
        tiles = choose_tiles(tokens, embed, hidden.dtype.itemsize, vmem_limit_bytes())
    padding = -tokens % tiles.rows
    padded = jnp.pad(hidden, ((0, padding), (0, 0)))
    row = jnp.pad(targets.astype(jnp.int32), (0, padding))[None]
    both: _Both = _cross_entropy(padded, head, row, tiles, interpret)
    loss, logsumexp = both
    return loss[0, :tokens], logsumexp[0, :tokens]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _cross_entropy(hidden: _Hidden, head: _Head, targets: _Targets, tiles: TpuTiles, interpret: bool) -> _Both:
    return _forward(hidden, head, targets, tiles, interpret)[0]


def _forward(
    hidden: _Hidden, head: _Head, targets: _Targets, tiles: TpuTiles, interpret: bool
) -> tuple[_Both, _Residuals]:
    tokens, embed = hidden.shape
    vocab = head.shape[0]
    # Cast in here, so that the gradient goes out in float32 as it was summed; the residual keeps the narrow copy.
    narrow = head.astype(hidden.dtype)
    row = pl.BlockSpec((1, tiles.rows), lambda i, j: (0, i))
    loss, logsumexp = pl.pallas_call(
        functools.partial(_forward_kernel, vocab=vocab),
        grid=(tokens // tiles.rows, pl.cdiv(vocab, tiles.columns)),
        in_specs=[
            row,
            pl.BlockSpec((tiles.rows, embed), lambda i, j: (i, 0)),
            pl.BlockSpec((tiles.columns, embed), lambda i, j: (j, 0)),
        ],
        out_specs=[row, row],
        out_shape=[jax.ShapeDtypeStruct((1, tokens), jnp.float32)] * 2,
        scratch_shapes=[pltpu.VMEM((1, tiles.rows), jnp.float32)] * 3,
        compiler_params=_compiler_params("parallel", "arbitrary"),
        cost_estimate=forward_cost(tokens, vocab, embed, hidden.dtype.itemsize, tiles),
        interpret=interpret,
        name="linear_cross_entropy_forward",
    )(targets, hidden, narrow)
    return (loss, logsumexp), (hidden, narrow, targets, logsumexp, jnp.empty((0,), head.dtype))


def _forward_kernel(
    targets: jax.Ref,
    hidden: jax.Ref,
    head: jax.Ref,
    loss: jax.Ref,
    logsumexp: jax.Ref,
    row_max: jax.Ref,
    total: jax.Ref,
    target_logit: jax.Ref,
    *,
    vocab: int,
) -> None:
    @pl.when(pl.program_id(1) == 0)
    def _():
        row_max[...] = jnp.full(row_max.shape, -jnp.inf, row_max.dtype)
        total[...] = jnp.zeros(total.shape, total.dtype)
        target_logit[...] = jnp.zeros(target_logit.shape, target_logit.dtype)

    logits = _product(head[...], hidden[...], _COLUMNS_BY_FEATURES)
    ids = _ids(logits.shape, 1)
    # The last tile may reach beyond the vocabulary, where memory holds anything.
    logits = jnp.where(ids < vocab, logits, -jnp.inf)
    new_max = jnp.maximum(row_max[...], jnp.max(logits, axis=0, keepdims=True))
    rescaled = total[...] * jnp.exp(row_max[...] - new_max)
    total[...] = rescaled + jnp.sum(jnp.exp(logits - new_max), axis=0, keepdims=True)
    row_max[...] = new_max
    target_logit[...] += jnp.sum(jnp.where(ids == targets[...], logits, 0.0), axis=0, keepdims=True)

    @pl.when(pl.program_id(1) == pl.num_programs(1) - 1)
    def _():
        logsumexp[...] = row_max[...] + jnp.log(total[...])
        loss[...] = logsumexp[...] - target_logit[...]


def _backward(
    tiles: TpuTiles, interpret: bool, residuals: _Residuals, cotangents: _Both
) -> tuple[_Hidden, _Head, None]:
    hidden, head, targets, logsumexp, of_head_dtype = residuals
    loss_cotangent, logsumexp_cotangent = cotangents
    rows = (targets, logsumexp, loss_cotangent + logsumexp_cotangent, loss_cotangent)

    def per_block(head_gradient: Float32[Array, "vocab embed"], index: Int32[Array, ""]):
        start = index * tiles.rows
        block = jax.lax.dynamic_slice_in_dim(hidden, start, tiles.rows)
        block_rows = tuple(jax.lax.dynamic_slice_in_dim(row, start, tiles.rows, axis=1) for row in rows)
        return _backward_block(block, head, block_rows, head_gradient, tiles, interpret)

    blocks = jnp.arange(hidden.shape[0] // tiles.rows, dtype=jnp.int32)
    head_gradient, hidden_gradient = jax.lax.scan(per_block, jnp.zeros(head.shape, jnp.float32), blocks)
    return hidden_gradient.reshape(hidden.shape), head_gradient.astype(of_head_dtype.dtype), None


_cross_entropy.defvjp(_forward, _backward)


def _backward_block(
    hidden: Float[Array, "rows embed"],
    head: _Head,
    rows: tuple[Array, ...],
    head_gradient: Float32[Array, "vocab embed"],
    tiles: TpuTiles,
    interpret: bool,
) -> tuple[Float32[Array, "vocab embed"], Float[Array, "rows embed"]]:
    """Add a block of rows to the head's gradient, in place, and return the gradient of its hidden states."""
    vocab, embed = head.shape
    row = pl.BlockSpec((1, tiles.rows), lambda j: (0, 0))
    block = pl.BlockSpec((tiles.rows, embed), lambda j: (0, 0))
    tile = pl.BlockSpec((tiles.columns, embed), lambda j: (j, 0))
    return pl.pallas_call(
        functools.partial(_backward_kernel, vocab=vocab),
        grid=(pl.cdiv(vocab, tiles.columns),),
        in_specs=[row, row, row, row, block, tile, tile],
        out_specs=[tile, block],
        out_shape=[
            jax.ShapeDtypeStruct(head.shape, jnp.float32),
            jax.ShapeDtypeStruct(hidden.shape, hidden.dtype),
        ],
        scratch_shapes=[pltpu.VMEM((tiles.rows, embed), jnp.float32)],
        input_output_aliases={6: 0},
        compiler_params=_compiler_params("arbitrary"),
        cost_estimate=backward_block_cost(vocab, embed, hidden.dtype.itemsize, tiles),
        interpret=interpret,
        name="linear_cross_entropy_backward",
    )(*rows, hidden, head, head_gradient)


def _backward_kernel(
    targets: jax.Ref,
    logsumexp: jax.Ref,
    softmax_weight: jax.Ref,
    target_weight: jax.Ref,
    hidden: jax.Ref,
    head: jax.Ref,
    old_head_gradient: jax.Ref,
    head_gradient: jax.Ref,
    hidden_gradient: jax.Ref,
    hidden_sum: jax.Ref,
    *,
    vocab: int,
) -> None:
    @pl.when(pl.program_id(0) == 0)
    def _():
        hidden_sum[...] = jnp.zeros(hidden_sum.shape, hidden_sum.dtype)

    tile = head[...]
    # Beyond the vocabulary memory holds anything, and nothing times anything may be no number.
    tile = jnp.where(_ids(tile.shape, 0) < vocab, tile, jnp.zeros_like(tile))
    logits = _product(tile, hidden[...], _COLUMNS_BY_FEATURES)
    is_target = _ids(logits.shape, 0) == targets[...]
    gradient = jnp.exp(logits - logsumexp[...]) * softmax_weight[...] - jnp.where(is_target, target_weight[...], 0.0)
    gradient = gradient.astype(tile.dtype)
    head_gradient[...] = old_head_gradient[...] + jnp.dot(gradient, hidden[...], preferred_element_type=jnp.float32)
    hidden_sum[...] += _product(gradient, tile, _SHARED_COLUMNS)

    @pl.when(pl.program_id(0) == pl.num_programs(0) - 1)
    def _():
        hidden_gradient[...] = hidden_sum[...].astype(hidden_gradient.dtype)


def forward_cost(tokens: int, vocab: int, embed: int, itemsize: int, tiles: TpuTiles) -> pl.CostEstimate:
    """Return what the forward kernel computes and moves; the compiler cannot see inside a kernel.

    Args:
        tokens: Positions, a multiple of `tiles.rows`.
        vocab: Number of ids.
        embed: Width of hidden states.
        itemsize: Bytes of one number of the products' operands.
        tiles: Sides of a tile of logits.
    """
    passes = tokens // tiles.rows
    return pl.CostEstimate(
        flops=2 * tokens * vocab * embed,
        transcendentals=tokens * vocab,
        bytes_accessed=(tokens + passes * vocab) * embed * itemsize + 3 * tokens * 4,
    )


def backward_block_cost(vocab: int, embed: int, itemsize: int, tiles: TpuTiles) -> pl.CostEstimate:
    """Return what the backward kernel computes and moves for one block of rows.

    Args:
        vocab: Number of ids.
        embed: Width of hidden states.
        itemsize: Bytes of one number of the products' operands.
        tiles: Sides of a tile of logits.
    """
    return pl.CostEstimate(
        flops=6 * tiles.rows * vocab * embed,
        transcendentals=tiles.rows * vocab,
        bytes_accessed=(2 * tiles.rows + vocab) * embed * itemsize + 8 * vocab * embed + 4 * tiles.rows * 4,
    )


def _compiler_params(*semantics: Literal["parallel", "arbitrary"]) -> pltpu.CompilerParams:
    return pltpu.CompilerParams(dimension_semantics=semantics, vmem_limit_bytes=vmem_limit_bytes())


def _product(left: Array, right: Array, contracted: _Contraction) -> Float32[Array, "..."]:
    return jax.lax.dot_general(left, right, contracted, preferred_element_type=jnp.float32)


def _ids(shape: tuple[int, ...], axis: int) -> Int32[Array, "columns any"]:
    """Return the id of each row of a tile; `axis` is the grid's axis that runs over tiles."""
    return pl.program_id(axis) * shape[0] + jax.lax.broadcasted_iota(jnp.int32, shape, 0)
