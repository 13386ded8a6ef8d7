"""Model folders made of other model folders, a tensor at a time: converted, or extended for a warm start."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from audio_model.checksums import check_whole
from audio_model.config import Qwen3xConfig
from audio_model.errors import InputError
from audio_model.extension import DEVIATION, check_extension, extend_config, extended_rows
from audio_model.hub import find_model
from audio_model.huggingface import EMBEDDING, HEAD, tensor_shapes
from audio_model.json_files import read_json
from audio_model.model_tensors import check_weights
from audio_model.tensor_files import Dtype, Read, TensorFiles, check_replaceable, stored_bytes, write_json
from audio_model.vocabulary_files import (
    TOKENIZER_FILES,
    VOCABULARY,
    VOCABULARY_FOLDER,
    SpecialIds,
    check_vocabulary,
    count_ids,
    special_ids_of_model,
    special_ids_of_vocabulary,
)
from audio_model.weights import MAX_SHARD_BYTES, load_config, write_folder

PROVENANCE = "provenance.json"

Progress = Callable[[int, int], object]
"""Told after each tensor how many bytes it had, of how many bytes in all."""


@dataclasses.dataclass(frozen=True)
class _Source:
    name: str
    folder: Path
    revision: str | None
    config: Qwen3xConfig
    files: TensorFiles

    @property
    def vocabulary(self) -> Path | None:
        """Where the source keeps its own vocabulary."""
        if (self.folder / VOCABULARY_FOLDER / VOCABULARY).is_file():
            return self.folder / VOCABULARY_FOLDER
        return self.folder if (self.folder / TOKENIZER_FILES[0]).is_file() else None

    @property
    def provenance(self) -> dict[str, Any]:
        """What the source says of itself, and what it is."""
        path = self.folder / PROVENANCE
        return (read_json(path) if path.is_file() else {}) | {"source": self.name, "revision": self.revision}


def convert(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    revision: str | None = None,
    download: bool = False,
    dtype: Dtype | None = None,
    vocabulary: str | os.PathLike[str] | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make a checked, complete model folder of a Qwen3 model from elsewhere.

    Every tensor is read and checked before anything is written, then copied one at a time.

    Args:
        source: Folder, or id on the Hugging Face hub.
        out: Folder to write.
        revision: Branch, tag or commit of a hub id.
        download: Whether to fetch from the hub what is not here.
        dtype: Type of the stored tensors; None keeps bfloat16 and stores anything else as float32.
        vocabulary: Folder of the vocabulary or tokenizer; None takes what lies with the source.
        max_shard_bytes: Most bytes of tensors in one file.
        progress: Called after each tensor.

    Returns:
        A JSON-ready document: `folder`, `source`, `revision`, `dtype`, `vocab_size`, `num_parameters`.

    Raises:
        InputError: If the source cannot be found, is no Qwen3 model or is damaged, or the vocabulary
            does not belong to it.
    """
    origin = _open(source, out, revision, download)
    stored: Dtype = dtype or origin.files.dtype
    _write(
        out,
        origin.config,
        origin.files.read,
        origin.provenance,
        dtype=stored,
        vocabulary=vocabulary or origin.vocabulary,
        special_ids=special_ids_of_vocabulary(vocabulary) if vocabulary else special_ids_of_model(origin.folder),
        max_shard_bytes=max_shard_bytes,
        progress=progress,
    )
    return _document(out, origin, origin.config, stored)


