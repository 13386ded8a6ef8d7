"""Causal attention blocked across segments."""

from typing import Literal

from jaxtyping import Array, Float, Int

from audio_model.errors import InputError
from audio_model.kernels.attention.reference import reference_attention
from audio_model.kernels.attention.splash import splash_attention
from audio_model.kernels.attention.xla import ATTENTION as ATTENTION
from audio_model.kernels.attention.xla import xla_attention
from audio_model.kernels.dispatch import dispatch, on_one_tpu_core

Implementation = Literal["reference", "xla", "splash"]

_IMPLEMENTATIONS = {"reference": reference_attention, "xla": xla_attention, "splash": splash_attention}


def attention(
    query: Float[Array, "batch seq heads head_dim"],
    key: Float[Array, "batch seq kv_heads head_dim"],
    value: Float[Array, "batch seq kv_heads head_dim"],
    segment_ids: Int[Array, "batch seq"],
    *,
    implementation: Implementation | None = None,
) -> Float[Array, "batch seq heads head_dim"]:
    """Attend from every token to itself and the earlier tokens of its segment.

    Args:
        query: Rotated queries.
        key: Rotated keys; each serves `heads / kv_heads` query heads.
        value: Values.
        segment_ids: Tokens of different ids never see one another; padding is a segment like any other.
        implementation: Which one to run; None takes "splash" where the operands lie on one TPU core (on several,
            inside `shard_map`), and "xla" elsewhere.

    Returns:
        The attended values in `query`'s dtype; softmax and sums are float32.

    Raises:
        InputError: If `implementation` is unknown or cannot run here, or `kv_heads` does not divide `heads`.
    """
    if query.shape[2] % key.shape[2]:
        raise InputError(f"`kv_heads` must divide the {query.shape[2]} query heads, got {key.shape[2]}")
    default = "splash" if on_one_tpu_core() else "xla"
    return dispatch("attention", _IMPLEMENTATIONS, implementation, default)(query, key, value, segment_ids)
