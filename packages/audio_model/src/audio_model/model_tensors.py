"""The arrays of a model as tensors under their Hugging Face names, both ways, one at a time."""

import math
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Sharding
from jaxtyping import Array, Float, Shaped

from audio_model.config import Qwen3xConfig
from audio_model.errors import InputError
from audio_model.huggingface import EMBEDDING, FINAL_NORM, HEAD, LAYER_TENSORS, layer_tensor, tensor_shapes
from audio_model.initialization import initialize
from audio_model.qwen3x import Qwen3x
from audio_model.tensor_files import Read, TensorFiles, listed, shown

_Index = tuple[slice, ...]
_ALIGNMENT = 64
_COMPARED_ROWS = 16_384
_SINGLES = {"embedding": EMBEDDING, "final_norm": FINAL_NORM, "head": HEAD}


def read_tensors_of(model: Qwen3x) -> Read:
    """Give the tensors of a model in memory under their Hugging Face names.

    Args:
        model: Arrays of one process, or of several, which then ask for the same tensors in the same order.

    Returns:
        A function that brings one tensor to the host.
    """
    singles = {name: getattr(model, field) for field, name in _SINGLES.items()}
    layers = {
        layer_tensor(layer, field): (field, layer) for field in LAYER_TENSORS for layer in range(model.config.layers)
    }

    def read(name: str) -> Float[np.ndarray, "..."]:
        if name in singles:
            return _on_host(singles[name])
        field, layer = layers[name]
        tensor = _on_host(getattr(model.layers, field)[layer])
        return tensor.T if LAYER_TENSORS[field][1] else tensor

    return read


def build_model(
    config: Qwen3xConfig, files: TensorFiles, dtype: np.dtype, shardings: Qwen3x | Sharding | None
) -> Qwen3x:
    """Read a model's arrays straight to where they belong.

    Args:
        config: Shape of the model.
        files: Its weights.
        dtype: Of the arrays.
        shardings: Where each array is to lie; None takes the default device.

    Returns:
        The model.

    Raises:
        InputError: If any tensor is missing, unknown, of the wrong shape or not finite; all are listed.
    """
    if problems := _misfits(config, files):
        raise _refusal(files.folder, problems + _not_finite(config, files))
    leaves, structure = jax.tree_util.tree_flatten_with_path(
        eqx.filter_eval_shape(initialize, config, jax.random.key(0))
    )
    loader, places = _Loader(files, dtype), _places(shardings, len(leaves))
    arrays = [loader.load(path[-1].name, leaf.shape, place) for (path, leaf), place in zip(leaves, places, strict=True)]
    if loader.problems:
        raise _refusal(files.folder, list(loader.problems))
    return jax.tree.unflatten(structure, arrays)


def check_weights(config: Qwen3xConfig, files: TensorFiles) -> None:
    """Read every tensor once and refuse weights that a model cannot be made of.

    Args:
        config: Shape of the model.
        files: Its weights.

    Raises:
        InputError: If any tensor is missing, unknown, of the wrong shape or not finite; all are listed.
    """
    if problems := _misfits(config, files) + _not_finite(config, files):
        raise _refusal(files.folder, problems)


