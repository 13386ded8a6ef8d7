"""Sizes of the tiles of the TPU kernel, and the vector memory that they take."""

import dataclasses

import jax

_LANES = 128
_WIDEST_ROWS = 2048
_WIDEST_COLUMNS = 512
VMEM_BYTES = 32 * 2**20
"""Vector memory a kernel asks for: half of a v5p core's, a quarter of a v5e's or a v6e's."""
_V4_VMEM_BYTES = 16 * 2**20
# The estimate below is at most 5 % under what the v5p compiler asks for (33.5 MiB against 35 at width 2,560).
_USABLE_FRACTION = 0.95


@dataclasses.dataclass(frozen=True)
class TpuTiles:
    """Sides of a tile of logits.

    Attributes:
        rows: Tokens, along the lanes: all of them, or a multiple of 128.
        columns: Ids, along the sublanes: a multiple of 16, which suits float32 and bfloat16 alike.
    """

    rows: int
    columns: int


def vmem_limit_bytes() -> int:
    """Vector memory to ask for here: a v4 core has no more than 16 MiB, later ones have room for `VMEM_BYTES`.

    Ahead of time, on a machine without a TPU, a later one is assumed.
    """
    device = jax.devices()[0]
    return _V4_VMEM_BYTES if device.platform == "tpu" and "v4" in device.device_kind.lower() else VMEM_BYTES


def choose_tiles(tokens: int, embed: int, itemsize: int, vmem_bytes: int = VMEM_BYTES) -> TpuTiles:
    """Return the tallest tile whose backward pass fits: each block of rows rewrites the head's whole gradient.

    Args:
        tokens: Positions.
        embed: Width of hidden states.
        itemsize: Bytes of one number of the products' operands.
        vmem_bytes: Vector memory the kernel may ask for.

    Returns:
        The tiles. The smallest, 128 x 128, is returned even where it does not fit: the compiler then says so.
    """
    budget = int(_USABLE_FRACTION * vmem_bytes)
    rows = min(_WIDEST_ROWS, -(-tokens // _LANES) * _LANES)
    while rows > _LANES:
        for columns in (_WIDEST_COLUMNS, _WIDEST_COLUMNS // 2, _LANES):
            if backward_vmem_bytes(TpuTiles(rows, columns), embed, itemsize) <= budget:
                return TpuTiles(rows, columns)
        rows = max(_LANES, rows // 2 // _LANES * _LANES)
    return TpuTiles(rows, _LANES)


def backward_vmem_bytes(tiles: TpuTiles, embed: int, itemsize: int) -> int:
    """Vector memory of the backward kernel.

    Kept: the block's hidden states, their gradient and its float32 sum. Streamed, each in two buffers: a tile of the
    head and of its gradient, old and new. And one float32 tile of logits.

    Args:
        tiles: Sides of a tile.
        embed: Width of hidden states.
        itemsize: Bytes of one number of the products' operands.
    """
    width = -(-embed // _LANES) * _LANES
    kept = tiles.rows * width * (2 * itemsize + 4)
    streamed = 2 * tiles.columns * width * (itemsize + 4 + 4)
    return kept + streamed + 4 * tiles.rows * tiles.columns
