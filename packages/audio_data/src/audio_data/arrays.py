"""Readers of numpy's `.npy` and `.npz` files, whose memory is bounded by the file's size, whatever its header states.

`numpy.load` believes the shape that a header states, and allocates it before it reads; here the size of the file has to
agree first. Only plain types are read: no structures, no objects.
"""

import io
import math
import re
import zipfile
import zlib
from pathlib import Path
from typing import Literal

import numpy as np

from audio_data.errors import InputError

MAX_NPZ_BYTES = 2**31
_MAX_HEADER_BYTES = 2**16
_MAGIC = b"\x93NUMPY"
_HEADER = re.compile(
    rb"\{'descr': '(?P<descr>[<>|=]?[biufcSUmM][0-9]{1,9}(\[[A-Za-z0-9]{1,12}\])?)', "
    rb"'fortran_order': (?P<fortran>False|True), "
    rb"'shape': \((?P<shape>[0-9, ]{0,400})\),? ?\} *\n?"
)


def encode_array(values: np.ndarray) -> bytes:
    """Return the content of a `.npy` file; `decode_array` is the inverse.

    Args:
        values: Of a plain type.
    """
    content = io.BytesIO()
    np.save(content, values, allow_pickle=False)
    return content.getvalue()


def decode_array(content: bytes) -> np.ndarray:
    """Return the array of a `.npy` file, without a copy.

    Args:
        content: The whole of the file.

    Raises:
        InputError: It is none, or its header states another size than it has.
    """
    dtype, shape, order, start = _read_header(io.BytesIO(content), len(content))
    return np.frombuffer(content, dtype, math.prod(shape), start).reshape(shape, order=order)


def map_array(path: Path) -> np.ndarray:
    """Return the array of a local `.npy` file, read from the disk when it is used.

    Args:
        path: The file.

    Raises:
        InputError: It is none, or its header states another size than it has.
    """
    with path.open("rb") as file:
        dtype, shape, order, start = _read_header(file, path.stat().st_size)
    if not math.prod(shape):
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", start, shape, order)


def load_arrays(file: io.BufferedIOBase, *, max_bytes: int = MAX_NPZ_BYTES) -> dict[str, np.ndarray]:
    """Return the arrays of a `.npz` file by name.

    Args:
        file: The open file, local.
        max_bytes: A file that unpacks to more is refused, before it is unpacked.

    Raises:
        InputError: It is none, it is damaged, or it unpacks to more than `max_bytes`.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            total = sum(member.file_size for member in archive.infolist())
            if total > max_bytes:
                raise InputError(
                    f"expected arrays of at most {max_bytes:,} bytes in all, got {total:,}; split the file, or save "
                    f"the ids as .npy, which is not held in memory"
                )
            return {m.filename.removesuffix(".npy"): decode_array(_unpack(archive, m)) for m in archive.infolist()}
    except (OSError, ValueError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise error if isinstance(error, InputError) else InputError(f"expected a .npz file ({error})") from error


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    with archive.open(member) as packed:
        # No further than it says: what a damaged directory says may be less than what comes out.
        return packed.read(member.file_size)


def _read_header(file: io.BufferedIOBase, num_bytes: int) -> tuple[np.dtype, tuple[int, ...], Literal["C", "F"], int]:
    """Type, shape, order and place of the values of a `.npy` file of `num_bytes`."""
    begin = file.read(12)
    width = 2 if begin[6:7] == b"\x01" else 4
    size = int.from_bytes(begin[8 : 8 + width], "little")
    if begin[:6] != _MAGIC or begin[6:8] not in (b"\x01\x00", b"\x02\x00", b"\x03\x00") or size > _MAX_HEADER_BYTES:
        raise InputError(f"expected a .npy file of one plain array, got one that begins with {begin!r}")
    start = 8 + width + size
    header = (begin[8 + width :] + file.read(size))[:size]
    found = _HEADER.fullmatch(header)
    if found is None:
        raise InputError(f"expected a .npy file of one plain array, got one with the header {header[:120]!r}")
    try:
        dtype = np.dtype(found["descr"].decode())
    except TypeError as error:
        raise InputError(f"expected an array of a plain type, got {found['descr'].decode()!r}") from error
    shape = tuple(int(part) for part in found["shape"].decode().split(",") if part.strip())
    if start + math.prod(shape) * dtype.itemsize != num_bytes:
        raise InputError(
            f"expected {start + math.prod(shape) * dtype.itemsize:,} bytes for {dtype} of shape {shape!r}, "
            f"got {num_bytes:,}"
        )
    return dtype, shape, "F" if found["fortran"] == b"True" else "C", start
