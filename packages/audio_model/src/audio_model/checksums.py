"""Sizes and XXH3 hashes of the files below a folder: taken when it is written, compared when it is read.

They find what disks, copies and cut transfers damage; they do not protect against somebody who changes a file and its
hash. XXH3 (128 bits, https://xxhash.com) is read here at some 12 GB a second on two cores, SHA-256 at 2.2, which was
half of the time of a restore. A file is hashed in blocks, so that the cores share one large file; that of a file of at
most one block is what `xxhsum -H2` prints.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import xxhash

from audio_model.errors import InputError
from audio_model.json_files import read_json
from audio_model.tensor_files import write_json

CHECKSUMS_FILE = "checksums.json"
BLOCK_BYTES = 1 << 24
"""Bytes hashed at a time by one thread; part of the format."""

_ALGORITHM = "xxh3_128"
_OWN = "files_xxh3_128"
_KEYS = {"block_bytes", "files", _OWN}
# What older folders list as well.
_ALGORITHMS = {_ALGORITHM: xxhash.xxh3_128, "sha256": hashlib.sha256}
_BUFFER_BYTES = 1 << 18
_NUM_FLUSHES = 16
_THREADS = min(16, os.cpu_count() or 1)


@dataclass(frozen=True)
class FileChecksum:
    """What a file holds.

    Attributes:
        bytes: Its size.
        algorithm: `xxh3_128`, or `sha256` as older versions wrote.
        blocks: Hash of each of its blocks of `BLOCK_BYTES`, in order, as hexadecimal digits.
    """

    bytes: int
    algorithm: str
    blocks: tuple[str, ...]


def write_checksums(folder: Path) -> None:
    """Flush every file below a folder to disk and write `checksums.json` into it.

    Args:
        folder: Its files must not change any more; an older `checksums.json` is replaced.

    Raises:
        OSError: A file cannot be read, or the list cannot be written.
    """
    names = files_below(folder)
    sizes = {name: (folder / name).stat().st_size for name in names}
    # Flushed while they are hashed: the disk and the processors work at the same time, and flushes share their waits.
    with ThreadPoolExecutor(_NUM_FLUSHES) as threads:
        flushed = threads.map(flush, [*(folder / name for name in names), *_folders(folder)])
        hashes = _hash(folder, {name: (size, _ALGORITHM) for name, size in sizes.items()})
        for _ in flushed:  # raises what one of them raised
            pass
    files = {name: {"bytes": size, _ALGORITHM: hashes[name]} for name, size in sizes.items()}
    write_json(folder / CHECKSUMS_FILE, {"block_bytes": BLOCK_BYTES, "files": files, _OWN: _own_checksum(files)})


def read_checksums(folder: Path) -> dict[str, FileChecksum]:
    """Read the checksums of a folder.

    Args:
        folder: The folder.

    Returns:
        The checksum of each file by its path below `folder`.

    Raises:
        InputError: `checksums.json` is missing or damaged.
    """
    path = folder / CHECKSUMS_FILE
    listing = read_json(path)
    block_bytes, files = listing.get("block_bytes"), listing.get("files")
    # Older lists have no checksum of their own; another key in its place is damage.
    is_whole = isinstance(files, dict) and listing.get(_OWN) in (None, _own_checksum(files)) and set(listing) <= _KEYS
    if block_bytes == BLOCK_BYTES and isinstance(files, dict) and is_whole:
        found = {name: checksum for name, file in files.items() if (checksum := _checksum(file)) is not None}
        if len(found) == len(files):
            return found
    raise InputError(
        f"`{path}` must list sizes and checksums of files in blocks of {BLOCK_BYTES}, got {listing!r:.80}: "
        "copy the folder again"
    )


def _own_checksum(files: Mapping[str, object]) -> str:
    """Return the hash of a list, so that damage of the list is not taken for damage of files."""
    return xxhash.xxh3_128_hexdigest(json.dumps(files, sort_keys=True).encode())


def _checksum(file: object) -> FileChecksum | None:
    """Return the checksum that an entry of the list states; None if it states none."""
    algorithm = next((name for name in _ALGORITHMS if isinstance(file, dict) and set(file) == {"bytes", name}), None)
    if not isinstance(file, dict) or algorithm is None or not isinstance(file[algorithm], list):
        return None
    size, blocks = file["bytes"], file[algorithm]
    is_size = isinstance(size, int) and not isinstance(size, bool) and size >= 0
    if not is_size or not all(isinstance(block, str) for block in blocks):
        return None
    return FileChecksum(size, algorithm, tuple(blocks))


def find_damage(folder: Path, share: tuple[int, int] = (0, 1), *, allow_others: bool = False) -> str | None:
    """Compare the files below a folder with its `checksums.json`.

    Args:
        folder: The folder.
        allow_others: Whether files that are not listed may be there, such as a user's notes beside a model.
        share: Index and number of the processes that divide the work; each compares the content of every `number`-th
            file, and names and sizes of all.

    Returns:
        What is wrong, naming the file; None where every byte is as it was written.

    Raises:
        OSError: A file cannot be read.
    """
    if not (folder / CHECKSUMS_FILE).exists():
        return f"the list `{CHECKSUMS_FILE}` is missing"
    try:
        expected = read_checksums(folder)
    except InputError as error:
        return str(error)
    found = set(files_below(folder))
    if missing := sorted(set(expected) - found):
        return f"`{missing[0]}` is missing"
    if not allow_others and (unknown := sorted(found - set(expected))):
        return f"`{unknown[0]}` was not written with it"
    for name, file in expected.items():
        size = (folder / name).stat().st_size
        if size != file.bytes:
            return f"`{name}` has {size} bytes, not {file.bytes}"
    index, number = share
    mine = sorted(expected, key=lambda name: (expected[name].bytes, name))[index::number]
    hashes = _hash(folder, {name: (expected[name].bytes, expected[name].algorithm) for name in mine})
    for name in mine:
        if tuple(hashes[name]) != expected[name].blocks:
            pairs = list(zip(hashes[name], expected[name].blocks, strict=False))
            block = next((i for i, (got, want) in enumerate(pairs) if got != want), len(pairs))
            return f"`{name}` holds other bytes than were written, from byte {block * BLOCK_BYTES} on"
    return None


def check_whole(folder: Path) -> None:
    """Check that the files of a model's folder are as they were written, where it lists their checksums.

    Hashing reads some 12 GB a second on two cores, if the disk does.

    Args:
        folder: The folder; what is not listed, such as a user's notes, may lie there as well.

    Raises:
        InputError: A file is damaged or missing.
    """
    if (folder / CHECKSUMS_FILE).exists() and (damage := find_damage(folder, allow_others=True)):
        raise InputError(
            f"`{folder}` is damaged: {damage}; write it again with `audio-train export`, or, if you changed it on "
            f"purpose, delete `{folder / CHECKSUMS_FILE}`"
        )


def _hash(folder: Path, files: Mapping[str, tuple[int, str]]) -> dict[str, list[str]]:
    """Hash every block of files of a size by an algorithm, in threads; hashing releases Python's lock."""
    blocks = [
        (name, algorithm, offset)
        for name, (size, algorithm) in files.items()
        for offset in range(0, max(size, 1), BLOCK_BYTES)
    ]
    with ThreadPoolExecutor(_THREADS) as threads:
        hashes = threads.map(lambda block: _hash_block(folder / block[0], *block[1:]), blocks)
        result: dict[str, list[str]] = {name: [] for name in files}
        for (name, _, _), found in zip(blocks, hashes, strict=True):
            result[name].append(found)
    return result


def _hash_block(path: Path, algorithm: str, offset: int) -> str:
    found, buffer, left = _ALGORITHMS[algorithm](), memoryview(bytearray(_BUFFER_BYTES)), BLOCK_BYTES
    with open(path, "rb", buffering=0) as file:
        file.seek(offset)
        while left and (count := file.readinto(buffer[: min(left, _BUFFER_BYTES)])):
            found.update(buffer[:count])
            left -= count
    return found.hexdigest()


def files_below(folder: Path) -> list[str]:
    """Paths below a folder of all its files but its own `checksums.json`, sorted; links count as files."""
    found = [
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()
    ]
    return sorted(set(found) - {CHECKSUMS_FILE})


def flush(path: Path) -> None:
    """Wait until a file or a folder is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _folders(folder: Path) -> Sequence[Path]:
    return [folder, *(path for path in folder.rglob("*") if path.is_dir())]
