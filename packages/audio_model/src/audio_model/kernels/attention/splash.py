"""Attention on a TPU core: the splash kernel that ships with JAX, in this project's interface."""

import functools
from typing import cast

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel, splash_attention_mask
from jaxtyping import Array, Float, Int

from audio_model.kernels.attention.xla import ATTENTION

_LANES = 128
_BLOCK = 512


def splash_attention(
    query: Float[Array, "batch seq heads head_dim"],
    key: Float[Array, "batch seq kv_heads head_dim"],
    value: Float[Array, "batch seq kv_heads head_dim"],
    segment_ids: Int[Array, "batch seq"],
    *,
    interpret: bool = False,
) -> Float[Array, "batch seq heads head_dim"]:
    """Causal attention within segments.

    Blocks of 512 queries meet blocks of 512 keys; blocks above the diagonal are never visited, and the backward pass,
    one fused kernel for all three gradients, recomputes the weights from the output and each query's logsumexp. Rows
    that are no multiple of the block are padded at their end, where the causal mask hides the padding from every real
    query.

    Softmax and sums are float32; products take operands of `query`'s dtype. Runs on TPU v4 and later, one device.

    Args:
        query: Rotated queries.
        key: Rotated keys.
        value: Values.
        segment_ids: Tokens of different ids never see one another.
        interpret: Run the kernel's operations one by one on any device, for tests.

    Returns:
        The attended values in `query`'s dtype.

    Source: `jax.experimental.pallas.ops.tpu.splash_attention`. Changed: nothing in the kernel; queries are scaled here.
    """
    _, seq, heads, head_dim = query.shape
    block = min(_BLOCK, -(-seq // _LANES) * _LANES)
    padding = -seq % block
    scaled = (query.astype(jnp.float32) * head_dim**-0.5).astype(query.dtype)
    query, key, value = (_padded(jnp.swapaxes(x, 1, 2), padding) for x in (scaled, key, value))
    segments = jnp.pad(segment_ids.astype(jnp.int32), ((0, 0), (0, padding)))
    kernel = _kernel(seq + padding, heads, block, interpret)

    def attend(query: Array, key: Array, value: Array, segments: Array) -> Array:
        segment_ids = splash_attention_kernel.SegmentIds(segments, segments)
        # Residuals come along only where they are asked for.
        return cast(Array, kernel(query, key, value, segment_ids=segment_ids))

    return jnp.swapaxes(jax.vmap(attend)(query, key, value, segments), 1, 2)[:, :seq]


def _padded(x: Float[Array, "batch heads seq head_dim"], padding: int) -> Float[Array, "batch heads padded head_dim"]:
    return jnp.pad(x, ((0, 0), (0, 0), (0, padding), (0, 0)))


@functools.lru_cache(maxsize=32)
def _kernel(seq: int, heads: int, block: int, interpret: bool) -> splash_attention_kernel.SplashAttentionKernel:
    mask = splash_attention_mask.MultiHeadMask([splash_attention_mask.CausalMask((seq, seq))] * heads)
    sizes = splash_attention_kernel.BlockSizes(
        block_q=block,
        block_kv=block,
        block_kv_compute=block,
        block_q_dkv=block,
        block_kv_dkv=block,
        block_kv_dkv_compute=block,
        use_fused_bwd_kernel=True,
    )
    # The mask's tables are constants of the kernel, whatever is being traced around it.
    with jax.ensure_compile_time_eval():
        return splash_attention_kernel.make_splash_mha(
            mask,
            block_sizes=sizes,
            head_shards=1,
            q_seq_shards=1,
            residual_checkpoint_name=ATTENTION,
            interpret=interpret,
        )
