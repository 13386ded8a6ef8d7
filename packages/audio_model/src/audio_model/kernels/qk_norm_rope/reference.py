"""RMSNorm of each head and rotary embedding, as they are defined."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from audio_model.rope import RopeTables


def reference_qk_norm_rope(
    x: Float[Array, "batch seq width"], weight: Float[Array, " head_dim"], tables: RopeTables, epsilon: float
) -> Float[Array, "batch seq heads head_dim"]:
    """Each head divided by its root mean square, scaled, and its pairs turned, all in float32."""
    heads = x.astype(jnp.float32).reshape(*x.shape[:2], -1, weight.shape[0])
    mean_square = jnp.mean(jnp.square(heads), axis=-1, keepdims=True)
    scaled = heads * jax.lax.rsqrt(mean_square + epsilon) * weight.astype(jnp.float32)[None, None, None]
    first, second = jnp.split(scaled, 2, axis=-1)
    cosine, sine = (table[:, :, None] for table in tables)
    turned = [first * cosine - second * sine, second * cosine + first * sine]
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)
