"""Root-mean-square normalisation."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


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
