"""The Qwen3x decoder: token ids in, hidden states out."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from audio_model.config import Qwen3xConfig, Remat
from audio_model.kernels.attention import ATTENTION, attention
from audio_model.kernels.cpu import not_alone
from audio_model.layers import MATRIX_PRODUCT, DecoderLayer
from audio_model.layout import FETCHED, ONE_DEVICE, Layout
from audio_model.norms import rms_norm
from audio_model.rope import rope_tables

BLOCK_INPUT = "block_input"
"""Name under which a block's input can wait in the host's memory for the backward pass."""

_Block = Callable[[Array, DecoderLayer], tuple[Array, None]]


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
        layout: Layout = ONE_DEVICE,
    ) -> Float[Array, "batch seq width"]:
        """Hidden states after the final norm.

        Args:
            tokens: Token ids in [0, vocab).
            segment_ids: A token sees itself and earlier tokens of its own segment; padding has id 0.
            positions: Index of each token for the rotary embedding.
            dtype: Of activations and matrix products; parameters keep theirs, sums of products and
                norms are taken in float32.
            layout: Where the model's parts lie, for a pass inside `jax.shard_map`.

        Returns:
            One vector a token, ready for the losses and for `logits`.
        """
        config = self.config
        tables = rope_tables(config.rope, config.head_dim, positions)

        def block(x: Array, layer: DecoderLayer) -> tuple[Array, None]:
            x = checkpoint_name(x, BLOCK_INPUT)
            layer = layout.fetch(layer, dtype)
            query, key, value = layer.project(layout.spread(x), tables, config.rms_epsilon)
            attended = attention(query, key, value, segment_ids)
            return layer.finish(x, attended, config.rms_epsilon, layout), None

        x = layout.look_up(self.embedding, tokens, dtype)
        x, _ = jax.lax.scan(_rematerialised(block, config.remat, fetches=layout.fetches), x, self.layers)
        return rms_norm(x, layout.fetch(self.final_norm, dtype), config.rms_epsilon)

    def logits(self, hidden: Float[Array, "... embed"]) -> Float[Array, "... vocab"]:
        """Unnormalised log-probabilities of every token id.

        For scores of a few positions; training and likelihoods use `audio_model.kernels`, which never
        hold `tokens x vocab` numbers.

        Args:
            hidden: What calling the model returned.

        Returns:
            Logits in float32.
        """
        head = self.head_matrix.astype(hidden.dtype)
        flat = hidden.reshape(-1, hidden.shape[-1])
        logits = jnp.einsum("te,ve->tv", not_alone(flat), head, preferred_element_type=jnp.float32)
        return logits[: flat.shape[0]].reshape(*hidden.shape[:-1], -1)


def _rematerialised(block: _Block, remat: Remat, *, fetches: bool) -> _Block:
    policies = jax.checkpoint_policies
    match remat:
        case "none":
            if not fetches:
                return block
            policy = policies.save_anything_except_these_names(FETCHED)
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
