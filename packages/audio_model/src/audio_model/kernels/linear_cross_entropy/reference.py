"""Linear layer and softmax cross-entropy, as they are defined."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int


def reference_linear_cross_entropy(
    hidden: Float[Array, "tokens embed"], head: Float[Array, "vocab embed"], targets: Int[Array, " tokens"]
) -> tuple[Float32[Array, " tokens"], Float32[Array, " tokens"]]:
    """Loss and logsumexp of every token from all `tokens x vocab` logits at once."""
    logits = jnp.einsum("te,ve->tv", hidden, head.astype(hidden.dtype), preferred_element_type=jnp.float32)
    logsumexp = jax.nn.logsumexp(logits, axis=-1)
    target_logits = jnp.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
    return logsumexp - target_logits, logsumexp
