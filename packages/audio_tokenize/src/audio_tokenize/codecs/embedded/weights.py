"""The codec's weights file: safetensors with a format version, a codec id and rows stored as int8 with a scale.

Layout, version 1. Metadata: `format_version`, `codec_id`, `recipe` (JSON of the training configuration), `attribution`
`sha256` (of the names, types, shapes and bytes of all tensors in order of their names) and `metadata_sha256` (of the
other entries, as JSON with sorted keys; files of older versions have none). Tensors: a matrix `x`
stored compactly is the int8 tensor `x` beside the float32 tensor `x.scale`, one scale a row (the last axis), and means
`x * x.scale`; any other tensor is float32.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int8, Shaped
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from audio_data import InputError, decode_object, file_errors, from_json, write_output

FORMAT_VERSION = 1
MARK = b'"attribution":'
"""What the metadata of every weights file contains; a file without it is not replaced."""
_SCALE = ".scale"


@dataclass(frozen=True)
class Weights:
    """Contents of a weights file.

    Attributes:
        codec_id: Names the codes this file makes.
        recipe: How it was trained.
        attribution: Whose recordings it was trained on.
        tensors: Float32 tensors by name.
    """

    codec_id: str
    recipe: Mapping[str, object]
    attribution: str
    tensors: Mapping[str, Float32[np.ndarray, "..."]]


def round_rows(
    rows: Float32[np.ndarray, "*lead dim"],
) -> tuple[Int8[np.ndarray, "*lead dim"], Float32[np.ndarray, "*lead"]]:
    """Round each row to 255 levels of its own scale; rows so rounded are returned unchanged by a second rounding."""
    scale = (np.abs(rows).max(axis=-1) / 127).astype(np.float32)
    safe = np.where(scale > 0, scale, np.float32(1))
    return np.rint(rows / safe[..., None]).astype(np.int8), safe


def restore_rows(
    levels: Int8[np.ndarray, "*lead dim"], scale: Float32[np.ndarray, "*lead"]
) -> Float32[np.ndarray, "*lead dim"]:
    """Undo `round_rows`."""
    return levels.astype(np.float32) * scale[..., None]


def _digest(stored: Mapping[str, Shaped[np.ndarray, "..."]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(stored):
        digest.update(f"{name} {stored[name].dtype} {stored[name].shape}".encode())
        digest.update(stored[name].tobytes())
    return digest.hexdigest()


def _digest_metadata(metadata: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode()).hexdigest()


def write_weights(path: Path, weights: Weights, compact: frozenset[str]) -> None:
    """Write `weights` to `path` atomically, the tensors named in `compact` as int8 rows.

    Raises:
        InputError: If another file is there, or the disk refuses.
    """
    stored: dict[str, Shaped[np.ndarray, "..."]] = {}
    for name, tensor in weights.tensors.items():
        if name in compact:
            stored[name], stored[name + _SCALE] = round_rows(tensor)
        else:
            stored[name] = np.ascontiguousarray(tensor)
    metadata = {
        "format_version": str(FORMAT_VERSION),
        "codec_id": weights.codec_id,
        "recipe": json.dumps(weights.recipe, sort_keys=True),
        "attribution": weights.attribution,
        "sha256": _digest(stored),
    }
    metadata["metadata_sha256"] = _digest_metadata(metadata)
    write_output(path, save(stored, metadata), MARK)


def read_weights(path: Path) -> Weights:
    """Read a weights file.

    Raises:
        InputError: If the file is missing, no safetensors file, of another format version, or damaged.
    """
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    # Of a damaged header: no JSON, places outside the file, types that numpy has not.
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"expected codec weights in `{path}`, got {error!s}: restore or retrain the file") from error
    version = metadata.get("format_version")
    if version != str(FORMAT_VERSION):
        raise InputError(f"expected `format_version` {FORMAT_VERSION} in `{path}`, got {version!r}: retrain the codec")
    if metadata.get("sha256") != _digest(stored):
        raise InputError(
            f"expected tensors with SHA-256 {metadata.get('sha256')} in `{path}`, got others: restore the file"
        )
    stated = metadata.pop("metadata_sha256", None)
    if stated not in (None, _digest_metadata(metadata)):
        raise InputError(f"expected metadata with SHA-256 {stated} in `{path}`, got others: restore the file")
    tensors = {
        name: restore_rows(tensor, stored[name + _SCALE]) if name + _SCALE in stored else tensor
        for name, tensor in stored.items()
        if not name.endswith(_SCALE)
    }
    with file_errors(path, "restore or retrain the file"):
        texts = {name: from_json(str, metadata.get(name), name) for name in ("codec_id", "recipe", "attribution")}
        return Weights(texts["codec_id"], decode_object(texts["recipe"]), texts["attribution"], tensors)
