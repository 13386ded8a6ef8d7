"""Documents from other producers' files: JSONL lines, numpy streams, datasets, and folders of these.

Only token ids are accepted: turning audio or text into ids is another package's work.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from audio_data.dataset import TokenDataset
from audio_data.errors import InputError
from audio_data.manifest import MANIFEST_NAME
from audio_data.records import Document
from audio_data.shards import hash_file
from audio_data.vocabulary import Vocabulary

_SUFFIXES = (".jsonl", ".npy")


def read_documents(path: str | os.PathLike[str], vocabulary: Vocabulary) -> Iterator[Document]:
    """Documents of a file or folder, in a fixed order.

    - ``.jsonl``: one object a line with ``ids``, optionally ``loss_mask`` (a list of booleans); all else is metadata.
    - ``.npy``: one row of ids; a document ends after each end of text, and at the end.
    - a dataset: its documents, whose vocabulary must be the same.
    - a folder: every such file in it, by name.

    Args:
        path: The file or folder.
        vocabulary: Says which id ends a text.

    Raises:
        InputError: The file is of another kind, or its content is; the message names file and line.
    """
    path = Path(path)
    if (path / MANIFEST_NAME).is_file():
        yield from _read_dataset(path, vocabulary)
        return
    for file in input_files(path):
        yield from _read_jsonl(file) if file.suffix == ".jsonl" else _read_npy(file, vocabulary)


def input_files(path: str | os.PathLike[str]) -> list[Path]:
    """The files that `read_documents` reads, in its order.

    Args:
        path: A file or folder.

    Raises:
        InputError: There is none.
    """
    path = Path(path)
    files = [path] if path.is_file() else sorted(f for f in path.glob("*") if f.suffix in _SUFFIXES)
    if not files or files[0].suffix not in _SUFFIXES:
        raise InputError(
            f"input `{path}`: expected a file or folder of {' or '.join(_SUFFIXES)}, got none; check the path"
        )
    return files


def describe_input(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a dataset's provenance says of one of its inputs: its name and the checksum of its content.

    Args:
        path: A file, folder or dataset.
    """
    path = Path(path)
    if (path / MANIFEST_NAME).is_file():
        return {"dataset": path.name, "fingerprint": TokenDataset.open(path).fingerprint}
    return {"input": path.name, "sha256": {file.name: hash_file(file) for file in input_files(path)}}


def _read_dataset(path: Path, vocabulary: Vocabulary) -> Iterator[Document]:
    dataset = TokenDataset.open(path)
    if dataset.vocabulary != vocabulary:
        raise InputError(
            f"dataset `{path}`: expected the vocabulary {vocabulary.fingerprint!r}, "
            f"got {dataset.vocabulary.fingerprint!r}; rebuild it with the vocabulary given"
        )
    yield from dataset


def _read_jsonl(file: Path) -> Iterator[Document]:
    with open(file, "rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _parse_line(file, number, line)


def _parse_line(file: Path, number: int, line: bytes) -> Document:
    try:
        value = json.loads(line.decode())
        ids, mask = value.pop("ids"), value.pop("loss_mask", None)
        return Document(_integers(ids), None if mask is None else np.array(mask), value)
    except InputError as error:
        raise InputError(f"`{file}` line {number}: {error.message}") from error
    except KeyError as error:
        raise InputError(f"`{file}` line {number}: expected a key {error} with the token ids, got none") from error
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(f"`{file}` line {number}: expected an object with integer `ids` ({error})") from error


def _integers(ids: Any) -> np.ndarray:
    array = np.array(ids)
    return array.astype(np.int32) if array.shape == (0,) else array


def _read_npy(file: Path, vocabulary: Vocabulary) -> Iterator[Document]:
    try:
        stream = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"`{file}` cannot be read ({error}); expected one row of integer ids saved by numpy.save"
        ) from error
    if stream.ndim != 1 or not np.issubdtype(stream.dtype, np.integer):
        raise InputError(f"`{file}`: expected one row of integer ids, got {stream.dtype} of shape {stream.shape!r}")
    ends = np.append(np.flatnonzero(stream == vocabulary.end_of_text) + 1, stream.size)
    start = 0
    for number, stop in enumerate(np.unique(ends).tolist()):
        if stop > start:
            yield Document(np.array(stream[start:stop]), metadata={"id": f"{file.stem}-{number}"})
        start = stop
