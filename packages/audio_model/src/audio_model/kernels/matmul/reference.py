"""The matrix product, as it is defined."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def reference_matmul(x: Float[Array, "rows in"], weight: Float[Array, "in out"]) -> Float[Array, "rows out"]:
    """`x @ weight` of sides in `x`'s dtype, with products and sums in float32."""
    return jnp.matmul(x.astype(jnp.float32), weight.astype(x.dtype).astype(jnp.float32)).astype(x.dtype)
