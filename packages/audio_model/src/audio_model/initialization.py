"""Random weights, and audio rows that begin where their codes sound alike."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from audio_model.config import Qwen3xConfig
from audio_model.errors import InputError
from audio_model.layers import DecoderLayer
from audio_model.qwen3x import Qwen3x


def initialize(config: Qwen3xConfig, key: PRNGKeyArray) -> Qwen3x:
    """A model with random float32 weights.

    Matrices are normal, truncated at three deviations, with deviation `1 / sqrt(inputs)`; embedding
    and head are normal with deviation `1 / sqrt(embed)`, so that logits of unit-RMS hidden states
    begin near unit deviation; norms begin at one.

    Args:
        config: Shape of the model.
        key: Drives every draw.

    Returns:
        The model.

    Source: the defaults of haliax `Linear` as Levanter uses them. Changed: embedding and head are
    drawn from different keys.
    """
    keys = iter(jax.random.split(key, 9))

    def matrices(inputs: int, outputs: int) -> Array:
        drawn = jax.random.truncated_normal(next(keys), -3.0, 3.0, (config.layers, inputs, outputs), jnp.float32)
        return drawn * inputs**-0.5

    def rows() -> Array:
        return jax.random.normal(next(keys), (config.vocab_size, config.embed), jnp.float32) * config.embed**-0.5

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
    return Qwen3x(
        config=config,
        embedding=rows(),
        layers=layers,
        final_norm=jnp.ones((config.embed,), jnp.float32),
        head=None if config.tied else rows(),
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
