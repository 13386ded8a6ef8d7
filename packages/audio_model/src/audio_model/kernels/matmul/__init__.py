"""Matrix products, summed in float32, in the form that the platform runs fast."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from audio_model.kernels.dispatch import dispatch, platform
from audio_model.kernels.matmul.reference import reference_matmul
from audio_model.kernels.matmul.xla import xla_matmul
from audio_model.kernels.matmul.xla_cpu import pad_single_row, xla_cpu_matmul
from audio_model.kernels.matmul.xla_cpu import transposed_for_matmul as transposed_for_matmul
from audio_model.kernels.matmul.xla_cpu import transposed_matmul as transposed_matmul

Implementation = Literal["reference", "xla", "xla_cpu"]

_IMPLEMENTATIONS = {"reference": reference_matmul, "xla": xla_matmul, "xla_cpu": xla_cpu_matmul}


def matmul(
    x: Float[Array, "*batch in"], weight: Float[Array, "in out"], *, implementation: Implementation | None = None
) -> Float[Array, "*batch out"]:
    """Compute `x @ weight` in `x`'s dtype, with sums in float32.

    Args:
        x: The left side; everything before its last axis is one long row axis.
        weight: The right side, cast to `x`'s dtype.
        implementation: Which one to run; None takes "xla_cpu" on a CPU and "xla" elsewhere.

    Returns:
        The product; differentiable in both sides. A gradient has the dtype of its side.

    Raises:
        InputError: If `implementation` is unknown.
    """
    chosen = dispatch("matmul", _IMPLEMENTATIONS, implementation, "xla_cpu" if platform() == "cpu" else "xla")
    # One flat product: with two batch axes XLA's CPU backend transposes for the weight gradient, at half the speed.
    return chosen(x.reshape(-1, x.shape[-1]), weight).reshape(*x.shape[:-1], -1)


def row_dot_products(
    x: Float[Array, "rows width"], others: Float[Array, "columns width"]
) -> Float32[Array, "rows columns"]:
    """Compute `x @ others.T` in float32: logits, where `others` are rows of an output matrix.

    Args:
        x: Left rows.
        others: Right rows, cast to `x`'s dtype.
    """
    product = jnp.einsum("rw,cw->rc", pad_single_row(x), others.astype(x.dtype), preferred_element_type=jnp.float32)
    return product[: x.shape[0]]
