"""Rotary position embedding with Llama-3's stretched wavelengths."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int

from audio_model.config import RopeConfig

RopeTables = tuple[Float32[Array, "batch seq half_dim"], Float32[Array, "batch seq half_dim"]]
"""Cosines and sines of every position, one for each rotated pair."""


def inverse_frequencies(config: RopeConfig, head_dim: int) -> Float32[np.ndarray, " half_dim"]:
    """Radians that each pair of features turns per token.

    Args:
        config: Base and stretching.
        head_dim: Width of a head, even.

    Returns:
        `theta ** (-2 i / head_dim)` for pair i, divided by `factor` where its wavelength is long.

    Source: RoFormer (arXiv 2104.09864) and `_compute_llama3_parameters` of Hugging Face transformers.
    """
    frequencies = config.theta ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    scaling = config.scaling
    if scaling is None:
        return frequencies.astype(np.float32)
    turns = scaling.original_max_position * frequencies / (2 * np.pi)
    kept = (turns - scaling.low_frequency_factor) / (scaling.high_frequency_factor - scaling.low_frequency_factor)
    kept = np.clip(kept, 0.0, 1.0)
    return (frequencies * (kept + (1 - kept) / scaling.factor)).astype(np.float32)


def rope_tables(config: RopeConfig, head_dim: int, positions: Int[Array, "batch seq"]) -> RopeTables:
    """Cosines and sines for the given positions, computed once for all layers.

    Args:
        config: Base and stretching.
        head_dim: Width of a head.
        positions: Place of each token in its document or window, from 0.

    Returns:
        Cosine and sine of `position * frequency`, in float32.
    """
    angles = positions.astype(jnp.float32)[..., None] * jnp.asarray(inverse_frequencies(config, head_dim))[None, None]
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: Float[Array, "batch seq heads head_dim"], tables: RopeTables) -> Float[Array, "batch seq heads head_dim"]:
    """Turn every pair of features by its position's angle.

    Pair i is (feature i, feature i + head_dim / 2): the half-split layout of the Hugging Face weights.

    Args:
        x: Queries or keys.
        tables: What `rope_tables` gave for the same positions.

    Returns:
        The rotated features in `x`'s dtype.
    """
    cosine, sine = (table[:, :, None, :].astype(x.dtype) for table in tables)
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
