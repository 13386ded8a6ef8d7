"""The decoder block of Qwen3: normalisation, attention projections, gated feed-forward."""

import equinox as eqx
import jax
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from audio_model.kernels.matmul import matmul
from audio_model.kernels.qk_norm_rope import qk_norm_rope
from audio_model.norms import rms_norm
from audio_model.parallelism import SINGLE_DEVICE, Parallelism
from audio_model.rope import RopeTables

MATRIX_PRODUCT = "matrix_product"
"""Checkpoint name of the results of a block's matrix products."""


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

    def qkv(
        self, x: Float[Array, "batch seq embed"], tables: RopeTables, epsilon: float
    ) -> tuple[
        Float[Array, "batch seq heads head_dim"],
        Float[Array, "batch seq kv_heads head_dim"],
        Float[Array, "batch seq kv_heads head_dim"],
    ]:
        """Compute queries, keys and values; queries and keys are normalised and rotated.

        Args:
            x: Residual stream.
            tables: Rotary tables of the positions.
            epsilon: Of the three norms.

        Returns:
            Queries, keys and values in `x`'s dtype.
        """
        normed = rms_norm(x, self.attention_norm, epsilon)
        query, key, value = (_checkpointed(matmul(normed, weight)) for weight in (self.query, self.key, self.value))
        query = qk_norm_rope(query, self.query_norm, tables, epsilon)
        key = qk_norm_rope(key, self.key_norm, tables, epsilon)
        return query, key, value.reshape(*x.shape[:2], -1, self.query_norm.shape[-1])

    def attention_output_and_mlp(
        self,
        x: Float[Array, "batch seq embed"],
        attended: Float[Array, "batch seq heads head_dim"],
        epsilon: float,
        parallelism: Parallelism = SINGLE_DEVICE,
    ) -> Float[Array, "batch seq embed"]:
        """Add the attention output, then the gated feed-forward layer, to the residual stream.

        Args:
            x: Residual stream that `qkv` read.
            attended: Result of attention.
            epsilon: Of the norm before the feed-forward layer.
            parallelism: Collectives of tensor parallelism.

        Returns:
            The residual stream after the block.
        """
        attention_output = matmul(attended.reshape(*x.shape[:2], -1), self.output)
        x = _checkpointed(x + parallelism.reduce_from_tensor_parallel(attention_output))
        normed = rms_norm(parallelism.copy_to_tensor_parallel(x), self.mlp_norm, epsilon)
        gate, up = _checkpointed(matmul(normed, self.gate)), _checkpointed(matmul(normed, self.up))
        return x + parallelism.reduce_from_tensor_parallel(matmul(jax.nn.silu(gate) * up, self.down))


def _checkpointed(x: Array) -> Array:
    return checkpoint_name(x, MATRIX_PRODUCT)
