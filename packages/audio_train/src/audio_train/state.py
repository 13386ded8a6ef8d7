"""What a run carries from step to step, and how it begins."""

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
from audio_model import Qwen3x, initialize, initialize_audio_rows
from audio_train.optimization.optimizers import initial_moments
from audio_train.resolved import ResolvedRun
from audio_train.sharding.mesh import MeshConfig, like_parameters, model_sharding, replicated

CODEBOOKS_FILE = "codebooks.safetensors"


class TrainState(eqx.Module):
    """Everything a step reads and writes besides the batch.

    Attributes:
        step: steps taken, which is also the position in the data.
        skipped: of these, steps whose gradient was not finite and which changed no weight.
        bad_run: consecutive skipped steps up to now.
        model: float32 weights.
        optimizer: state of the update rule.
    """

    step: Int32[Array, ""]
    skipped: Int32[Array, ""]
    bad_run: Int32[Array, ""]
    model: Qwen3x
    optimizer: PyTree


def abstract_state(resolved: ResolvedRun, mesh: Mesh | AbstractMesh, mesh_config: MeshConfig) -> TrainState:
    """Shapes, dtypes and places of a run's state, at no cost in memory.

    Args:
        resolved: the run.
        mesh: the devices.
        mesh_config: whose rules say which axes of a parameter are cut.

    Returns:
        A state of `jax.ShapeDtypeStruct`s with shardings.

    Raises:
        InputError: the model does not divide among the devices.
    """
    shapes = state_shapes(resolved)
    shardings = model_sharding(resolved.model, mesh, mesh_config.rules)
    places = like_parameters(shapes, shapes.model, shardings, replicated(mesh))
    return jax.tree.map(lambda shape, place: shape.update(sharding=place), shapes, places)


def state_shapes(resolved: ResolvedRun) -> TrainState:
    """Shapes and dtypes of a run's state, wherever it lies."""
    return jax.eval_shape(partial(_initial_state, resolved), jax.random.key(0), None)


def initial_state(
    resolved: ResolvedRun, like: TrainState, codebooks: Float32[np.ndarray, "codebooks codebook_size dim"] | None
) -> TrainState:
    """The state before the first step, made where it is to lie.

    Args:
        resolved: the run; its seed drives the draw of the weights.
        like: what `abstract_state` gave.
        codebooks: centroids of the codec, where the run starts its audio rows from them.

    Returns:
        The state; the same numbers on any mesh.
    """
    places = jax.tree.map(lambda leaf: leaf.sharding, like)

    def make(codebooks: Array | None) -> TrainState:
        return _initial_state(resolved, jax.random.key(resolved.run.seed), codebooks)

    return jax.jit(make, out_shardings=places)(codebooks)


def read_codebooks(folder: Path) -> Float32[np.ndarray, "codebooks codebook_size dim"]:
    """The codec's centroids that lie with a vocabulary.

    Args:
        folder: `DATA/vocabulary`.

    Raises:
        InputError: the file is not there or does not hold one array of rank 3 called `codebooks`.
    """
    path = folder / CODEBOOKS_FILE
    if not path.exists():
        raise InputError(f"`{path}` is not there; make the vocabulary again, or set start.audio_rows=random.")
    tensors = load_file(path)
    if "codebooks" not in tensors or tensors["codebooks"].ndim != 3:
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        raise InputError(f"`{path}` holds one array `codebooks` of [codebooks, codes, dim], got {shapes!r}.")
    return tensors["codebooks"].astype(np.float32)


def _initial_state(resolved: ResolvedRun, key: PRNGKeyArray, codebooks: Array | None) -> TrainState:
    weights_key, rows_key = jax.random.split(key)
    model = initialize(resolved.model, weights_key, resolved.run.start.initialization)
    if codebooks is not None:
        model = initialize_audio_rows(model, codebooks, resolved.vocabulary.audio_base, rows_key)
    zero = jnp.zeros((), jnp.int32)
    return TrainState(zero, zero, zero, model, initial_moments(resolved.run.optimizer, resolved.learning_rate, model))
