"""Cross-entropy inside each position's allowed set, as it is defined."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int

from audio_model.kernels.grammar_cross_entropy.sets import TokenSets


def reference_grammar_cross_entropy(
    hidden: Float[Array, "tokens embed"],
    head: Float[Array, "vocab embed"],
    targets: Int[Array, " tokens"],
    mask: Bool[Array, " tokens"],
    sets: TokenSets,
) -> tuple[Float32[Array, " tokens"], Float32[Array, " tokens"]]:
    """Loss and logsumexp of every token from all logits, those outside the target's set struck out."""
    set_of_token = jnp.asarray(sets.set_of_token(head.shape[0]))
    # Masked positions take any legal target: where() alone would let their NaN into the gradient.
    targets = jnp.where(mask, targets, sets.ranges[0][0][0])
    set_of_position = set_of_token[targets]
    logits = jnp.einsum("te,ve->tv", hidden, head.astype(hidden.dtype), preferred_element_type=jnp.float32)
    allowed = set_of_token[None, :] == set_of_position[:, None]
    logsumexp = jax.nn.logsumexp(jnp.where(allowed, logits, -jnp.inf), axis=-1)
    loss = logsumexp - jnp.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
    outside = jnp.where(set_of_position < 0, jnp.nan, 0.0).astype(jnp.float32)
    return jnp.where(mask, loss + outside, 0.0), jnp.where(mask, logsumexp + outside, 0.0)
