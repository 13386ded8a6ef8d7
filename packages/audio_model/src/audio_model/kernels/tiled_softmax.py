"""The tiled softmax over rows of a head that both cross-entropies are made of, in plain JAX.

Rows (hidden states) come in blocks, columns (rows of the head) in tiles; every block belongs to one
set, every tile to one set, and a block meets the tiles of its own set only. A tile is a contiguous
slice of the head, so no set is ever gathered. Tiles of one width share one loop body.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int, Int32

from audio_model.kernels.dispatch import platform
from audio_model.kernels.matmul import transposed_for_matmul

_Carry = TypeVar("_Carry")
_Index = Int[Array, ""]
_Tile = Float[Array, "columns embed"]
_Running = tuple[Float32[Array, " rows"], Float32[Array, " rows"]]
_Gradients = tuple[Float32[Array, "rows embed"], Float32[Array, "vocab embed"]]
# Of the rows, and of a tile, transposed.
_TileGradients = tuple[Float32[Array, "rows embed"], Float32[Array, "embed columns"]]


class Tiles(NamedTuple):
    """Column tiles of one width.

    Attributes:
        width: Rows of the head in each tile.
        starts: First id of each tile.
        sets: Set of each tile.
    """

    width: int
    starts: tuple[int, ...]
    sets: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class TilePlan:
    """How the head is cut; hashable, hence static.

    Attributes:
        groups: Tiles by width.
        block_rows: Rows of a block.
    """

    groups: tuple[Tiles, ...]
    block_rows: int


def default_columns() -> int:
    """Widest tile where the caller names none.

    On a CPU not a power of two: each tile's gradient is transposed, and rows that lie a multiple of 4 KiB apart fall
    into one set of the cache (144,644 x 256 numbers on one AVX-512 core: 113 ms instead of 45).
    """
    return 1056 if platform() == "cpu" else 2048


class Blocks(NamedTuple):
    """Which blocks of rows each set owns: those from `first[s]` up to, not including, `stop[s]`."""

    first: Int32[Array, " sets"]
    stop: Int32[Array, " sets"]


def plan_tiles(ranges: Sequence[Sequence[tuple[int, int]]], block_rows: int, block_columns: int) -> TilePlan:
    """Cut id ranges into tiles of at most `block_columns`.

    Args:
        ranges: For each set, its half-open id ranges.
        block_rows: Rows of a block.
        block_columns: Widest tile.

    Returns:
        Full tiles and one remainder for each range, grouped by width.
    """
    by_width: dict[int, list[tuple[int, int]]] = {}
    for index, set_ranges in enumerate(ranges):
        for start, stop in set_ranges:
            for tile in range(start, stop, block_columns):
                by_width.setdefault(min(block_columns, stop - tile), []).append((tile, index))
    groups = tuple(
        Tiles(width, tuple(start for start, _ in tiles), tuple(index for _, index in tiles))
        for width, tiles in sorted(by_width.items())
    )
    return TilePlan(groups, block_rows)


def forward(
    rows: Float[Array, "rows embed"], head: Float[Array, "vocab embed"], blocks: Blocks, plan: TilePlan
) -> Float32[Array, " rows"]:
    """Logsumexp of every row's logits over the tiles of its set; minus infinity for rows of no set.

    Logits and sums are float32; a tile of `block_rows x block_columns` logits is the largest
    temporary. The running maximum and sum follow the online softmax (arXiv 1805.02867).
    """
    running = jnp.full((rows.shape[0],), -jnp.inf, jnp.float32), jnp.zeros((rows.shape[0],), jnp.float32)

    def visit(carry: _Running, tile: _Tile, _: _Index, at: _Index) -> _Running:
        row_maxima, totals = carry
        logits = _logits(_slice(rows, at, plan.block_rows), tile)
        old_max, old_total = _slice(row_maxima, at, plan.block_rows), _slice(totals, at, plan.block_rows)
        row_max = jnp.maximum(old_max, jnp.max(logits, axis=-1))
        total = old_total * jnp.exp(old_max - row_max) + jnp.sum(jnp.exp(logits - row_max[:, None]), axis=-1)
        return _update(row_maxima, row_max, at), _update(totals, total, at)

    for tiles in plan.groups:

        def per_tile(index: _Index, carry: _Running, tiles: Tiles = tiles) -> _Running:
            start, tile = _tile(head, tiles, index, rows.dtype)
            return _over_blocks(carry, tile, start, blocks, jnp.asarray(tiles.sets)[index], plan, visit)

        running = jax.lax.fori_loop(0, len(tiles.starts), per_tile, running)
    row_maxima, totals = running
    return row_maxima + jnp.log(totals)


def losses(
    hidden: Float[Array, "tokens embed"],
    head: Float[Array, "vocab embed"],
    targets: Int32[Array, " tokens"],
    logsumexp: Float32[Array, " tokens"],
) -> Float32[Array, " tokens"]:
    """`logsumexp - logit of the target`, from operands rounded as those of the tiles are.

    A cast to bfloat16 and back to float32 is dropped by the compiler where both meet in one loop: the target's logit
    then came from unrounded rows and losses fell to -0.07. `reduce_precision` is never dropped. What is left below
    zero is the order of a float32 sum, which is cut off.

    Args:
        hidden: Hidden states.
        head: Output rows; rounded to `hidden`'s dtype.
        targets: Expected ids.
        logsumexp: Of each token's logits.

    Returns:
        Loss of every token, at least 0.
    """
    rows, columns = (_rounded(x, hidden.dtype) for x in (hidden, head[targets]))
    return jnp.maximum(logsumexp - jnp.sum(rows * columns, axis=-1), 0.0)


def backward(
    rows: Float[Array, "rows embed"],
    head: Float[Array, "vocab embed"],
    blocks: Blocks,
    plan: TilePlan,
    logsumexp: Float32[Array, " rows"],
    targets: Int32[Array, " rows"],
    softmax_weight: Float32[Array, " rows"],
    target_weight: Float32[Array, " rows"],
) -> tuple[Float32[Array, "rows embed"], Float32[Array, "vocab embed"]]:
    """Gradients for `softmax_weight * softmax(logits) - target_weight * onehot(targets)` on the logits.

    Logits are recomputed tile by tile: four products in all instead of three, and no stored logits.

    Returns:
        Gradients of the rows and of the head, summed in float32.
    """
    gradients = jnp.zeros(rows.shape, jnp.float32), jnp.zeros(head.shape, jnp.float32)
    # A tile's gradient is taken transposed, `rows' gradient`: so only the rows must be laid out anew, once.
    transposed = transposed_for_matmul(rows)

    def visit(carry: _TileGradients, tile: _Tile, start: _Index, at: _Index) -> _TileGradients:
        row_gradients, tile_gradient = carry
        block = _slice(rows, at, plan.block_rows)
        parts = (_slice(x, at, plan.block_rows)[:, None] for x in (logsumexp, targets, softmax_weight, target_weight))
        block_logsumexp, block_targets, block_softmax, block_target = parts
        is_target = jnp.arange(tile.shape[0], dtype=jnp.int32)[None] == block_targets - start
        gradient = jnp.exp(_logits(block, tile) - block_logsumexp) * block_softmax
        gradient = (gradient - jnp.where(is_target, block_target, 0.0)).astype(rows.dtype)
        block_gradient = jnp.einsum("rc,ce->re", gradient, tile, preferred_element_type=jnp.float32)
        row_gradients = _update(row_gradients, _slice(row_gradients, at, plan.block_rows) + block_gradient, at)
        columns = jax.lax.dynamic_slice_in_dim(transposed, at, plan.block_rows, axis=1)
        return row_gradients, tile_gradient + jnp.matmul(columns, gradient, preferred_element_type=jnp.float32)

    for tiles in plan.groups:

        def per_tile(index: _Index, carry: _Gradients, tiles: Tiles = tiles) -> _Gradients:
            row_gradients, head_gradient = carry
            start, tile = _tile(head, tiles, index, rows.dtype)
            tile_gradient = jnp.zeros(tile.shape[::-1], jnp.float32)
            row_gradients, tile_gradient = _over_blocks(
                (row_gradients, tile_gradient), tile, start, blocks, jnp.asarray(tiles.sets)[index], plan, visit
            )
            # Without the barrier a loop of one block is unrolled and this transpose swaps the product's sides.
            return row_gradients, _update(head_gradient, jax.lax.optimization_barrier(tile_gradient).T, start)

        gradients = jax.lax.fori_loop(0, len(tiles.starts), per_tile, gradients)
    return gradients


def _over_blocks(
    carry: _Carry,
    tile: _Tile,
    start: _Index,
    blocks: Blocks,
    set_index: _Index,
    plan: TilePlan,
    visit: Callable[[_Carry, _Tile, _Index, _Index], _Carry],
) -> _Carry:
    return jax.lax.fori_loop(
        blocks.first[set_index],
        blocks.stop[set_index],
        lambda block, carry: visit(carry, tile, start, block * plan.block_rows),
        carry,
    )


def _tile(
    head: Float[Array, "vocab embed"], tiles: Tiles, index: Int32[Array, ""], dtype: jnp.dtype
) -> tuple[Array, Array]:
    start = jnp.asarray(tiles.starts, jnp.int32)[index]
    # A tile is visited once in each direction: cast here, it costs what casting the head would, without the copy.
    return start, _slice(head, start, tiles.width).astype(dtype)


def _logits(block: Float[Array, "rows embed"], tile: Float[Array, "columns embed"]) -> Float32[Array, "rows columns"]:
    return jnp.einsum("re,ce->rc", block, tile, preferred_element_type=jnp.float32)


def _rounded(x: Float[Array, "tokens embed"], dtype: jnp.dtype) -> Float32[Array, "tokens embed"]:
    kept = jnp.finfo(dtype)
    return jax.lax.reduce_precision(x.astype(jnp.float32), kept.nexp, kept.nmant)


def _slice(x: Array, start: Array, size: int) -> Array:
    return jax.lax.dynamic_slice_in_dim(x, start, size)


def _update(x: Array, new: Array, start: Array) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(x, new, start, 0)
