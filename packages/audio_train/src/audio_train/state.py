"""The training state, and its values before the first step."""

from functools import partial
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, Mesh
from jaxtyping import Array, Float32, Int32, PRNGKeyArray, PyTree
from safetensors.numpy import load_file

from audio_data import InputError
from audio_model import Adapters, Qwen3x, initialize, initialize_adapters, initialize_audio_rows, merge
from audio_train.optimization.optimizers import initial_moments
from audio_train.resolved import ResolvedRun, low_rank_of
from audio_train.sharding.mesh import MeshConfig, like_parameters, model_sharding, replicated

CODEBOOKS_FILE = "codebooks.safetensors"

_ADAPTERS = 1
"""Folded into the seed for the draws of adapters, which then differ from those of weights."""


class TrainState(eqx.Module):
    """Everything a step reads and writes besides the batch.

    Attributes:
        step: Steps taken, which is also the position in the data.
        skipped: Steps among these with a non-finite loss or gradient, which changed no weight.
        consecutive_nonfinite: Such steps in a row up to now.
        model: Float32 weights; those that a low-rank run adapts, which stay as they are.
        optimizer: State of the update rule, with moments of what is trained.
        adapters: Trained adapters of a low-rank run, or None.
    """

    step: Int32[Array, ""]
    skipped: Int32[Array, ""]
    consecutive_nonfinite: Int32[Array, ""]
    model: Qwen3x
    optimizer: PyTree
    adapters: Adapters | None = None

    def trained_model(self, resolved: ResolvedRun) -> Qwen3x:
        """Return the weights that the run has trained, with its adapters merged."""
        if self.adapters is None or resolved.run.low_rank is None:
            return self.model
        return jax.jit(merge, static_argnums=2)(self.model, self.adapters, low_rank_of(resolved.run.low_rank))


def abstract_state(resolved: ResolvedRun, mesh: Mesh | AbstractMesh, mesh_config: MeshConfig) -> TrainState:
    """Shapes, dtypes and shardings of a run's state, without allocating memory.

    Args:
        resolved: The run.
        mesh: The devices.
        mesh_config: Its rules say which axes of a parameter are sharded.

    Returns:
        A state of `jax.ShapeDtypeStruct`s with shardings.

    Raises:
        InputError: The model does not divide among the devices.
    """
    shapes = state_shapes(resolved)
    shardings = model_sharding(resolved.model, mesh, mesh_config.rules)
    places = like_parameters(shapes, shapes.model, shardings, replicated(mesh))
    return jax.tree.map(lambda shape, place: shape.update(sharding=place), shapes, places)


def state_shapes(resolved: ResolvedRun) -> TrainState:
    """Shapes and dtypes of a run's state, without shardings."""
    return jax.eval_shape(partial(_random_state, resolved), jax.random.key(0), None)


def random_state(
    resolved: ResolvedRun, like: TrainState, codebooks: Float32[np.ndarray, "codebooks codebook_size dim"] | None
) -> TrainState:
    """Draw the state before the first step from the run's seed, directly on its devices.

    Args:
        resolved: The run.
        like: Shapes and shardings, from `abstract_state`.
        codebooks: Centroids of the codec, if the embedding rows of audio ids are initialised from them.

    Returns:
        The state; the same numbers on any mesh.
    """
    places = jax.tree.map(lambda leaf: leaf.sharding, like)

    def make(codebooks: Array | None) -> TrainState:
        return _random_state(resolved, jax.random.key(resolved.run.seed), codebooks)

    return jax.jit(make, out_shardings=places)(codebooks)


def first_adapters(resolved: ResolvedRun, model: Qwen3x) -> Adapters | None:
    """Draw the adapters of a low-rank run from its seed; None for a run that trains all weights.

    Args:
        resolved: The run.
        model: Its first weights.
    """
    if resolved.run.low_rank is None:
        return None
    key = jax.random.fold_in(jax.random.key(resolved.run.seed), _ADAPTERS)
    return initialize_adapters(model, low_rank_of(resolved.run.low_rank), key)


def read_codebooks(folder: Path) -> Float32[np.ndarray, "codebooks codebook_size dim"]:
    """Read the codec's centroids from a vocabulary folder.

    Args:
        folder: `DATA/vocabulary`.

    Raises:
        InputError: The file is missing or does not hold an array of rank 3 called `codebooks`.
    """
    path = folder / CODEBOOKS_FILE
    if not path.exists():
        raise InputError(
            f"`{path}` must exist for init.audio_embedding_init=codebooks; make the vocabulary again, or set "
            "init.audio_embedding_init=random."
        )
    tensors = load_file(path)
    if "codebooks" not in tensors or tensors["codebooks"].ndim != 3:
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        raise InputError(f"`{path}` must hold one array `codebooks` of [codebooks, codes, dim], got {shapes!r}.")
    return tensors["codebooks"].astype(np.float32)


def _random_state(resolved: ResolvedRun, key: PRNGKeyArray, codebooks: Array | None) -> TrainState:
    weights_key, rows_key = jax.random.split(key)
    model = initialize(resolved.model, weights_key, resolved.run.init.vocabulary_init)
    if codebooks is not None:
        model = initialize_audio_rows(model, codebooks, resolved.vocabulary.audio_base, rows_key)
    zero, adapters = jnp.zeros((), jnp.int32), first_adapters(resolved, model)
    trained = model if adapters is None else adapters
    moments = initial_moments(resolved.run.optimizer, resolved.learning_rate, trained)
    return TrainState(zero, zero, zero, model, moments, adapters)
