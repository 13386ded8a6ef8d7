"""RMSNorm of each head and rotary embedding in plain JAX."""

from jaxtyping import Array, Float

from audio_model.norms import rms_norm
from audio_model.rope import RopeTables, rotate


def xla_qk_norm_rope(
    x: Float[Array, "batch seq width"], weight: Float[Array, " head_dim"], tables: RopeTables, epsilon: float
) -> Float[Array, "batch seq heads head_dim"]:
    """Statistics are float32; the rotation takes `x`'s dtype."""
    heads = x.reshape(*x.shape[:2], -1, weight.shape[0])
    return rotate(rms_norm(heads, weight, epsilon), tables)
