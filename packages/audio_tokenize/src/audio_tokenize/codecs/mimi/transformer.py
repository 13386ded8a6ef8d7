"""The transformers of Mimi, over 25 positions a second, block by block.

The keys and values of past positions lie in a ring buffer of as many positions as the attention window and a block
need; a block writes its own and then attends to the whole buffer, masked by position. Without a window the buffer is
longer than the signal so far and never wraps round; `model.with_capacity` lengthens it.

Source: Mimi (Défossez et al., 2024, arXiv 2410.00037); rotary embedding (Su et al., 2021, arXiv 2104.09864) in halves,
layer scale (Touvron et al., 2021, arXiv 2103.17239). Behaviour follows transformers' MimiModel. Written anew for
blocks.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32

Positions = Float32[Array, "time width"]


class KVCache(eqx.Module):
    """Keys and values of the last positions of one layer; position p lies in slot p modulo the capacity."""

    keys: Float32[Array, "heads capacity head_dim"]
    values: Float32[Array, "heads capacity head_dim"]

    def write(
        self,
        slot: Int32[Array, ""],
        keys: Float32[Array, "heads time head_dim"],
        values: Float32[Array, "heads time head_dim"],
    ) -> "KVCache":
        """Replace the slots from `slot` on; they must not wrap round within the block."""
        start = (0, slot, 0)
        return KVCache(
            jax.lax.dynamic_update_slice(self.keys, keys, start),
            jax.lax.dynamic_update_slice(self.values, values, start),
        )


class LayerNorm(eqx.Module):
    """Normalisation over the width."""

    weight: Float32[Array, " width"]
    bias: Float32[Array, " width"]
    eps: float = eqx.field(static=True)

    def __call__(self, x: Positions) -> Positions:
        """Normalise each position."""
        centred = x - x.mean(axis=1, keepdims=True)
        variance = (centred**2).mean(axis=1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + self.eps) * self.weight[None] + self.bias[None]


class BlockPosition(eqx.Module):
    """What all layers derive from the first position of a block.

    Attributes:
        slot: Of the block's first position in the caches.
        cosines: Of the rotary angles.
        sines: Of the rotary angles.
        seen: Which slots each position of the block attends to.
    """

    slot: Int32[Array, ""]
    cosines: Float32[Array, "time 1 half"]
    sines: Float32[Array, "time 1 half"]
    seen: Bool[Array, "time capacity"]


class Layer(eqx.Module):
    """Attention and MLP, each normalised before and scaled after.

    Attributes:
        norm_attention: Before attention.
        query_key_value: Three projections side by side.
        out: Projection of the heads, times the layer scale.
        norm_mlp: Before the MLP.
        up: Into the MLP.
        down: Out of the MLP, times the layer scale.
        num_heads: Attention heads.
    """

    norm_attention: LayerNorm
    query_key_value: Float32[Array, "width three_heads_dim"]
    out: Float32[Array, "heads_dim width"]
    norm_mlp: LayerNorm
    up: Float32[Array, "width mlp"]
    down: Float32[Array, "mlp width"]
    num_heads: int = eqx.field(static=True)

    def __call__(self, cache: KVCache, x: Positions, block_position: BlockPosition) -> tuple[KVCache, Positions]:
        """Process a block and write its keys and values into the cache."""
        cache, mixed = self._attend(cache, self.norm_attention(x), block_position)
        x = x + mixed @ self.out
        hidden = jax.nn.gelu(self.norm_mlp(x) @ self.up, approximate=False)
        return cache, x + hidden @ self.down

    def _attend(
        self, cache: KVCache, x: Positions, block_position: BlockPosition
    ) -> tuple[KVCache, Float32[Array, "time heads_dim"]]:
        heads = (x @ self.query_key_value).reshape(len(x), 3, self.num_heads, -1)
        query, key = rotate(heads[:, 0], block_position), rotate(heads[:, 1], block_position)
        cache = cache.write(block_position.slot, key.swapaxes(0, 1), heads[:, 2].swapaxes(0, 1))
        scores = jnp.einsum("thd,hcd->htc", query, cache.keys) / math.sqrt(query.shape[-1])
        scores = jnp.where(block_position.seen[None], scores, -jnp.inf)
        weights = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
        # The sum divides the few values mixed, not the many weights: twice as fast on a CPU.
        mixed = jnp.einsum("htc,hcd->htd", weights, cache.values) / weights.sum(axis=-1, keepdims=True)
        return cache, mixed.swapaxes(0, 1).reshape(len(x), -1)


def rotate(
    x: Float32[Array, "time heads head_dim"], block_position: BlockPosition
) -> Float32[Array, "time heads head_dim"]:
    """Turn each pair (i, i + head_dim / 2) by its position's angle."""
    a, b = jnp.split(x, 2, axis=-1)
    turned = [
        a * block_position.cosines - b * block_position.sines,
        b * block_position.cosines + a * block_position.sines,
    ]
    return jnp.concatenate(turned, axis=-1)


class Transformer(eqx.Module):
    """Causal layers with rotary positions.

    Attributes:
        layers: In order.
        inverse_wavelengths: Angle a position, in radians, of each pair of a head.
        window: Positions seen, its own included; None for all.
    """

    layers: tuple[Layer, ...]
    inverse_wavelengths: Float32[Array, " half"]
    window: int | None = eqx.field(static=True)

    def capacity(self, block: int, num_positions: int) -> int:
        """Return how many slots the caches need.

        Args:
            block: Positions of a block, of which the capacity is a multiple.
            num_positions: Positions of the signal so far, the next block included. With a window it does not matter;
                without one the capacity is the next power of two times 16 blocks, so that few sizes are compiled.
        """
        if self.window is None:
            return 16 * block * 2 ** max(0, math.ceil(math.log2(num_positions / (16 * block))))
        return block * (math.ceil((self.window - 1) / block) + 1)

    def initial_caches(self, capacity: int) -> tuple[KVCache, ...]:
        """Return empty caches of `capacity` slots."""
        heads = self.layers[0].num_heads if self.layers else 1
        empty = jnp.zeros((heads, capacity, 2 * len(self.inverse_wavelengths)), jnp.float32)
        return tuple(KVCache(empty, empty) for _ in self.layers)

    def __call__(
        self, caches: tuple[KVCache, ...], position: Int32[Array, ""], x: Positions
    ) -> tuple[tuple[KVCache, ...], Positions]:
        """Process a block.

        Args:
            caches: From the block before, a whole number of blocks long.
            position: Of the block's first position, a whole number of blocks.
            x: The block.

        Returns:
            Caches for the next block, and the block processed.
        """
        block_position = self._block_position(position, len(x), caches[0].keys.shape[1])
        kept = []
        for layer, cache in zip(self.layers, caches, strict=True):
            cache, x = layer(cache, x, block_position)
            kept.append(cache)
        return tuple(kept), x

    def _block_position(self, position: Int32[Array, ""], block: int, capacity: int) -> BlockPosition:
        own = position + jnp.arange(block, dtype=jnp.int32)
        angles = own[:, None, None].astype(jnp.float32) * self.inverse_wavelengths[None, None]
        slot = position % capacity
        after = (jnp.arange(capacity, dtype=jnp.int32) - slot) % capacity
        held = (position + jnp.where(after < block, after, after - capacity))[None]
        seen = (held >= 0) & (held <= own[:, None])
        if self.window is not None:
            seen &= held > own[:, None] - self.window
        return BlockPosition(slot, jnp.cos(angles), jnp.sin(angles), seen)
