"""Causal network at token rate that sharpens the mel features the quantiser's centroids alone would give."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, PRNGKeyArray

KERNEL = 5
"""Tokens each block's convolution spans: the present one and four before it, 0.4 s."""


def _normalize(x: Float32[Array, "frames width"]) -> Float32[Array, "frames width"]:
    return x * jax.lax.rsqrt(jnp.mean(x**2, axis=1, keepdims=True) + 1e-6)


class Block(eqx.Module):
    """Depthwise causal convolution, then a two-layer perceptron, added to the input.

    Source: Liu et al., A ConvNet for the 2020s (2022), its block made causal and one-dimensional, normalised by RMS.
    """

    taps: Float32[Array, "kernel width"]
    up: Float32[Array, "hidden width"]
    down: Float32[Array, "width hidden"]

    @classmethod
    def initialize(cls, width: int, hidden: int, key: PRNGKeyArray) -> "Block":
        """Draw a block whose convolution passes the present token on unchanged."""
        up_key, down_key = jax.random.split(key)
        return cls(
            taps=jnp.zeros((KERNEL, width)).at[-1].set(1.0),
            up=jax.random.normal(up_key, (hidden, width)) * width**-0.5,
            down=jax.random.normal(down_key, (width, hidden)) * (0.1 * hidden**-0.5),
        )

    def __call__(
        self, past: Float32[Array, "past width"], x: Float32[Array, "frames width"]
    ) -> tuple[Float32[Array, "past width"], Float32[Array, "frames width"]]:
        """Return the inputs to remember for the next frames, and the outputs for these."""
        line = jnp.concatenate([past, x])
        mixed = jnp.stack([self.taps[i, None] * line[i : i + len(x)] for i in range(KERNEL)]).sum(axis=0)
        hidden = jax.nn.gelu(_normalize(mixed) @ self.up.T)
        return line[len(x) :], x + hidden @ self.down.T


class MelDecoder(eqx.Module):
    """Coordinates of coded tokens to a correction of their log-mel features."""

    enter: Float32[Array, "width dim"]
    blocks: tuple[Block, ...]
    leave: Float32[Array, "features width"]

    @classmethod
    def initialize(
        cls, dim: int, num_features: int, width: int, hidden: int, num_blocks: int, key: PRNGKeyArray
    ) -> "MelDecoder":
        """Draw a decoder that corrects nothing, so that it starts no worse than the centroids."""
        enter_key, *block_keys = jax.random.split(key, num_blocks + 1)
        return cls(
            enter=jax.random.normal(enter_key, (width, dim)) * dim**-0.5,
            blocks=tuple(Block.initialize(width, hidden, block_key) for block_key in block_keys),
            leave=jnp.zeros((num_features, width)),
        )

    def initial_state(self) -> tuple[Float32[Array, "past width"], ...]:
        """Return the state before the first token."""
        return tuple(jnp.zeros((KERNEL - 1, self.enter.shape[0])) for _ in self.blocks)

    def __call__(
        self, state: tuple[Float32[Array, "past width"], ...], coordinates: Float32[Array, "frames dim"]
    ) -> tuple[tuple[Float32[Array, "past width"], ...], Float32[Array, "frames features"]]:
        """Correct the next frames of one stream: one at a time when decoding, whole clips in training."""
        x = coordinates @ self.enter.T
        states = []
        for block, past in zip(self.blocks, state, strict=True):
            past, x = block(past, x)
            states.append(past)
        return tuple(states), _normalize(x) @ self.leave.T
