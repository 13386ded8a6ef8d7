"""Files that are either whole or absent, and a disk's refusals said in one line."""

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from audio_data import InputError

_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space, then run the same command again",
    errno.EDQUOT: "your disk quota is used up: free some space, then run the same command again",
    errno.EFBIG: "files of this size are not allowed here: raise the file size limit or choose another folder",
    errno.EACCES: "you may not write there: choose a folder of your own",
    errno.EPERM: "you may not write there: choose a folder of your own",
    errno.EROFS: "that file system is read-only: choose another folder",
    errno.ENOTDIR: "a part of that path is a file, not a folder: choose another folder",
    errno.ENOENT: "there is no such folder: create it, or choose another",
    errno.EEXIST: "a file stands where a folder is needed: choose another folder",
    errno.EISDIR: "a folder stands where a file is needed: choose another name",
}


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns what a disk refuses for the user's own reasons into an `InputError` about `path`.

    Other `OSError`s pass unchanged: they are not the user's doing, and their traceback is worth having.

    Args:
        path: What was being written, for the message.

    Raises:
        InputError: No space, no permission, a read-only file system, or a file in the place of a folder.
    """
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0)
        if advice is None:
            raise
        raise InputError(f"cannot write `{path}` ({error.strerror}): {advice}") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file so that a crash at any moment leaves the old one or the new one.

    Args:
        path: Where the file goes; its folder must exist.
        content: The whole of the file.

    Raises:
        InputError: The disk refuses, see `disk_errors`.
    """
    with disk_errors(path):
        partial = partial_path(path)
        partial.write_bytes(content)
        publish(partial, path)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes `content` as indented JSON, as `write_bytes` does.

    Args:
        path: Where the file goes.
        content: What `json` can write; non-ASCII text is kept readable.

    Raises:
        InputError: The disk refuses, see `disk_errors`.
    """
    write_bytes(path, (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode())


def partial_path(path: Path) -> Path:
    """The name a file has until it is whole. It is fixed, so that a crashed run's remains are written over."""
    return path.with_name(f".{path.name}.partial")


def publish(partial: Path, path: Path) -> None:
    """Gives a finished file its name: contents reach the disk before the name does.

    Args:
        partial: The finished file under its temporary name.
        path: Its name, in the same folder; a file there is replaced.
    """
    _flush(partial)
    os.replace(partial, path)
    _flush(path.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Creates `folder` and holds it for this process; the kernel lets go of it however the process ends.

    Args:
        folder: The folder to write in; parents are created.

    Raises:
        InputError: Another process is writing there, or the disk refuses.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"another process is writing in `{folder}`: wait for it, or choose another folder"
            ) from error
        yield