def extend(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    vocab_size: int | None = None,
    vocabulary: str | os.PathLike[str] | None = None,
    num_copied: int | None = None,
    deviation: float = DEVIATION,
    seed: int = 0,
    revision: str | None = None,
    download: bool = False,
    dtype: Dtype | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make the start of a warm-started run: `extend_vocabulary` from folder to folder, a tensor at a time.

    Rotary embedding, epsilon and context stay those of the source.

    Args:
        source: Folder of a text model, or its id on the Hugging Face hub.
        out: Folder to write.
        vocab_size: Number of ids; None takes those of `vocabulary`.
        vocabulary: Folder of the extended vocabulary, copied as `save_model` does; None copies none.
        num_copied: Rows to keep; None takes the ids that the source's own tokenizer uses.
        deviation: Standard deviation of the new rows around the mean of the kept ones.
        seed: Fixes the noise.
        revision: Branch, tag or commit of a hub id.
        download: Whether to fetch from the hub what is not here.
        dtype: Type of the stored tensors; None keeps bfloat16 and stores anything else as
            float32.
        max_shard_bytes: Most bytes of tensors in one file.
        progress: Called after each tensor.

    Returns:
        As `convert`, with `num_copied` and `num_new`.

    Raises:
        InputError: As `convert`, and if the number of ids or of kept rows is unknown or impossible.
    """
    origin = _open(source, out, revision, download)
    size = _vocab_size(vocab_size, vocabulary)
    kept = _num_copied(num_copied, origin)
    check_extension(origin.config, size, kept, deviation)
    config, stored = extend_config(origin.config, size), dtype or origin.files.dtype
    made = {"num_copied": kept, "num_new": size - kept, "deviation": deviation, "seed": seed}
    _write(
        out,
        config,
        _extending(origin, jnp.dtype(stored), size, made),
        origin.provenance | {"extension": made},
        dtype=stored,
        vocabulary=vocabulary,
        special_ids=special_ids_of_vocabulary(vocabulary) if vocabulary else special_ids_of_model(origin.folder),
        max_shard_bytes=max_shard_bytes,
        progress=progress,
    )
    return _document(out, origin, config, stored) | {"num_copied": kept, "num_new": size - kept}


def _open(source: str | os.PathLike[str], out: str | os.PathLike[str], revision: str | None, download: bool) -> _Source:
    found = find_model(source, revision=revision, download=download)
    if Path(out).exists() and os.path.samefile(out, found.folder):
        raise InputError(f"`out` must be another folder than the source, got {str(out)!r} for both")
    check_whole(found.folder)
    config = load_config(found.folder)
    files = TensorFiles(found.folder)
    check_weights(config, files)
    return _Source(str(source), found.folder, found.revision, config, files)


def _vocab_size(vocab_size: int | None, vocabulary: str | os.PathLike[str] | None) -> int:
    if vocabulary is None:
        if vocab_size is None:
            raise InputError("`vocab_size` or `vocabulary` must be given: an extension needs a number of ids")
        return vocab_size
    if vocab_size is not None:
        return vocab_size
    check_vocabulary(vocabulary, 2**31)
    return count_ids(vocabulary) or 0


def _num_copied(num_copied: int | None, origin: _Source) -> int:
    if num_copied is not None:
        return num_copied
    if origin.vocabulary is None:
        raise InputError(
            f"`num_copied` must say how many of the {origin.config.vocab_size:,} rows of `{origin.name}` its tokenizer "
            "uses, as there is no tokenizer.json beside the weights; it is 151,669 for Qwen3"
        )
    check_vocabulary(origin.vocabulary, origin.config.vocab_size)
    return count_ids(origin.vocabulary) or 0


def _extending(origin: _Source, dtype: np.dtype, vocab_size: int, made: Mapping[str, Any]) -> Read:
    keys = dict(zip((EMBEDDING, HEAD), jax.random.split(jax.random.key(made["seed"])), strict=True))

    def read(name: str) -> Float[np.ndarray, "..."]:
        if name not in keys:
            return origin.files.read(name)
        stored = EMBEDDING if origin.config.tied else name
        rows = jnp.asarray(origin.files.read(stored, (slice(0, made["num_copied"]),)), dtype)
        return np.asarray(extended_rows(rows, vocab_size, made["num_copied"], keys[name], made["deviation"]))

    return read


def _write(
    out: str | os.PathLike[str],
    config: Qwen3xConfig,
    read: Read,
    provenance: Mapping[str, Any],
    *,
    dtype: Dtype,
    special_ids: SpecialIds,
    vocabulary: str | os.PathLike[str] | None,
    max_shard_bytes: int,
    progress: Progress | None,
) -> None:
    total = stored_bytes(dict(tensor_shapes(config)), dtype)
    check_replaceable(Path(out), (PROVENANCE,))
    try:
        write_folder(
            out,
            config,
            read,
            dtype=dtype,
            special_ids=special_ids,
            vocabulary=vocabulary,
            max_shard_bytes=max_shard_bytes,
            progress=None if progress is None else lambda num_bytes: progress(num_bytes, total),
        )
        write_json(Path(out) / PROVENANCE, dict(provenance))
    except OSError as error:
        raise InputError(
            f"cannot write `{out}` ({error}): {total / 1e9:,.1f} GB are needed there; "
            "free some space or give another folder"
        ) from error


def _document(out: str | os.PathLike[str], origin: _Source, config: Qwen3xConfig, dtype: str) -> dict[str, Any]:
    return {
        "folder": str(out),
        "source": origin.name,
        "revision": origin.revision,
        "dtype": dtype,
        "vocab_size": config.vocab_size,
        "num_parameters": config.num_parameters,
    }
