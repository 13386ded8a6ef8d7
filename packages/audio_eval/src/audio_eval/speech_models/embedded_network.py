"""The embedded transcriber's network: dilated convolutions over log-mel frames, words out, trained with CTC."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

CHANNELS = 80
NUM_BLOCKS = 5
WIDTH = 5
FRAMES_PER_STEP = 4
"""Log-mel frames of 10 ms per step of the network's output."""

Parameters = Mapping[str, Array]


def shapes(num_bands: int, num_classes: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the parameters by name: kernels `[width, in, out]` and biases."""
    found: dict[str, tuple[int, ...]] = {
        "in.0": (WIDTH, num_bands, CHANNELS),
        "in.1": (WIDTH, CHANNELS, CHANNELS),
        "out": (1, CHANNELS, num_classes),
    }
    found |= {f"block.{index}": (WIDTH, CHANNELS, CHANNELS) for index in range(NUM_BLOCKS)}
    return found | {f"{name}.bias": shape[-1:] for name, shape in list(found.items())}


def apply(
    parameters: Parameters, log_mels: Float[Array, "batch frames bands"], real: Bool[Array, "batch frames"]
) -> Float[Array, "batch steps classes"]:
    """Map log-mel frames to class scores, one step every 40 ms; a clip's scores do not depend on its padding.

    Args:
        parameters: As `shapes` says.
        log_mels: Natural logarithms; `frames` is a multiple of 4.
        real: False on padding.
    """
    count = jnp.maximum(real.sum(axis=1), 1)[:, None, None].astype(jnp.float32)
    mask = real[..., None].astype(jnp.float32)
    mean = (log_mels * mask).sum(axis=(1, 2), keepdims=True) / (count * log_mels.shape[2])
    hidden = (log_mels - mean) * mask * 0.3
    for name in ("in.0", "in.1"):
        mask = mask[:, ::2]
        hidden = jax.nn.relu(_convolve(parameters, name, hidden, stride=2)) * mask
    for index in range(NUM_BLOCKS):
        dilation = (1, 2, 4, 2, 1)[index % 5]
        hidden = hidden + jax.nn.relu(_convolve(parameters, f"block.{index}", _normalize(hidden), dilation=dilation))
        hidden = hidden * mask
    return _convolve(parameters, "out", _normalize(hidden))


def _normalize(hidden: Float[Array, "batch steps channels"]) -> Float[Array, "batch steps channels"]:
    return hidden * jax.lax.rsqrt(jnp.mean(hidden**2, axis=-1, keepdims=True) + 1e-5)


def _convolve(
    parameters: Parameters, name: str, hidden: Float[Array, "batch steps channels"], stride: int = 1, dilation: int = 1
) -> Float[Array, "batch out_steps out"]:
    kernel = parameters[name]
    reach = (kernel.shape[0] - 1) * dilation
    # Equal padding left and right for every length, so that padding a clip shifts nothing.
    padding = [(reach // 2, reach - reach // 2)]
    out = jax.lax.conv_general_dilated(
        hidden, kernel, (stride,), padding, rhs_dilation=(dilation,), dimension_numbers=("NWC", "WIO", "NWC")
    )
    return out + parameters[f"{name}.bias"][None, None]
