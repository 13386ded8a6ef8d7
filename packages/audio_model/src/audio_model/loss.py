"""Likelihoods of given tokens under a model."""

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float32, Int

from audio_model.kernels.grammar_cross_entropy import TokenSets, grammar_cross_entropy
from audio_model.kernels.linear_cross_entropy import linear_cross_entropy
from audio_model.qwen3x import Qwen3x


def token_log_likelihoods(
    model: Qwen3x,
    tokens: Int[Array, "batch seq"],
    segment_ids: Int[Array, "batch seq"],
    positions: Int[Array, "batch seq"],
    targets: Int[Array, "batch seq"],
    *,
    mask: Bool[Array, "batch seq"] | None = None,
    sets: TokenSets | None = None,
    dtype: DTypeLike = jnp.float32,
) -> Float32[Array, "batch seq"]:
    """Log-probability of each position's target given the tokens up to that position.

    Args:
        model: The model.
        tokens: Input ids.
        segment_ids: Document of each token within its row; 0 is padding.
        positions: Index of each token for the rotary embedding.
        targets: Id expected after each position, in [0, vocab).
        mask: Positions that count; the others get 0. None counts all.
        sets: With sets, probabilities are taken inside the target's set instead of the vocabulary.
        dtype: Of activations; the softmax is float32 in any case.

    Returns:
        Natural logarithms, at most 0; one for each position, so that callers can split them by kind.
    """
    hidden = model(tokens, segment_ids, positions, dtype=dtype).reshape(-1, model.config.embed)
    counted = jnp.ones(targets.shape, bool) if mask is None else mask
    flat = jnp.where(counted, targets, 0).reshape(-1)
    if sets is None:
        loss, _ = linear_cross_entropy(hidden, model.head_matrix, flat)
    else:
        loss, _ = grammar_cross_entropy(hidden, model.head_matrix, flat, sets, mask=counted.reshape(-1))
    return jnp.where(counted, -loss.reshape(targets.shape), 0.0)
