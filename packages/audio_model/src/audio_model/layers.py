"""The decoder block of Qwen3: normalisation, attention projections, gated feed-forward."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from audio_model.layout import ONE_DEVICE, Layout
from audio_model.rope import RopeTables, rotate

MATRIX_PRODUCT = "matrix_product"
"""Name under which the results of a block's matrix products can be kept for the backward pass."""


def rms_norm(x: Float[Array, "... width"], weight: Float[Array, " width"], epsilon: float) -> Float[Array, "... width"]:
    """Divide by the root mean square of the last axis and scale by `weight`.

    Args:
        x: Features; statistics are taken in float32 whatever their dtype.
        weight: Scale of each feature.
        epsilon: Added to the mean square.

    Returns:
        The scaled features in `x`'s dtype.

    Source: arXiv 1910.07467, equation 4.
    """
    wide = x.astype(jnp.float32)
    scale = jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + epsilon)
    shape = (1,) * (x.ndim - 1) + weight.shape
    return (wide * scale * weight.astype(jnp.float32).reshape(shape)).astype(x.dtype)


class DecoderLayer(eqx.Module):
    """One block, or all blocks of a model stacked along a leading `layers` axis.

    Matrices are stored `[in, out]`; the model scans over the leading axis, so that the methods here
    see one block's arrays. Heads lie one after another in the `query_dim` and `kv_dim` axes.
    """

    attention_norm: Float[Array, "*layers embed"]
    query: Float[Array, "*layers embed query_dim"]
    key: Float[Array, "*layers embed kv_dim"]
    value: Float[Array, "*layers embed kv_dim"]
    query_norm: Float[Array, "*layers head_dim"]
    key_norm: Float[Array, "*layers head_dim"]
    output: Float[Array, "*layers query_dim embed"]
    mlp_norm: Float[Array, "*layers embed"]
    gate: Float[Array, "*layers embed mlp"]
    up: Float[Array, "*layers embed mlp"]
    down: Float[Array, "*layers mlp embed"]

    def project(
        self, x: Float[Array, "batch seq embed"], tables: RopeTables, epsilon: float
    ) -> tuple[
        Float[Array, "batch seq heads head_dim"],
        Float[Array, "batch seq kv_heads head_dim"],
        Float[Array, "batch seq kv_heads head_dim"],
    ]:
        """Normalised and rotated queries and keys, and values, of a residual stream.

        Args:
            x: Residual stream.
            tables: Rotary tables of the positions.
            epsilon: Of the three norms.

        Returns:
            Queries, keys and values in `x`'s dtype.
        """
        head_dim = self.query_norm.shape[-1]
        normed = rms_norm(x, self.attention_norm, epsilon)
        query, key, value = (
            _kept(normed, matrix).reshape(*x.shape[:2], -1, head_dim) for matrix in (self.query, self.key, self.value)
        )
        query = rotate(rms_norm(query, self.query_norm, epsilon), tables)
        key = rotate(rms_norm(key, self.key_norm, epsilon), tables)
        return query, key, value

    def finish(
        self,
        x: Float[Array, "batch seq embed"],
        attended: Float[Array, "batch seq heads head_dim"],
        epsilon: float,
        layout: Layout = ONE_DEVICE,
    ) -> Float[Array, "batch seq embed"]:
        """Add what attention found, then the gated feed-forward layer, to the residual stream.

        Args:
            x: Residual stream that `project` read.
            attended: Result of attention.
            epsilon: Of the norm before the feed-forward layer.
            layout: Where heads and hidden features lie.

        Returns:
            The residual stream after the block.
        """
        found = layout.add_up(_project(attended.reshape(*x.shape[:2], -1), self.output))
        x = checkpoint_name(x + found, MATRIX_PRODUCT)
        normed = rms_norm(layout.spread(x), self.mlp_norm, epsilon)
        gated = jax.nn.silu(_kept(normed, self.gate)) * _kept(normed, self.up)
        return x + layout.add_up(_project(gated, self.down))


def _project(x: Float[Array, "*batch in"], matrix: Float[Array, "in out"]) -> Float[Array, "*batch out"]:
    # One flat product: with two batch axes XLA's CPU backend transposes for the weight gradient, at half
    # the speed. Accumulating in float32 is also the fast way for bfloat16 operands (2.7 times).
    flat = x.reshape(-1, x.shape[-1])
    product = jnp.matmul(flat, matrix.astype(x.dtype), preferred_element_type=jnp.float32)
    return product.astype(x.dtype).reshape(*x.shape[:-1], -1)


def _kept(x: Float[Array, "*batch in"], matrix: Float[Array, "in out"]) -> Float[Array, "*batch out"]:
    return checkpoint_name(_project(x, matrix), MATRIX_PRODUCT)
