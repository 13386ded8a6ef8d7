"""Warm starts: a text model that gets rows for the ids of audio."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from audio_model.config import Qwen3xConfig
from audio_model.errors import InputError
from audio_model.qwen3x import Qwen3x

DEVIATION = 0.02
"""Standard deviation of new rows around the mean of the copied ones, as in Qwen3x."""


def extend_config(config: Qwen3xConfig, vocab_size: int) -> Qwen3xConfig:
    """Return the configuration of an extended model: another vocabulary, untied, everything else kept.

    Args:
        config: Of the model to extend. Its rotary embedding, epsilon and context stay, so that the text
            model's function does.
        vocab_size: Number of ids, those of the text included.

    Returns:
        The configuration.
    """
    return dataclasses.replace(config, vocab_size=vocab_size, tied=False)


def extend_vocabulary(
    model: Qwen3x, vocab_size: int, *, num_copied: int, key: PRNGKeyArray, deviation: float = DEVIATION
) -> Qwen3x:
    """Give a text model rows for new ids, as Qwen3x was made of Qwen3.

    The first `num_copied` rows of the embedding and of the head are kept, whatever lies behind them
    (padding, in Qwen3) is dropped, and every new row is the mean of the kept ones plus normal noise.
    Both matrices are treated alike and on their own: a tied model becomes an untied one, whose head
    begins as the embedding with other noise.

    Args:
        model: The text model; Qwen3's base models have 151,936 rows.
        vocab_size: Number of ids of the extended model.
        num_copied: Rows to keep, the ids that the text tokenizer uses: 151,669 of Qwen3's.
        key: Drives the noise.
        deviation: Standard deviation of the noise.

    Returns:
        The extended model, in the dtype of the given one. Means and noise are float32.

    Raises:
        InputError: If `num_copied` is not in 1..rows of the model, or exceeds `vocab_size`, or
            `deviation` is negative.

    Source: the Qwen3x vocabulary (`codec-bpe/qwen3x.ipynb` of tokenize-audio), which adds
    16,390 rows and gets 784,652,288 parameters of 0.6B and 2,097,779,712 of 1.7B. Changed: embedding
    and head draw from keys of their own.
    """
    check_extension(model.config, vocab_size, num_copied, deviation)
    embedding_key, head_key = jax.random.split(key)
    config = extend_config(model.config, vocab_size)
    return Qwen3x(
        config=config,
        embedding=extended_rows(model.embedding, vocab_size, num_copied, embedding_key, deviation),
        layers=model.layers,
        final_norm=model.final_norm,
        head=extended_rows(model.head_matrix, vocab_size, num_copied, head_key, deviation),
    )


@functools.partial(jax.jit, static_argnames=("vocab_size", "num_copied", "deviation"))
def extended_rows(
    rows: Float[Array, "old embed"], vocab_size: int, num_copied: int, key: PRNGKeyArray, deviation: float = DEVIATION
) -> Float[Array, "vocab embed"]:
    """One matrix of an extended model.

    Args:
        rows: The text model's.
        vocab_size: Rows of the result.
        num_copied: Rows to keep.
        key: Drives the noise.
        deviation: Standard deviation of the noise.

    Returns:
        Kept rows, then new ones, in the dtype of `rows`; mean and noise are float32.
    """
    kept = rows[:num_copied]
    mean = jnp.mean(kept.astype(jnp.float32), axis=0, keepdims=True)
    noise = jax.random.normal(key, (vocab_size - num_copied, rows.shape[1]), jnp.float32)
    return jnp.concatenate([kept, (mean + deviation * noise).astype(rows.dtype)])


def check_extension(config: Qwen3xConfig, vocab_size: int, num_copied: int, deviation: float) -> None:
    """Refuse an extension that cannot be made.

    Args:
        config: Of the model to extend.
        vocab_size: Number of ids of the extended model.
        num_copied: Rows to keep.
        deviation: Standard deviation of the noise.

    Raises:
        InputError: If a row to keep does not exist, or has no place, or `deviation` is negative.
    """
    if not 1 <= num_copied <= config.vocab_size:
        raise InputError(f"`num_copied` must lie in 1..{config.vocab_size}, the rows of the model, got {num_copied!r}")
    if vocab_size < num_copied:
        raise InputError(
            f"`vocab_size` must be at least the {num_copied} rows that are kept, got {vocab_size!r}: "
            "an extension adds ids and takes none away"
        )
    if not 0 <= deviation < math.inf:
        raise InputError(f"`deviation` must be at least 0 and finite, got {deviation!r}")
