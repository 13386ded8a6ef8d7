"""Exclusive work on a name in a folder that several processes share."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audio_data import StoragePath, disk_errors


@contextmanager
def exclusive(path: StoragePath, *, wait: bool = False) -> Iterator[bool]:
    """Hold `path` for this process; the kernel releases it when the process ends, and the file is then removed.

    An object store knows no such hold. There the caller always gets it: two processes may do the same work twice, which
    is a waste but no harm where both write the same bytes.

    Args:
        path: Name of the lock; its folder exists. Nothing else may lie there.
        wait: Wait for whoever holds it.

    Yields:
        Whether it is held; without `wait`, False says that another process has it.

    Raises:
        InputError: The disk refuses.
    """
    if not isinstance(path, Path):
        yield True
        return
    with disk_errors(path):
        descriptor = _open(path, wait)
    if descriptor is None:
        yield False
        return
    try:
        yield True
    finally:
        if os.fstat(descriptor).st_size == 0:  # a file with content is someone else's
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _open(path: Path, wait: bool) -> int | None:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the locked file still has its name: whoever held it before removed it, and nobody else can see this."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
