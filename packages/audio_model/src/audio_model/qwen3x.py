"""The Qwen3x decoder: token ids in, hidden states out."""

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from audio_model.config import Qwen3xConfig, Remat
from audio_model.kernels.attention import ATTENTION, attention
from audio_model.kernels.matmul import row_dot_products
from audio_model.layers import MATRIX_PRODUCT, DecoderLayer
from audio_model.norms import rms_norm
from audio_model.parallelism import GATHERED_WEIGHTS, SINGLE_DEVICE, Parallelism
from audio_model.rope import rope_tables

BLOCK_INPUT = "block_input"
"""Checkpoint name of a block's input, which can wait in the host's memory for the backward pass."""

Cache = TypeVar("Cache")
Attend = Callable[[Array, Array, Array, Cache, Array], tuple[Array, Cache]]
"""From queries, keys and values of a block, a cache and the block's index: the attended values and the cache."""


class Qwen3x(eqx.Module):
    """A decoder-only transformer of the Qwen3 family.

    Blocks are `x + attention(norm(x))` then `x + swiglu(norm(x))`, with RMSNorm over each head's
    queries and keys before the rotary embedding, grouped key heads, no biases and no dropout. All
    blocks are one `DecoderLayer` of stacked arrays, scanned over, so compile time does not grow
    with depth.

    Attributes:
        config: Shapes and constants (static).
        embedding: One row for each token id.
        layers: The blocks, stacked along a leading axis.
        final_norm: Scale of the last RMSNorm.
        head: Output rows, or None when the embedding serves as head.

    Source: Qwen3 technical report (arXiv 2505.09388); rotary scaling of Llama 3.1.
    """

    config: Qwen3xConfig = eqx.field(static=True)
    embedding: Float[Array, "vocab embed"]
    layers: DecoderLayer
    final_norm: Float[Array, " embed"]
    head: Float[Array, "vocab embed"] | None

    @property
    def head_matrix(self) -> Float[Array, "vocab embed"]:
        """The output rows, whichever matrix holds them."""
        return self.embedding if self.head is None else self.head

    def __call__(
        self,
        tokens: Int[Array, "batch seq"],
        segment_ids: Int[Array, "batch seq"],
        positions: Int[Array, "batch seq"],
        *,
        dtype: DTypeLike = jnp.float32,
        parallelism: Parallelism = SINGLE_DEVICE,
    ) -> Float[Array, "batch seq width"]:
        """Compute hidden states after the final norm.

        Args:
            tokens: Token ids in [0, vocab).
            segment_ids: A token sees itself and earlier tokens of its own segment; padding has id 0.
            positions: Index of each token for the rotary embedding.
            dtype: Of activations and matrix products; parameters keep theirs, sums of products and
                norms are taken in float32.
            parallelism: Collectives of a pass inside `jax.shard_map`.

        Returns:
            One vector a token, ready for the losses and for `logits`.
        """

        def attend(query: Array, key: Array, value: Array, cache: None, layer_index: Array) -> tuple[Array, None]:
            del layer_index
            return attention(query, key, value, segment_ids), cache

        return self.forward(tokens, positions, attend, None, dtype=dtype, parallelism=parallelism)[0]

    def forward(
        self,
        tokens: Int[Array, "batch seq"],
        positions: Int[Array, "batch seq"],
        attend: Attend[Cache],
        cache: Cache,
        *,
        dtype: DTypeLike = jnp.float32,
        parallelism: Parallelism = SINGLE_DEVICE,
    ) -> tuple[Float[Array, "batch seq width"], Cache]:
        """Run every block with an attention of the caller's: the one forward pass of training and generation.

        Args:
            tokens: Token ids in [0, vocab).
            positions: Index of each token for the rotary embedding.
            attend: Attention of a block; it may read and write the cache.
            cache: What `attend` carries from block to block, such as keys and values of earlier tokens.
            dtype: As for `__call__`.
            parallelism: As for `__call__`.

        Returns:
            Hidden states after the final norm, and the cache after the last block.
        """
        config, epsilon = self.config, self.config.rms_epsilon
        tables = rope_tables(config.rope, config.head_dim, positions)

        def block(carry: tuple[Array, Cache], inputs: tuple[DecoderLayer, Array]) -> tuple[tuple[Array, Cache], None]:
            (x, cache), (layer, layer_index) = carry, inputs
            x = checkpoint_name(x, BLOCK_INPUT)
            layer = parallelism.all_gather_weights(layer, dtype)
            query, key, value = layer.qkv(parallelism.copy_to_tensor_parallel(x), tables, epsilon)
            attended, cache = attend(query, key, value, cache, layer_index)
            return (layer.attention_output_and_mlp(x, attended, epsilon, parallelism), cache), None

        block = _rematerialised(block, config.remat, gathers_weights=parallelism.gathers_weights)
        x = parallelism.embed(self.embedding, tokens, dtype)
        (x, cache), _ = jax.lax.scan(block, (x, cache), (self.layers, jnp.arange(config.layers)))
        return rms_norm(x, parallelism.all_gather_weights(self.final_norm, dtype), epsilon), cache

    def logits(self, hidden: Float[Array, "... embed"]) -> Float[Array, "... vocab"]:
        """Compute unnormalised log-probabilities of every token id.

        For scores of a few positions; training and likelihoods use `audio_model.kernels`, which never
        hold `tokens x vocab` numbers.

        Args:
            hidden: What calling the model returned.

        Returns:
            Logits in float32.
        """
        flat = hidden.reshape(-1, hidden.shape[-1])
        return row_dot_products(flat, self.head_matrix).reshape(*hidden.shape[:-1], -1)


def _rematerialised(block: Callable[..., Any], remat: Remat, *, gathers_weights: bool) -> Callable[..., Any]:
    policies = jax.checkpoint_policies
    match remat:
        case "none":
            if not gathers_weights:
                return block
            policy = policies.save_anything_except_these_names(GATHERED_WEIGHTS)
        case "dots":
            policy = policies.save_only_these_names(MATRIX_PRODUCT, ATTENTION)
        case "full":
            policy = policies.nothing_saveable
        case "offload":
            policy = policies.save_and_offload_only_these_names(
                names_which_can_be_saved=[],
                names_which_can_be_offloaded=[BLOCK_INPUT],
                offload_src="device",
                offload_dst="pinned_host",
            )
    # Inside a scan nothing can be merged across iterations, so the barrier against it only costs.
    return jax.checkpoint(block, policy=policy, prevent_cse=False)
