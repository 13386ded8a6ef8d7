"""Models on disk: a folder that `transformers` opens as `Qwen3ForCausalLM`, and back."""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from audio_model.config import Qwen3xConfig
from audio_model.errors import InputError
from audio_model.huggingface import (
    EMBEDDING,
    FINAL_NORM,
    HEAD,
    LAYER_TENSORS,
    from_huggingface,
    layer_tensor,
    tensor_shapes,
    to_huggingface,
)
from audio_model.layers import DecoderLayer
from audio_model.qwen3x import Qwen3x

_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")


def save_model(
    folder: str | os.PathLike[str], model: Qwen3x, *, dtype: Literal["float32", "bfloat16"] = "float32"
) -> None:
    """Write `config.json` and `model.safetensors` under their Hugging Face names.

    Each file is complete or absent at every moment; `config.json` comes last, so a folder that has
    one has the weights that belong to it.

    Args:
        folder: Where to write; made if it does not exist, other files in it are left alone.
        model: What to write. `remat` is a training choice and is not stored.
        dtype: Type of the stored tensors; float32 keeps float32 weights bit for bit.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    # An interrupted overwrite must not pair the old configuration with new weights.
    (path / "config.json").unlink(missing_ok=True)
    tensors = _to_tensors(model, jnp.dtype(dtype))
    _write_atomically(
        path / _WEIGHTS, lambda target: safetensors.numpy.save_file(tensors, target, metadata={"format": "pt"})
    )
    document = json.dumps(to_huggingface(model.config, dtype), indent=2) + "\n"
    _write_atomically(path / "config.json", lambda target: target.write_text(document, encoding="utf-8"))


def load_model(folder: str | os.PathLike[str]) -> Qwen3x:
    """Read a Qwen3 folder: `config.json` with one safetensors file or several and their index.

    Args:
        folder: What `save_model`, or `save_pretrained` of a `Qwen3ForCausalLM`, wrote.

    Returns:
        The model in float32, with the default `remat`.

    Raises:
        InputError: If the folder or a file is missing, holds only pickled weights, or if any tensor is
            missing, unknown, of the wrong shape or not finite; all such tensors are listed.
    """
    path = Path(folder)
    config = load_config(path)
    tensors = _read_tensors(_weight_files(path))
    _check(config, tensors, path)
    return _from_tensors(config, tensors)


def load_config(folder: str | os.PathLike[str]) -> Qwen3xConfig:
    """Read only the configuration of a Qwen3 folder.

    Args:
        folder: As for `load_model`.

    Returns:
        The configuration, with the default `remat`.

    Raises:
        InputError: If there is no config.json, or if it does not describe a Qwen3 decoder.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise InputError(f"`{folder}` must be a folder with a config.json, as save_model writes it; there is none")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"`{path}` must be JSON: {error}") from error
    return from_huggingface(document, str(path))


def _to_tensors(model: Qwen3x, dtype: np.dtype) -> dict[str, np.ndarray]:
    def stored(array: jax.Array | np.ndarray, *, transpose: bool = False) -> np.ndarray:
        host = np.asarray(array).astype(dtype)
        # safetensors reads raw memory: a transposed view would be stored untransposed.
        return np.ascontiguousarray(host.T if transpose else host)

    tensors = {EMBEDDING: stored(model.embedding), FINAL_NORM: stored(model.final_norm)}
    if model.head is not None:
        tensors[HEAD] = stored(model.head)
    for field, (_, transpose) in LAYER_TENSORS.items():
        stacked = np.asarray(getattr(model.layers, field))
        for layer in range(model.config.layers):
            tensors[layer_tensor(layer, field)] = stored(stacked[layer], transpose=transpose)
    return tensors


def _from_tensors(config: Qwen3xConfig, tensors: dict[str, np.ndarray]) -> Qwen3x:
    def stack(field: str, transpose: bool) -> jax.Array:
        parts = [tensors[layer_tensor(layer, field)] for layer in range(config.layers)]
        return jnp.asarray(np.stack([part.T if transpose else part for part in parts]).astype(np.float32))

    def single(name: str) -> jax.Array:
        return jnp.asarray(tensors[name].astype(np.float32))

    return Qwen3x(
        config=config,
        embedding=single(EMBEDDING),
        layers=DecoderLayer(**{field: stack(field, transpose) for field, (_, transpose) in LAYER_TENSORS.items()}),
        final_norm=single(FINAL_NORM),
        head=None if config.tied else single(HEAD),
    )


def _weight_files(path: Path) -> list[Path]:
    if (path / _WEIGHTS).is_file():
        return [path / _WEIGHTS]
    if not (path / _INDEX).is_file():
        pickled = sorted(file.name for pattern in _PICKLED for file in path.glob(pattern))
        found = f"; {', '.join(pickled)} would run code when opened, convert it to safetensors first" if pickled else ""
        raise InputError(f"`{path}` must hold {_WEIGHTS} or {_INDEX}; it holds neither{found}")
    index = json.loads((path / _INDEX).read_text(encoding="utf-8"))
    files = [path / name for name in sorted(set(index["weight_map"].values()))]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise InputError(f"`{path / _INDEX}` names files that are missing: {', '.join(missing)}")
    return files


def _read_tensors(files: Iterable[Path]) -> dict[str, np.ndarray]:
    tensors: dict[str, np.ndarray] = {}
    for file in files:
        try:
            tensors.update(safetensors.numpy.load_file(file))
        except safetensors.SafetensorError as error:
            raise InputError(f"`{file}` is not a whole safetensors file: {error}") from error
    return tensors


def _check(config: Qwen3xConfig, tensors: dict[str, np.ndarray], path: Path) -> None:
    expected = dict(tensor_shapes(config))
    # Tied checkpoints of other writers may repeat the embedding as head.
    ignored = {HEAD} if config.tied else set()
    problems = [f"{name}: missing" for name in expected if name not in tensors]
    problems += [f"{name}: unknown" for name in tensors if name not in expected and name not in ignored]
    for name, shape in expected.items():
        if name not in tensors:
            continue
        if tensors[name].shape != shape:
            problems.append(f"{name}: expected shape {shape}, got {tensors[name].shape}")
        elif not np.isfinite(tensors[name]).all():
            problems.append(f"{name}: holds values that are not finite")
    if problems:
        raise InputError(f"weights in `{path}` do not fit its config.json: " + "; ".join(problems))


def _write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    temporary = path.with_name(f".{path.name}.partial")
    write(temporary)
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
