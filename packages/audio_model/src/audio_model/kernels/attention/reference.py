"""Attention, as it is defined."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def reference_attention(
    query: Float[Array, "batch seq heads head_dim"],
    key: Float[Array, "batch seq kv_heads head_dim"],
    value: Float[Array, "batch seq kv_heads head_dim"],
    segment_ids: Int[Array, "batch seq"],
) -> Float[Array, "batch seq heads head_dim"]:
    """Causal attention within segments, holding all `seq x seq` scores, in float32."""
    groups = query.shape[2] // key.shape[2]
    key, value = (jnp.repeat(x.astype(jnp.float32), groups, axis=2) for x in (key, value))
    scores = jnp.einsum("bqhd,bkhd->bhqk", query.astype(jnp.float32), key) * query.shape[-1] ** -0.5
    same_segment = segment_ids[:, :, None] == segment_ids[:, None, :]
    visible = jnp.tril(jnp.ones(same_segment.shape[1:], bool))[None] & same_segment
    weights = jax.nn.softmax(jnp.where(visible[:, None], scores, -jnp.inf), axis=-1)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, value).astype(query.dtype)