class _Loader:
    """Reads the arrays of a model, and notes the tensors that are not finite."""

    def __init__(self, files: TensorFiles, dtype: np.dtype):
        self.files, self.dtype = files, dtype
        # A dictionary for its order: a tensor that several devices read is named once.
        self.problems: dict[str, None] = {}

    def load(self, field: str, shape: tuple[int, ...], sharding: Sharding | None) -> Array:
        """Place one array, read in the slices that its devices hold."""
        known: dict[tuple[tuple[int, int], ...], Float[np.ndarray, "..."]] = {}

        def read(index: _Index | None) -> Float[np.ndarray, "..."]:
            slices = index or (slice(None),) * len(shape)
            bounds = tuple(part.indices(size)[:2] for part, size in zip(slices, shape, strict=True))
            if bounds not in known:
                known[bounds] = self._slice(field, tuple(slice(*bound) for bound in bounds))
            return known[bounds]

        array = jax.device_put(read(None)) if sharding is None else jax.make_array_from_callback(shape, sharding, read)
        # Transfers under way hold their source: without waiting, several stacks would be on the host at once.
        return jax.block_until_ready(array)

    def _slice(self, field: str, index: _Index) -> Float[np.ndarray, "..."]:
        stack = _aligned([part.stop - part.start for part in index], self.dtype)
        if field not in LAYER_TENSORS:
            stack[...] = self._read(_SINGLES[field], index)
            return stack
        transpose = LAYER_TENSORS[field][1]
        for i, layer in enumerate(range(index[0].start, index[0].stop)):
            part = self._read(layer_tensor(layer, field), index[:0:-1] if transpose else index[1:])
            stack[i] = part.T if transpose else part
        return stack

    def _read(self, name: str, index: _Index) -> Float[np.ndarray, "..."]:
        part = self.files.read(name, index)
        if not np.isfinite(part).all():
            self.problems[_describe_not_finite(name)] = None
        return part


def _aligned(shape: list[int], dtype: np.dtype) -> Shaped[np.ndarray, "..."]:
    """Allocate an array that JAX can use on a CPU without a copy, unlike one that numpy places."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def _places(shardings: Qwen3x | Sharding | None, count: int) -> list[Sharding] | list[None]:
    if shardings is None:
        return [None] * count
    if isinstance(shardings, Sharding):
        return [shardings] * count
    places = jax.tree.leaves(shardings)
    if len(places) != count:
        raise InputError(f"`shardings` must have one for each of the {count} arrays of the model, got {len(places)}")
    return places


def _on_host(array: Array | np.ndarray | None) -> Float[np.ndarray, "..."]:
    assert array is not None, "an untied model has a head"
    if isinstance(array, jax.Array) and not array.is_fully_addressable:
        return np.asarray(multihost_utils.process_allgather(array, tiled=True))
    return np.asarray(array)


def _misfits(config: Qwen3xConfig, files: TensorFiles) -> list[str]:
    expected = dict(tensor_shapes(config))
    if config.tied and HEAD in files.shapes:
        expected[HEAD] = expected[EMBEDDING]
    problems = [f"{name}: missing" for name in expected if name not in files.shapes]
    problems += [f"{shown(name)}: unknown" for name in files.shapes if name not in expected]
    problems += [
        f"{name}: expected shape {shape}, got {files.shapes[name]}"
        for name, shape in expected.items()
        if files.shapes.get(name, shape) != shape
    ]
    if config.tied and not problems and HEAD in files.shapes and not _repeats_embedding(files):
        problems.append(
            f"{HEAD}: differs from {EMBEDDING}, though `tie_word_embeddings` is true; set it to false to use this "
            "head, or remove the tensor"
        )
    return problems


def _repeats_embedding(files: TensorFiles) -> bool:
    """Whether the head that a tied checkpoint of another writer holds is the embedding again."""
    count = files.shapes[HEAD][0]
    rows = (slice(i, min(i + _COMPARED_ROWS, count)) for i in range(0, count, _COMPARED_ROWS))
    return all(np.array_equal(files.read(HEAD, (part,)), files.read(EMBEDDING, (part,))) for part in rows)


def _not_finite(config: Qwen3xConfig, files: TensorFiles) -> list[str]:
    return [
        _describe_not_finite(name)
        for name, shape in tensor_shapes(config)
        if files.shapes.get(name) == shape and not np.isfinite(files.read(name)).all()
    ]


def _describe_not_finite(name: str) -> str:
    return f"{name}: holds values that are not finite"


def _refusal(folder: Path, problems: list[str]) -> InputError:
    return InputError(f"weights in `{folder}` do not fit its config.json: {listed(problems)}")
