"""Random weights, and audio rows initialised from codec centroids."""

from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from audio_model.config import Qwen3xConfig
from audio_model.errors import InputError
from audio_model.layers import DecoderLayer
from audio_model.qwen3x import Qwen3x

Initialization = Literal["unit_logits", "haliax"]
"""How the vocabulary matrices of a new model are drawn; see `initialize`."""


def initialize(config: Qwen3xConfig, key: PRNGKeyArray, scheme: Initialization = "unit_logits") -> Qwen3x:
    """Make a model with random float32 weights.

    Matrices of layers are drawn from a standard normal truncated at three deviations, times
    `1 / sqrt(inputs)`; norms begin at one. `scheme` says how the vocabulary matrices begin:

    | scheme | embedding | untied head |
    |---|---|---|
    | `unit_logits` | normal / sqrt(embed) | normal / sqrt(embed), from a key of its own |
    | `haliax` | truncated normal / embed | the same draw / sqrt(embed) |

    Under `unit_logits` the logits of unit-RMS hidden states begin near unit deviation. Under `haliax`
    the head is `sqrt(embed)` times the embedding, a tied model begins with a loss of almost exactly
    `log(vocab_size)`, and the first norm meets rows whose mean square is below its epsilon.

    Args:
        config: Shape of the model.
        key: Drives every draw.
        scheme: How the vocabulary matrices begin.

    Returns:
        The model.

    Raises:
        InputError: If there is no such scheme.

    Source: `haliax` is what haliax's `Linear` and `Embedding` (`nn/linear.py`, `nn/embedding.py`) draw
    for Levanter's models, which pass both vocabulary matrices one key; numbers differ, as keys are split
    differently.
    """
    if scheme not in get_args(Initialization):
        raise InputError(f"`scheme` must be one of {', '.join(get_args(Initialization))}, got {scheme!r}")
    keys = iter(jax.random.split(key, 9))

    def truncated(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
        return jax.random.truncated_normal(key, -3.0, 3.0, shape, jnp.float32)

    def matrices(inputs: int, outputs: int) -> Array:
        return truncated(next(keys), (config.layers, inputs, outputs)) * inputs**-0.5

    def ones(width: int) -> Array:
        return jnp.ones((config.layers, width), jnp.float32)

    layers = DecoderLayer(
        attention_norm=ones(config.embed),
        query=matrices(config.embed, config.query_dim),
        key=matrices(config.embed, config.kv_dim),
        value=matrices(config.embed, config.kv_dim),
        query_norm=ones(config.head_dim),
        key_norm=ones(config.head_dim),
        output=matrices(config.query_dim, config.embed),
        mlp_norm=ones(config.embed),
        gate=matrices(config.embed, config.mlp),
        up=matrices(config.embed, config.mlp),
        down=matrices(config.mlp, config.embed),
    )
    shape, deviation = (config.vocab_size, config.embed), config.embed**-0.5
    if scheme == "haliax":
        rows = truncated(next(keys), shape)
        embedding, head = rows / config.embed, None if config.tied else rows * deviation
    else:
        embedding = jax.random.normal(next(keys), shape, jnp.float32) * deviation
        head = None if config.tied else jax.random.normal(next(keys), shape, jnp.float32) * deviation
    return Qwen3x(
        config=config,
        embedding=embedding,
        layers=layers,
        final_norm=jnp.ones((config.embed,), jnp.float32),
        head=head,
    )


def initialize_audio_rows(
    model: Qwen3x, codebooks: Float[Array, "codebooks codebook_size dim"], audio_base: int, key: PRNGKeyArray
) -> Qwen3x:
    """Give codes that sound alike embedding rows that lie alike.

    Each codebook's centroids are standardised (mean 0, deviation 1 in every dimension), projected to
    `embed` by that codebook's own random matrix and rescaled to the root mean square of the
    embedding. Distances between a codebook's rows then follow distances between its centroids, and
    codebooks stay nearly orthogonal to one another. Only the embedding changes: an untied head keeps
    its random rows.

    Args:
        model: A model, usually straight from `initialize`.
        codebooks: Centroids of every code, in any space where near means alike.
        audio_base: Id of code 0 of codebook 0; code c of codebook k has id
            `audio_base + codebook_size * k + c`.
        key: Drives the random projections.

    Returns:
        The model with replaced audio rows.

    Raises:
        InputError: If the audio ids do not fit into the vocabulary.
    """
    num_codebooks, codebook_size, dim = codebooks.shape
    stop = audio_base + num_codebooks * codebook_size
    if audio_base < 0 or stop > model.config.vocab_size:
        raise InputError(
            f"`codebooks` of shape {codebooks.shape} from `audio_base` {audio_base} need ids {audio_base} to "
            f"{stop - 1}, but the model's `vocab_size` is {model.config.vocab_size}"
        )
    centroids = codebooks.astype(jnp.float32)
    deviation = jnp.std(centroids, axis=1, keepdims=True)
    # A dimension that never varies holds no information; dividing by 1 leaves it at zero.
    centroids = (centroids - jnp.mean(centroids, axis=1, keepdims=True)) / jnp.where(deviation > 0, deviation, 1.0)
    projection = jax.random.normal(key, (num_codebooks, dim, model.config.embed), jnp.float32)
    rows = jnp.einsum("kcd,kde->kce", centroids, projection)
    target = jnp.sqrt(jnp.mean(jnp.square(model.embedding)))
    rows = rows * (target / jnp.sqrt(jnp.mean(jnp.square(rows), axis=(1, 2), keepdims=True)))
    rows = rows.reshape(-1, model.config.embed).astype(model.embedding.dtype)
    return eqx.tree_at(lambda m: m.embedding, model, model.embedding.at[audio_base:stop].set(rows))
