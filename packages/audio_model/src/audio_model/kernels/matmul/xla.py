"""The matrix product with operands of one dtype, forward and backward."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_vjp
def xla_matmul(x: Float[Array, "rows in"], weight: Float[Array, "in out"]) -> Float[Array, "rows out"]:
    """`x @ weight` with operands in `x`'s dtype and sums in float32.

    The derivative of the plain expression would multiply float32 cotangents with bfloat16 operands.
    """
    return jnp.matmul(x, weight.astype(x.dtype), preferred_element_type=jnp.float32).astype(x.dtype)


def x_gradient(
    x: Float[Array, "rows in"], weight: Float[Array, "in out"], cotangent: Float[Array, "rows out"]
) -> Float[Array, "rows in"]:
    """`cotangent @ weight.T`.

    Contracted as stored: for a transposed matrix XLA's CPU backend converts bfloat16 operands to float32 first.
    """
    product = jnp.einsum("ro,io->ri", cotangent, weight.astype(x.dtype), preferred_element_type=jnp.float32)
    return product.astype(x.dtype)


def _backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    x, weight = residuals
    weight_gradient = jnp.matmul(jnp.swapaxes(x, 0, 1), cotangent, preferred_element_type=jnp.float32)
    return x_gradient(x, weight, cotangent), weight_gradient.astype(weight.dtype)


xla_matmul.defvjp(lambda x, weight: (xla_matmul(x, weight), (x, weight)), _backward)
