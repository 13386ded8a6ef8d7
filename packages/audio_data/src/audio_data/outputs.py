"""Replace outputs: only what this project wrote is ever overwritten or removed.

An output that a user names may already exist. `write_output` replaces a file only where its content carries the mark of
the same kind of output; `replace_folder` replaces a folder only where the caller recognises everything in it.
"""

import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from audio_data.errors import InputError
from audio_data.storage import StoragePath, check_utf8, disk_errors, flush, hold, write_bytes

_SEARCHED_BYTES = 1 << 16
"""How much of an existing file is searched for the mark, from its beginning and before its end."""


def write_output(path: StoragePath, content: bytes, mark: bytes) -> None:
    """Write a file that a user named, whole or not at all; a link is followed.

    Args:
        path: Where to.
        content: The whole of the file; contains `mark` within its first or last 64 KiB.
        mark: Text that every output of this kind contains and other files do not.

    Raises:
        InputError: Another file is there, or the disk refuses.
    """
    assert mark in content[:_SEARCHED_BYTES] + content[-_SEARCHED_BYTES:], f"an output must contain {mark!r}"
    check_output(path, mark)
    write_bytes(path.resolve() if isinstance(path, Path) else path, content)


def check_output(path: StoragePath, mark: bytes) -> None:
    """Check that a file may be written: nothing is there, or an empty file, or an output of the same kind.

    Args:
        path: Where to.
        mark: As for `write_output`.

    Raises:
        InputError: Something else is there, or it may not be read.
    """
    with disk_errors(path, "read"):
        if not path.exists():
            return
        if not path.is_file():
            raise InputError(f"`{path}` is no regular file: choose another name")
        with path.open("rb") as file:
            found = file.read(_SEARCHED_BYTES)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _SEARCHED_BYTES))
            found += file.read(_SEARCHED_BYTES)
    if found and mark not in found:
        raise InputError(f"`{path}` exists and was not written by this command: move it, or choose another name")


@contextmanager
def replace_folder(
    folder: Path, foreign: Callable[[Path], str | None], foreign_leftover: Callable[[Path], str | None]
) -> Generator[Path, None, None]:
    """Write a folder as a whole; a folder there is replaced at the end, if everything in it is ours.

    The new folder is written beside the old one, as `.NAME.partial`, and renamed once it is on disk. For a moment the
    old one is called `.NAME.previous`; a kill at that moment is made up for by the next call. One process at a time:
    a lock on `.NAME.lock` is held. A link is followed: the folder that it points to is replaced.

    Args:
        folder: Where to.
        foreign: Says what in an existing folder was not written by this project, or None.
        foreign_leftover: The same for what a kill has left of such a folder, which may be incomplete.

    Yields:
        An empty folder to write into.

    Raises:
        InputError: The folder holds something else, another process is replacing it, or the disk refuses.
    """
    target = Path(os.path.realpath(folder))
    partial, previous = (target.with_name(f".{target.name}.{state}") for state in ("partial", "previous"))
    check_utf8(target)
    with disk_errors(folder):
        target.parent.mkdir(parents=True, exist_ok=True)
    with hold(target.with_name(f".{target.name}.lock"), f"another process is writing `{folder}`: wait for it"):
        with disk_errors(folder):
            check_replaceable(target, foreign)
            for leftover in (partial, previous):
                check_replaceable(leftover, foreign_leftover)
            if previous.exists() and not target.exists():  # a kill came between the two renames below
                previous.rename(target)
            for leftover in (partial, previous):
                if leftover.exists():
                    shutil.rmtree(leftover)
            partial.mkdir()
        yield partial
        with disk_errors(folder):
            for path in (*partial.rglob("*"), partial):
                flush(path)
            check_replaceable(target, foreign)
            if target.exists():
                target.rename(previous)
            partial.rename(target)
            flush(target.parent)
            if previous.exists():
                shutil.rmtree(previous)


def check_replaceable(folder: Path, foreign: Callable[[Path], str | None]) -> None:
    """Check that a folder is missing, empty, or holds nothing but what this project wrote; a link is followed.

    Args:
        folder: The folder.
        foreign: As for `replace_folder`.

    Raises:
        InputError: It is none of these; the message names what was found.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"`{folder}` is no folder: move it, or choose another name")
    if any(folder.iterdir()) and (found := foreign(folder)) is not None:
        raise InputError(f"`{folder}` cannot be replaced: {found}; move it, or choose another folder")
