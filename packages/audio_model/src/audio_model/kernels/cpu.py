"""Forms of plain operations that XLA's CPU backend runs fast; elsewhere they are the plain operations.

Times are of one AVX-512 core, jax 0.10.2.
"""

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint
from jaxtyping import Array, Float, Float32, Int32

from audio_model.kernels.choice import on_one_device, platform


def lying_transposed(x: Float[Array, "*batch rows columns"]) -> Float[Array, "*batch columns rows"]:
    """The transpose, as the left side of a product; on one CPU device it is also laid out so in memory.

    The backend has fast products only for a left side whose rows are contiguous, and folds a transpose into the product
    otherwise: 110 GFLOP/s instead of 230 in float32 and 450 in bfloat16. Over several devices the constraint would
    gather the array, so there the compiler decides.

    Args:
        x: What to transpose.
    """
    transposed = jnp.swapaxes(x, -1, -2)
    if not on_one_device("cpu"):
        return transposed
    return with_layout_constraint(transposed, Layout(major_to_minor=tuple(range(x.ndim))))


def transposed_product(
    left: Float[Array, "*batch rows columns"], right: Float[Array, "*batch rows width"]
) -> Float32[Array, "*batch columns width"]:
    """The product `left' right`, summed in float32, whose left side is laid out transposed on one CPU device.

    There the result stands behind a barrier: the compiler would fold a later transpose of it into a product with sides
    swapped, whose left side is no longer laid out so. No product of bfloat16 sides runs in that form: it fails with
    "Unsupported element type for DotThunk".

    Args:
        left: What to transpose.
        right: The other side.
    """
    product = jnp.matmul(lying_transposed(left), right, preferred_element_type=jnp.float32)
    return jax.lax.optimization_barrier(product) if on_one_device("cpu") else product


def not_alone(x: Float[Array, "rows width"]) -> Float[Array, "at_least_rows width"]:
    """The left side of a product; a single bfloat16 row gets a row of zeros for company on a CPU.

    The backend has no fast product of one bfloat16 row: 42 ms for 144,644 outputs of width 256, 5 ms with two rows.

    Args:
        x: The left side. Take as many rows of the product as `x` has.
    """
    if platform() != "cpu" or x.shape[0] != 1 or x.dtype != jnp.bfloat16:
        return x
    return jnp.pad(x, ((0, 1), (0, 0)))


def argmax(x: Float[Array, "rows columns"]) -> Int32[Array, " rows"]:
    """The first largest element of each row, in two passes that run nine times as fast as the backend's one.

    Args:
        x: Numbers; a row that holds NaN gives any index.
    """
    peak = jnp.max(x, axis=-1, keepdims=True)
    columns = jax.lax.broadcasted_iota(jnp.int32, x.shape, 1)
    return jnp.min(jnp.where(x == peak, columns, x.shape[1] - 1), axis=-1)
