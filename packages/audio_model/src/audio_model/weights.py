"""Models on disk: a folder that `transformers` opens as `Qwen3ForCausalLM`, and back."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import jax
import jax.numpy as jnp
from jax.sharding import Sharding

from audio_model.checksums import check_whole
from audio_model.config import Qwen3xConfig
from audio_model.errors import InputError
from audio_model.huggingface import from_huggingface, tensor_shapes, to_huggingface
from audio_model.json_files import read_json
from audio_model.model_tensors import build_model, read_tensors_of
from audio_model.qwen3x import Qwen3x
from audio_model.tensor_files import (
    PICKLED_SUFFIXES,
    Dtype,
    Read,
    TensorFiles,
    check_replaceable,
    pickled_refusal,
    write_json,
    write_tensors,
)
from audio_model.vocabulary_files import (
    GENERATION_CONFIG,
    SpecialIds,
    check_vocabulary,
    copied_names,
    copy_vocabulary,
    special_ids_of_vocabulary,
    write_generation_config,
)

MAX_SHARD_BYTES = 50_000_000_000
"""Most bytes of a weight file: what hubs take, and what `transformers` cuts at."""

CONFIG = "config.json"


def save_model(
    folder: str | os.PathLike[str],
    model: Qwen3x,
    *,
    dtype: Dtype = "float32",
    max_shard_bytes: int = MAX_SHARD_BYTES,
    vocabulary: str | os.PathLike[str] | None = None,
    special_ids: SpecialIds | None = None,
) -> None:
    """Write a model as a folder that `transformers` opens: configuration, weights, tokenizer.

    The weights lie in `model.safetensors`, or in numbered shards with `model.safetensors.index.json`,
    under their Hugging Face names. They are written a tensor at a time, so the host never holds a
    second copy of the model. Each file is complete or absent at every moment; `config.json` comes last,
    so a folder that has one has the weights that belong to it.

    A model whose arrays lie on the devices of several processes is gathered a tensor at a time: all
    processes call this, and the first one writes.

    Args:
        folder: Where to write; made if it does not exist, other files in it are left alone.
        model: What to write. `remat` is a training choice and is not stored.
        dtype: Type of the stored tensors; float32 keeps float32 weights bit for bit.
        max_shard_bytes: Most bytes of tensors in one file.
        vocabulary: Folder of the vocabulary, as audio-tokenize writes it, or of a tokenizer: its tokenizer
            files are copied beside the weights, and a vocabulary folder whole as `vocabulary/`.
        special_ids: Ids for generation; None takes those of `vocabulary`, or none.

    Raises:
        InputError: If the vocabulary or a special id does not belong to a model of this size, an array
            of the model has another shape than its configuration says, or a file that would be replaced
            was not written by this function.
    """
    write_folder(
        folder,
        model.config,
        read_tensors_of(model),
        dtype=dtype,
        max_shard_bytes=max_shard_bytes,
        vocabulary=vocabulary,
        special_ids=special_ids,
    )


def write_folder(
    folder: str | os.PathLike[str],
    config: Qwen3xConfig,
    read: Read,
    *,
    dtype: Dtype,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    vocabulary: str | os.PathLike[str] | None = None,
    special_ids: SpecialIds | None = None,
    progress: Callable[[int], object] | None = None,
) -> None:
    """As `save_model`, from a function that gives each tensor when its turn comes.

    Args:
        folder: Where to write.
        config: Shape of the model.
        read: Gives a tensor by its Hugging Face name, in any floating-point dtype.
        dtype: Type of the stored tensors.
        max_shard_bytes: Most bytes of tensors in one file.
        vocabulary: As for `save_model`.
        special_ids: As for `save_model`.
        progress: Called with the bytes of each tensor written.

    Raises:
        InputError: As for `save_model`.
    """
    _check_dtype(dtype)
    if vocabulary is not None:
        check_vocabulary(vocabulary, config.vocab_size)
        special_ids = special_ids or special_ids_of_vocabulary(vocabulary)
    ids = special_ids or SpecialIds()
    ids.check(config.vocab_size)
    shapes, path = dict(tensor_shapes(config)), Path(folder)
    if jax.process_index():
        for name in shapes:
            read(name)
        return
    check_replaceable(path, (CONFIG, GENERATION_CONFIG, *copied_names(vocabulary)))
    path.mkdir(parents=True, exist_ok=True)
    # An interrupted overwrite must not pair the old configuration with new weights.
    (path / CONFIG).unlink(missing_ok=True)
    write_tensors(path, shapes, read, dtype=dtype, max_shard_bytes=max_shard_bytes, progress=progress)
    if vocabulary is not None:
        copy_vocabulary(vocabulary, path)
    write_generation_config(path, ids)
    write_json(path / CONFIG, to_huggingface(config, dtype) | ids.to_model_json())


def load_model(
    folder: str | os.PathLike[str], *, dtype: Dtype = "float32", shardings: Qwen3x | Sharding | None = None
) -> Qwen3x:
    """Read a Qwen3 folder: `config.json` with one safetensors file or several and their index.

    Tensors are read one after another, straight to where they belong. With `shardings` a process reads
    only the slices that its devices hold.

    Args:
        folder: What `save_model`, or `save_pretrained` of a `Qwen3ForCausalLM`, wrote.
        dtype: Of the arrays, whatever the stored type.
        shardings: Where each array is to lie: a `Qwen3x` of shardings, such as `parameter_axes` mapped to
            them, or one sharding for all. None takes the default device.

    Returns:
        The model, with the default `remat`.

    Raises:
        InputError: If the folder or a file is missing, holds only pickled weights, or if any tensor is
            missing, unknown, of the wrong shape or not finite (in the slices read); all such tensors
            are listed. Or if the folder has a `checksums.json` and a file of it is not as it was written.
    """
    _check_dtype(dtype)
    check_whole(Path(folder))
    config = load_config(folder)
    return build_model(config, TensorFiles(Path(folder)), jnp.dtype(dtype), shardings)


def load_config(folder: str | os.PathLike[str]) -> Qwen3xConfig:
    """Read only the configuration of a Qwen3 folder.

    Args:
        folder: As for `load_model`.

    Returns:
        The configuration with its own rotary embedding and epsilon, and the default `remat`.

    Raises:
        InputError: If there is no config.json, or if it does not describe a Qwen3 decoder.
    """
    path = Path(folder)
    if path.is_file():
        if path.suffix in PICKLED_SUFFIXES:
            raise pickled_refusal([path.name], path.parent)
        raise InputError(f"`{folder}` must be the folder of a model, got a file: give the folder it lies in")
    if not (path / CONFIG).is_file():
        raise InputError(
            f"`{folder}` must be a folder with a config.json, as save_model writes it; there is none. "
            "`audio-model convert` makes such a folder of a model on the hub"
        )
    document = read_json(path / CONFIG)
    try:
        return from_huggingface(document, str(path / CONFIG))
    except InputError as error:
        raise InputError(f"{error.message}; if it is a Qwen3 model's, fetch or export it again") from error


def _check_dtype(dtype: str) -> None:
    if dtype not in get_args(Dtype):
        raise InputError(f"`dtype` must be one of {', '.join(get_args(Dtype))}, got {dtype!r}")
