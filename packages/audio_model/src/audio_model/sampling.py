"""From logits to a token: temperature, top-k, top-p, with a key of its own for every sequence."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32, Key

from audio_model.errors import InputError


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        temperature: Logits are divided by it; 0 takes the likeliest token.
        top_k: Keep only the k likeliest tokens; 0 keeps all.
        top_p: Then keep the fewest likeliest tokens whose probability reaches this share; 1 keeps all.
        seed: With a sequence's index, fixes all its draws.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise InputError(f"`temperature` must be at least 0, got {self.temperature!r}")
        if self.top_k < 0:
            raise InputError(f"`top_k` must be at least 0, got {self.top_k!r}")
        if not 0 < self.top_p <= 1:
            raise InputError(f"`top_p` must lie in (0, 1], got {self.top_p!r}")


GREEDY = Sampling()
"""The likeliest token at every step."""


def choose(
    logits: Float32[Array, "batch vocab"], keys: Key[Array, " batch"], step: Int32[Array, ""], sampling: Sampling
) -> Int32[Array, " batch"]:
    """One token for every row.

    A row's choice depends on its own logits, key and step alone.

    Args:
        logits: Forbidden tokens at minus infinity.
        keys: One key a row, the same at every step.
        step: Number of tokens generated before.
        sampling: How to choose; a static argument.

    Returns:
        Token ids.
    """
    if sampling.temperature == 0:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    logits = logits / sampling.temperature
    # Sorting costs more than the rest together, so it is done once and only when asked for.
    if sampling.top_k or sampling.top_p < 1:
        count = min(sampling.top_k or logits.shape[-1], logits.shape[-1])
        values, tokens = jax.lax.top_k(logits, count)
        drawn = _draw(jnp.where(_nucleus(values, sampling.top_p), values, -jnp.inf), keys, step)
        return jnp.take_along_axis(tokens, drawn[:, None], axis=-1)[:, 0].astype(jnp.int32)
    return _draw(logits, keys, step)


def _nucleus(descending: Float32[Array, "batch kept"], top_p: float) -> Array:
    probabilities = jax.nn.softmax(descending, axis=-1)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    # The first is kept whatever rounding says, so that a row never loses its last token.
    return (before < top_p).at[:, 0].set(True)


def _draw(
    logits: Float32[Array, "batch kept"], keys: Key[Array, " batch"], step: Int32[Array, ""]
) -> Int32[Array, " batch"]:
    def row(values: Array, key: Key[Array, ""]) -> Array:
        return jax.random.categorical(jax.random.fold_in(key, step), values)

    return jax.vmap(row)(logits, keys).astype(jnp.int32)
