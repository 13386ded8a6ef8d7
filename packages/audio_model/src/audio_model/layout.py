"""Where the parts of a forward pass lie: the seam by which a trainer spreads one pass over several devices."""

from typing import TypeVar

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

T = TypeVar("T")

FETCHED = "fetched"
"""Name under which weights fetched from other devices can be told from results worth keeping."""


class Layout:
    """The layout of one device: weights are at hand and every product is whole.

    Inside `jax.shard_map` each device holds a part of the weights and of the batch. A subclass says there what a
    device fetches before it computes and what it adds up afterwards; the pass itself is written once. Heads and
    hidden features may be cut: `project`, attention and the gated layer then run on a device's own, between
    `spread` and `add_up`.

    Attributes:
        fetches: Whether weights come from other devices, so that they are to be fetched again for the backward pass
            and not kept.
    """

    fetches: bool = False

    def look_up(
        self, embedding: Float[Array, "vocab embed"], tokens: Int[Array, "batch seq"], dtype: DTypeLike
    ) -> Float[Array, "batch seq width"]:
        """The embedding rows of the tokens, in full width, as `dtype`."""
        return jnp.take(embedding, tokens, axis=0).astype(dtype)

    def fetch(self, weights: T, dtype: DTypeLike) -> T:
        """A block's weights, or one norm, as the computation in `dtype` needs them."""
        del dtype
        return weights

    def spread(self, x: Float[Array, "batch seq embed"]) -> Float[Array, "batch seq embed"]:
        """The residual stream on its way into products of which each device computes its own features."""
        return x

    def add_up(self, x: Float[Array, "batch seq embed"]) -> Float[Array, "batch seq embed"]:
        """The sum of a product's parts, each device having summed over its own features."""
        return x


ONE_DEVICE = Layout()
