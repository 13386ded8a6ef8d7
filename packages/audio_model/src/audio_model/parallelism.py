"""The forward pass over several devices: the collectives that the model calls."""

from typing import TypeVar

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

T = TypeVar("T")

GATHERED_WEIGHTS = "gathered_weights"
"""Checkpoint name of weights that came from other devices, which rematerialisation gathers again."""


class Parallelism:
    """No parallelism: every weight and every row is on this device.

    Inside `jax.shard_map` each device holds a shard of the weights and of the batch. A subclass then says which
    collectives run where; the forward pass itself is written once. With tensor parallelism a device computes its own
    heads and hidden features, between `copy_to_tensor_parallel` and `reduce_from_tensor_parallel`.

    Attributes:
        gathers_weights: Whether weights come from other devices. They are then gathered again for the backward pass
            instead of kept.
    """

    gathers_weights: bool = False

    def embed(
        self, embedding: Float[Array, "vocab embed"], tokens: Int[Array, "batch seq"], dtype: DTypeLike
    ) -> Float[Array, "batch seq width"]:
        """Embedding rows of the tokens, in full width, as `dtype`."""
        return jnp.take(embedding, tokens, axis=0).astype(dtype)

    def all_gather_weights(self, weights: T, dtype: DTypeLike) -> T:
        """Whole weights of a block, or of one norm; gathered matrices come as `dtype`."""
        del dtype
        return weights

    def copy_to_tensor_parallel(self, x: Float[Array, "batch seq embed"]) -> Float[Array, "batch seq embed"]:
        """Identity; its gradient is the sum over the devices of a tensor-parallel group."""
        return x

    def reduce_from_tensor_parallel(self, x: Float[Array, "batch seq embed"]) -> Float[Array, "batch seq embed"]:
        """Sum over the devices of a tensor-parallel group; its gradient is the identity."""
        return x


SINGLE_DEVICE = Parallelism()
