"""The decoder block of Qwen3: normalisation, attention projections, gated feed-forward."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from audio_model.kernels.cpu import not_alone, transposed_product
from audio_model.kernels.qk_norm_rope import qk_norm_rope
from audio_model.layout import ONE_DEVICE, Layout
from audio_model.norms import rms_norm
from audio_model.rope import RopeTables

MATRIX_PRODUCT = "matrix_product"
"""Name under which the results of a block's matrix products can be kept for the backward pass."""


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
        normed = rms_norm(x, self.attention_norm, epsilon)
        query, key, value = (_kept(normed, matrix) for matrix in (self.query, self.key, self.value))
        query = qk_norm_rope(query, self.query_norm, tables, epsilon)
        key = qk_norm_rope(key, self.key_norm, tables, epsilon)
        return query, key, value.reshape(*x.shape[:2], -1, self.query_norm.shape[-1])

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
    # One flat product: with two batch axes XLA's CPU backend transposes for the weight gradient, at half the speed.
    return _product(x.reshape(-1, x.shape[-1]), matrix).reshape(*x.shape[:-1], -1)


@jax.custom_vjp
def _product(x: Float[Array, "rows in"], matrix: Float[Array, "in out"]) -> Float[Array, "rows out"]:
    # Accumulating in float32 is also the fast way for bfloat16 operands (2.7 times on a CPU).
    product = jnp.matmul(not_alone(x), matrix.astype(x.dtype), preferred_element_type=jnp.float32)
    return product[: x.shape[0]].astype(x.dtype)


def _product_backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    x, matrix = residuals
    # Contracted as they lie: of a transposed matrix the CPU backend takes bfloat16 operands to float32 first.
    x_gradient = jnp.einsum("ro,io->ri", cotangent, matrix.astype(x.dtype), preferred_element_type=jnp.float32)
    matrix_gradient = transposed_product(x, cotangent)
    return x_gradient.astype(x.dtype), matrix_gradient.astype(matrix.dtype)


_product.defvjp(lambda x, matrix: (_product(x, matrix), (x, matrix)), _product_backward)


def _kept(x: Float[Array, "*batch in"], matrix: Float[Array, "in out"]) -> Float[Array, "*batch out"]:
    return checkpoint_name(_project(x, matrix), MATRIX_PRODUCT)
