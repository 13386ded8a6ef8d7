"""RMSNorm of each head and rotary embedding in one operation."""

from typing import Literal

from jaxtyping import Array, Float

from audio_model.errors import InputError
from audio_model.kernels.dispatch import dispatch, on_one_tpu_core
from audio_model.kernels.qk_norm_rope.pallas_tpu import pallas_tpu_qk_norm_rope
from audio_model.kernels.qk_norm_rope.reference import reference_qk_norm_rope
from audio_model.kernels.qk_norm_rope.xla import xla_qk_norm_rope
from audio_model.rope import RopeTables

Implementation = Literal["reference", "xla", "pallas_tpu"]

_IMPLEMENTATIONS = {
    "reference": reference_qk_norm_rope,
    "xla": xla_qk_norm_rope,
    "pallas_tpu": pallas_tpu_qk_norm_rope,
}


def qk_norm_rope(
    x: Float[Array, "batch seq width"],
    weight: Float[Array, " head_dim"],
    tables: RopeTables,
    epsilon: float,
    *,
    implementation: Implementation | None = None,
) -> Float[Array, "batch seq heads head_dim"]:
    """Divide each head by its root mean square, scale it, and turn its pairs by their position's angle.

    Pair i of a head is (feature i, feature i + head_dim / 2).

    Args:
        x: Projected queries or keys, heads one after another.
        weight: Scale of each feature of a head.
        tables: What `rope_tables` gave for the positions.
        epsilon: Added to the mean square.
        implementation: Which one to run; None takes "pallas_tpu" where the operands lie on one TPU core (on several,
            inside `shard_map`) and rows are longer than one token, and "xla" elsewhere.

    Returns:
        The heads in `x`'s dtype; differentiable in `x` and `weight`.

    Raises:
        InputError: If `implementation` is unknown or cannot run here, or `width` holds no whole number of heads.
    """
    if x.shape[2] % weight.shape[0]:
        raise InputError(f"`x` must hold heads of {weight.shape[0]} features, got a width of {x.shape[2]}")
    default = "pallas_tpu" if on_one_tpu_core() and x.shape[1] > 1 else "xla"
    return dispatch("qk_norm_rope", _IMPLEMENTATIONS, implementation, default)(x, weight, tables, epsilon)
