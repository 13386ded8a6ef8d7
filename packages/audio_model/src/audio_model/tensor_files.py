"""Safetensors on disk, read and written one tensor at a time."""

import contextlib
import json
import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
import safetensors
from jaxtyping import Float, Shaped

from audio_model.errors import InputError
from audio_model.json_files import read_json

Dtype = Literal["float32", "bfloat16"]
"""Types that weights are stored in."""

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
"""Endings of files that run whatever code their author put in them when they are opened."""

WRITER = "audio-model"
"""What the metadata of weight files names as their writer; only such files are replaced."""

_SHARDS = "model-*-of-*.safetensors"
_FILE_NAME = re.compile(r"[\w.-]{1,200}\.safetensors", re.ASCII)
_ADAPTER = "adapter_config.json"
_CODES = {"float32": "F32", "bfloat16": "BF16"}
_DTYPES = {code: jnp.dtype(name) for code, name in (("F64", "float64"), ("F32", "float32"), ("F16", "float16"))}
_DTYPES["BF16"] = jnp.dtype("bfloat16")

Read = Callable[[str], Float[np.ndarray, "..."]]
"""Gives a tensor by its name, in any floating-point dtype."""


class _Place(NamedTuple):
    file: Path
    shape: tuple[int, ...]
    code: str


class TensorFiles:
    """The tensors of a model folder, none of which is in memory.

    Attributes:
        folder: The folder.
        shapes: Shape of every tensor by name.
    """

    def __init__(self, folder: Path):
        """Read the headers of `model.safetensors`, or of the files that its index names.

        Args:
            folder: The folder.

        Raises:
            InputError: If there is neither, or both; if a file is missing, cut short or damaged; if the index does not
                say where each tensor of its files lies, and no more; or if a tensor does not hold floating-point
                numbers.
        """
        self.folder = folder
        self._places = dict(_places(folder))
        self.shapes = {name: place.shape for name, place in self._places.items()}
        odd = [f"{shown(name)}: {place.code}" for name, place in self._places.items() if place.code not in _DTYPES]
        if odd:
            raise InputError(
                f"weights in `{folder}` must be stored as one of {', '.join(_DTYPES)}, got {listed(odd)}: "
                "quantised checkpoints are not read, take the model they were made from"
            )

    @property
    def dtype(self) -> Dtype:
        """The smallest of "bfloat16" and "float32" that holds every tensor as it is stored."""
        return "bfloat16" if all(place.code == "BF16" for place in self._places.values()) else "float32"

    def read(self, name: str, index: tuple[slice, ...] = ()) -> Float[np.ndarray, "..."]:
        """Read a tensor, or a part of it; only that part is read.

        Args:
            name: Which tensor.
            index: Slices of its leading axes.

        Returns:
            A new array of the stored dtype.

        Raises:
            InputError: If the file is damaged.
        """
        file = self._places[name].file
        # Opening anew gives back the pages of the file that the last tensor mapped into this process.
        with _opened(file) as tensors:
            return tensors.get_slice(name)[index or ...]


