"""RMSNorm of each head and rotary embedding on a TPU core: read once, written once."""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Bool, Float, Float32, Int32

from audio_model.rope import RopeTables

_LANES = 128
_BLOCK_BYTES = 2 * 2**20

_Projected = Float[Array, "batch seq width"]
_Scales = Float32[Array, "1 group"]
_Table = Float32[Array, "batch seq group"]
_Heads = Float[Array, "batch heads seq head_dim"]
_Residuals = tuple[_Projected, _Scales, _Table]


def pallas_tpu_qk_norm_rope(
    x: Float[Array, "batch seq width"],
    weight: Float[Array, " head_dim"],
    tables: RopeTables,
    epsilon: float,
    *,
    interpret: bool = False,
) -> Float[Array, "batch seq heads head_dim"]:
    """`rotate(x / rms(x) * weight)` of every head.

    With partner(m) the other feature of each pair, y = m cos + partner(m) (-sin, sin), where m = x / rms(x) * weight.
    A block of tokens holds all heads side by side along the lanes, as the projection wrote them; heads narrower than
    128 lanes share a group of lanes. The result is written head by head, in the order in which the attention kernel
    reads it, so that no transpose is left between the two. The backward pass recomputes m and sums the weight's
    gradient over all blocks.

    Bytes moved: forward, `x` read, the result written, one row of cosines and sines a token; backward, `x` and the
    result's gradient read, `x`'s gradient written, and the tables again. Plain XLA moves five to six times as much.

    Statistics, rotation and sums are float32. Runs on TPU v4 and later, one device.

    Args:
        x: Projected queries or keys, heads one after another.
        weight: Scale of each feature of a head.
        tables: What `rope_tables` gave for the positions.
        epsilon: Added to the mean square.
        interpret: Run the kernel's operations one by one on any device, for tests.

    Returns:
        Normalised and rotated heads in `x`'s dtype.
    """
    seq, width = x.shape[1:]
    head_dim = weight.shape[0]
    group = _group_width(width, head_dim)
    block = block_rows(seq, width, x.dtype.itemsize)
    padding = -seq % block
    table = jnp.tile(jnp.concatenate(tables, axis=-1), (1, 1, group // head_dim))
    padded, table = (jnp.pad(y, ((0, 0), (0, padding), (0, 0))) for y in (x, table))
    scales = jnp.tile(weight.astype(jnp.float32), group // head_dim)[None]
    by_head: Array = _norm_rope(padded, scales, table, head_dim, block, epsilon, interpret)
    return jnp.swapaxes(by_head, 1, 2)[:, :seq]


def block_rows(seq: int, width: int, itemsize: int) -> int:
    """Tokens of a block: as many as keep one operand's block near 2 MiB, a multiple of 16, at most 512."""
    fitting = max(16, _BLOCK_BYTES // (width * itemsize) // 16 * 16)
    return min(512, fitting, -(-seq // 16) * 16)


def _group_width(width: int, head_dim: int) -> int:
    """Lanes worked on together: whole heads, 128 lanes where heads are narrower and fill them."""
    if head_dim < _LANES and _LANES % head_dim == 0 and width % _LANES == 0:
        return _LANES
    return head_dim


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5, 6))
def _norm_rope(
    x: _Projected, scales: _Scales, table: _Table, head_dim: int, block: int, epsilon: float, interpret: bool
) -> _Heads:
    return _forward(x, scales, table, head_dim, block, epsilon, interpret)[0]


def _forward(
    x: _Projected, scales: _Scales, table: _Table, head_dim: int, block: int, epsilon: float, interpret: bool
) -> tuple[_Heads, _Residuals]:
    batch, seq, width = x.shape
    group, heads = scales.shape[1], width // head_dim
    y = pl.pallas_call(
        functools.partial(_forward_kernel, head_dim=head_dim, epsilon=epsilon),
        grid=(batch, seq // block),
        in_specs=[_tokens(block, width), _tokens(block, group), pl.BlockSpec((1, group), lambda b, i: (0, 0))],
        out_specs=_heads(block, heads, head_dim),
        out_shape=jax.ShapeDtypeStruct((batch, heads, seq, head_dim), x.dtype),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel")),
        cost_estimate=forward_cost(batch * seq, width, group, x.dtype.itemsize),
        interpret=interpret,
        name="qk_norm_rope_forward",
    )(x, table, scales)
    return y, (x, scales, table)


def _forward_kernel(x: jax.Ref, table: jax.Ref, scales: jax.Ref, y: jax.Ref, *, head_dim: int, epsilon: float) -> None:
    group = table.shape[2]
    cosine, sine = _turns(table[0], head_dim)
    for start in range(0, x.shape[2], group):
        lanes = x[0, :, start : start + group].astype(jnp.float32)
        scaled = lanes * _inverse_rms(lanes, head_dim, epsilon) * scales[...]
        turned = (scaled * cosine + _partners(scaled, head_dim) * sine).astype(y.dtype)
        for offset in range(0, group, head_dim):
            y[0, (start + offset) // head_dim] = turned[:, offset : offset + head_dim]


def _backward(
    head_dim: int, block: int, epsilon: float, interpret: bool, residuals: _Residuals, cotangent: _Heads
) -> tuple[_Projected, _Scales, None]:
    x, scales, table = residuals
    batch, seq, width = x.shape
    group, heads = scales.shape[1], width // head_dim
    row = pl.BlockSpec((1, group), lambda b, i: (0, 0))
    x_gradient, scales_gradient = pl.pallas_call(
        functools.partial(_backward_kernel, head_dim=head_dim, epsilon=epsilon),
        grid=(batch, seq // block),
        in_specs=[_tokens(block, width), _tokens(block, group), row, _heads(block, heads, head_dim)],
        out_specs=[_tokens(block, width), row],
        out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype), jax.ShapeDtypeStruct((1, group), jnp.float32)],
        compiler_params=pltpu.CompilerParams(dimension_semantics=("arbitrary", "arbitrary")),
        cost_estimate=backward_cost(batch * seq, width, group, x.dtype.itemsize),
        interpret=interpret,
        name="qk_norm_rope_backward",
    )(x, table, scales, cotangent)
    return x_gradient, scales_gradient, None


_norm_rope.defvjp(_forward, _backward)


def _backward_kernel(
    x: jax.Ref,
    table: jax.Ref,
    scales: jax.Ref,
    cotangent: jax.Ref,
    x_gradient: jax.Ref,
    scales_gradient: jax.Ref,
    *,
    head_dim: int,
    epsilon: float,
) -> None:
    @pl.when((pl.program_id(0) == 0) & (pl.program_id(1) == 0))
    def _():
        scales_gradient[...] = jnp.zeros(scales_gradient.shape, scales_gradient.dtype)

    group = table.shape[2]
    cosine, sine = _turns(table[0], head_dim)
    for start in range(0, x.shape[2], group):
        lanes = x[0, :, start : start + group].astype(jnp.float32)
        inverse = _inverse_rms(lanes, head_dim, epsilon)
        normed = lanes * inverse
        parts = [cotangent[0, (start + offset) // head_dim] for offset in range(0, group, head_dim)]
        turned = jnp.concatenate(parts, axis=-1).astype(jnp.float32)
        scaled = turned * cosine + _partners(turned * sine, head_dim)
        scales_gradient[...] += jnp.sum(scaled * normed, axis=0, keepdims=True)
        gradient = scaled * scales[...]
        along = _head_sums(gradient * normed, head_dim) / head_dim
        x_gradient[0, :, start : start + group] = ((gradient - normed * along) * inverse).astype(x_gradient.dtype)


def _inverse_rms(lanes: Float32[Array, "rows group"], head_dim: int, epsilon: float) -> Float32[Array, "rows any"]:
    return jax.lax.rsqrt(_head_sums(lanes * lanes, head_dim) / head_dim + epsilon)


def _head_sums(lanes: Float32[Array, "rows group"], head_dim: int) -> Float32[Array, "rows any"]:
    """Return the sum over each head, at every lane of the head (one lane where a group is one head)."""
    group = lanes.shape[1]
    if group == head_dim:
        return jnp.sum(lanes, axis=-1, keepdims=True)
    head = jax.lax.div(_lane(lanes.shape), head_dim)
    sums = jnp.zeros_like(lanes)
    for index in range(group // head_dim):
        total = jnp.sum(jnp.where(head == index, lanes, 0.0), axis=-1, keepdims=True)
        sums = jnp.where(head == index, total, sums)
    return sums


def _partners(lanes: Float32[Array, "rows group"], head_dim: int) -> Float32[Array, "rows group"]:
    """Return the other feature of each pair."""
    half, group = head_dim // 2, lanes.shape[1]
    if group == head_dim:
        return jnp.roll(lanes, half, 1)
    return jnp.where(_is_first(lanes.shape, head_dim), jnp.roll(lanes, group - half, 1), jnp.roll(lanes, half, 1))


def _turns(
    table: Float32[Array, "rows group"], head_dim: int
) -> tuple[Float32[Array, "rows group"], Float32[Array, "rows group"]]:
    """Cosine and signed sine of every lane, from cosines in the first half of each head and sines in the second."""
    other, is_first = _partners(table, head_dim), _is_first(table.shape, head_dim)
    return jnp.where(is_first, table, other), jnp.where(is_first, -other, table)


def _is_first(shape: tuple[int, ...], head_dim: int) -> Bool[Array, "rows group"]:
    return jax.lax.rem(_lane(shape), head_dim) < head_dim // 2


def _lane(shape: tuple[int, ...]) -> Int32[Array, "rows group"]:
    return jax.lax.broadcasted_iota(jnp.int32, shape, 1)


def _tokens(block: int, width: int) -> pl.BlockSpec:
    return pl.BlockSpec((1, block, width), lambda b, i: (b, i, 0))


def _heads(block: int, heads: int, head_dim: int) -> pl.BlockSpec:
    return pl.BlockSpec((1, heads, block, head_dim), lambda b, i: (b, 0, i, 0))


def forward_cost(tokens: int, width: int, group: int, itemsize: int) -> pl.CostEstimate:
    """Return what the forward kernel computes and moves; the compiler cannot see inside a kernel.

    Args:
        tokens: Tokens of all rows, padding included.
        width: Heads times their width.
        group: Lanes of the tables.
        itemsize: Bytes of one feature.
    """
    moved = 2 * tokens * width * itemsize + 4 * tokens * group + 4 * group
    return pl.CostEstimate(flops=8 * tokens * width, transcendentals=tokens, bytes_accessed=moved)


def backward_cost(tokens: int, width: int, group: int, itemsize: int) -> pl.CostEstimate:
    """Return what the backward kernel computes and moves.

    Args:
        tokens: Tokens of all rows, padding included.
        width: Heads times their width.
        group: Lanes of the tables.
        itemsize: Bytes of one feature.
    """
    moved = 3 * tokens * width * itemsize + 4 * tokens * group + 8 * group
    return pl.CostEstimate(flops=20 * tokens * width, transcendentals=tokens, bytes_accessed=moved)