def write_tensors(
    folder: Path,
    shapes: Mapping[str, tuple[int, ...]],
    read: Read,
    *,
    dtype: Dtype,
    max_shard_bytes: int,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Write tensors as `model.safetensors`, or as numbered shards with their index.

    One tensor is in memory at a time. Each file is complete or absent at every moment; weights of an
    earlier write that the new ones do not replace are removed.

    Args:
        folder: An existing folder.
        shapes: Every tensor to write, in the order of writing.
        read: Gives each of them once, in that order.
        dtype: "float32" or "bfloat16".
        max_shard_bytes: Most bytes of tensors in a file; a larger tensor has a file of its own.
        progress: Called with the bytes of each tensor written.

    Raises:
        InputError: If `max_shard_bytes` is below 1, or a tensor has another shape than announced.
    """
    if max_shard_bytes < 1:
        raise InputError(f"`max_shard_bytes` must be at least 1, got {max_shard_bytes!r}")
    shards = _shards(shapes, _DTYPES[_CODES[dtype]].itemsize, max_shard_bytes)
    names = [WEIGHTS] if len(shards) == 1 else [_shard_name(i, len(shards)) for i in range(len(shards))]
    # The index first: it must not name files of two writes.
    (folder / INDEX).unlink(missing_ok=True)
    for file, shard in zip(names, shards, strict=True):
        with whole_file(folder / file) as stream:
            _write_shard(stream, {name: shapes[name] for name in shard}, read, dtype, progress)
    for stale in {folder / WEIGHTS, *folder.glob(_SHARDS)} - {folder / name for name in names}:
        stale.unlink(missing_ok=True)
    if len(shards) > 1:
        _write_index(folder / INDEX, dict(zip(names, shards, strict=True)), shapes, dtype)


def check_replaceable(folder: Path, others: Iterable[str]) -> None:
    """Refuse to write weights into a folder that holds another model, or files of the same names.

    Args:
        folder: Where weights are to be written; need not exist.
        others: Names of the other files and folders that are written with them.

    Raises:
        InputError: If a file that would be replaced was not written by this package.
    """
    weights = [path for path in (folder / WEIGHTS, folder / INDEX, *folder.glob(_SHARDS)) if os.path.lexists(path)]
    own = [path for path in weights if path.suffix == ".safetensors" and _written_here(path)]
    foreign = [path for path in weights if path.suffix == ".safetensors" and path not in own]
    if not own:  # the files beside the weights are then someone else's
        foreign += [path for path in (*weights, *map(folder.joinpath, others)) if os.path.lexists(path)]
    if foreign:
        raise InputError(f"`{foreign[0]}` exists and was not written by this command: move it, or give another folder")


def _written_here(path: Path) -> bool:
    """Whether a file of weights names this package as its writer; an empty or damaged file names nobody."""
    try:
        with safetensors.safe_open(path, framework="np") as tensors:
            return (tensors.metadata() or {}).get("writer") == WRITER
    except (safetensors.SafetensorError, OSError):
        return False


def stored_bytes(shapes: Mapping[str, tuple[int, ...]], dtype: Dtype) -> int:
    """Bytes that tensors of these shapes take on disk, headers aside.

    Args:
        shapes: Shape of every tensor.
        dtype: "float32" or "bfloat16".

    Returns:
        Bytes.
    """
    return sum(int(np.prod(shape)) for shape in shapes.values()) * _DTYPES[_CODES[dtype]].itemsize


@contextlib.contextmanager
def whole_file(path: Path) -> Generator[Any, None, None]:
    """Open a file that appears under its name, with all of its bytes on the disk, or not at all.

    Args:
        path: Where.

    Yields:
        A binary stream.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with open(temporary, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write_json(path: Path, document: Any) -> None:
    """Write a JSON file, whole or not at all.

    Args:
        path: Where.
        document: What.
    """
    with whole_file(path) as stream:
        stream.write((json.dumps(document, indent=2) + "\n").encode())


def shown(name: str) -> str:
    """Format a tensor's name for a message: on one line, whatever a file calls it.

    Args:
        name: The name.
    """
    return f"{name if name.isprintable() else ascii(name):.200}"


def listed(problems: list[str]) -> str:
    """Join the first 20 of a list of problems, and say how many more there are.

    Args:
        problems: Each in a few words.
    """
    more = f"; and {len(problems) - 20:,} more" if len(problems) > 20 else ""
    return "; ".join(problems[:20]) + more


def pickled_refusal(files: list[str], where: Path) -> InputError:
    """Return the error for weights that are stored as pickles, with what to do.

    Args:
        files: Their names.
        where: Their folder.

    Returns:
        The error to raise.
    """
    return InputError(
        f"`{where}` must hold {WEIGHTS} or {INDEX}, got pickled weights ({', '.join(files)}), which would run code "
        "when opened; if you trust who made them, convert them with transformers: "
        f"AutoModelForCausalLM.from_pretrained('{where}').save_pretrained('OUT')"
    )


def _places(folder: Path) -> Iterator[tuple[str, _Place]]:
    files, chosen = _weight_files(folder)
    unread = set(chosen or ())
    for file in files:
        with _opened(file) as tensors:
            for name in tensors.keys():  # noqa: SIM118 no mapping: it cannot be iterated
                if chosen is not None and chosen.get(name) != file.name:
                    raise InputError(
                        f"`{folder / INDEX}` must name {file.name} as the place of `{shown(name)}`, which it holds, "
                        f"got {chosen.get(name)!r:.80}: fetch the index and its files again"
                    )
                unread.discard(name)
                part = tensors.get_slice(name)
                yield name, _Place(file, tuple(part.get_shape()), part.get_dtype())
    if unread:
        raise InputError(
            f"`{folder / INDEX}` names tensors that its files do not hold: {listed([*map(shown, sorted(unread))])}; "
            "fetch the index and its files again"
        )


def _weight_files(folder: Path) -> tuple[list[Path], dict[str, str] | None]:
    """Find the files of weights, and which of them the index names for each tensor, if there is an index."""
    if (folder / _ADAPTER).is_file():
        raise InputError(
            f"`{folder}` holds the weights of an adapter ({_ADAPTER}), which are not read: merge them into the model, "
            "or take the folder of the model they were made for"
        )
    if (folder / WEIGHTS).is_file():
        if (folder / INDEX).exists():
            raise InputError(
                f"`{folder}` must hold either {WEIGHTS} or {INDEX} with its files, got both: remove the one that is "
                "not the model's"
            )
        return [folder / WEIGHTS], None
    if not (folder / INDEX).is_file():
        found = [file.name for file in folder.iterdir()] if folder.is_dir() else []
        if pickled := sorted(name for name in found if name.endswith(PICKLED_SUFFIXES)):
            raise pickled_refusal(pickled, folder)
        raise InputError(f"`{folder}` must hold {WEIGHTS} or {INDEX}; it holds neither")
    chosen = read_json(folder / INDEX).get("weight_map")
    if not isinstance(chosen, dict) or not all(isinstance(name, str) for name in chosen.values()):
        raise InputError(
            f"`weight_map` of `{folder / INDEX}` must map tensors to files, got {chosen!r:.80}: fetch the index again"
        )
    names = sorted(set(chosen.values()))
    if outside := [ascii(name)[:80] for name in names if not _FILE_NAME.fullmatch(name)]:
        raise InputError(
            f"`{folder / INDEX}` must name .safetensors files beside it, got {listed(outside)}: fetch the index again"
        )
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise InputError(f"`{folder / INDEX}` names files that are missing: {listed(missing)}; fetch them again")
    return [folder / name for name in names], chosen


@contextlib.contextmanager
def _opened(file: Path) -> Generator[Any, None, None]:
    try:
        with safetensors.safe_open(file, framework="np") as tensors:
            yield tensors
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(
            f"`{file}` is not a whole safetensors file ({shown(str(error))}): fetch or export it again"
        ) from error


def _shards(shapes: Mapping[str, tuple[int, ...]], itemsize: int, max_shard_bytes: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    filled = 0
    for name, shape in shapes.items():
        size = int(np.prod(shape)) * itemsize
        if shards[-1] and filled + size > max_shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards


def _shard_name(number: int, count: int) -> str:
    return f"model-{number + 1:05d}-of-{count:05d}.safetensors"


def _write_shard(
    stream: Any,
    shapes: Mapping[str, tuple[int, ...]],
    read: Read,
    dtype: Dtype,
    progress: Callable[[int], object] | None,
) -> None:
    stored = _DTYPES[_CODES[dtype]]
    stream.write(_header(shapes, dtype))
    for name, shape in shapes.items():
        tensor = read(name)
        if tensor.shape != shape:
            raise InputError(f"`{name}` must have shape {shape} by the model's configuration, got {tensor.shape}")
        data = _raw(tensor.astype(stored, copy=False))
        stream.write(data)
        if progress is not None:
            progress(len(data))


def _raw(tensor: Shaped[np.ndarray, "..."]) -> memoryview:
    # A transposed view would be stored untransposed; bfloat16 has no buffer of its own.
    return np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data


def _header(shapes: Mapping[str, tuple[int, ...]], dtype: Dtype) -> bytes:
    """Of a safetensors file: its length in 8 bytes, then JSON padded to a multiple of 8."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt", "writer": WRITER}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + stored_bytes({name: shape}, dtype)
        entries[name] = {"dtype": _CODES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write_index(
    path: Path, shards: Mapping[str, list[str]], shapes: Mapping[str, tuple[int, ...]], dtype: Dtype
) -> None:
    files = {name: file for file, names in shards.items() for name in names}
    write_json(path, {"metadata": {"total_size": stored_bytes(shapes, dtype)}, "weight_map": files})
