"""Paths on this machine or in an object store, of one type; files that are either whole or absent.

A path is a `pathlib.Path`, or a `upath.UPath` for `gs://`, `s3://` and whatever else fsspec knows. Random access needs
a local file, so remote shards are fetched once into a cache (`fetch`); large files are written locally and then
uploaded (`local_partial`, `publish`). Credentials and endpoints are the affair of the store's own client and its
environment variables.
"""

import errno
import fcntl
import hashlib
import importlib
import json
import os
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from upath import UPath

from audio_data.errors import InputError
from audio_data.installation import install_extra_command

StoragePath: TypeAlias = Path | UPath
AnyPath: TypeAlias = str | os.PathLike[str] | UPath

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_EXTRAS = {"gs": "gcs", "gcs": "gcs", "s3": "s3", "s3a": "s3"}
_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space, then run the same command again",
    errno.EDQUOT: "your disk quota is used up: free some space, then run the same command again",
    errno.EFBIG: "files of this size are not allowed here: raise the file size limit or choose another folder",
    errno.EACCES: "you have no right to: choose a folder of your own",
    errno.EPERM: "you have no right to: choose a folder of your own",
    errno.EROFS: "that file system is read-only: choose another folder",
    errno.ENOTDIR: "a part of that path is a file, not a folder: choose another folder",
    errno.ENOENT: "there is no such file or folder: create it, or choose another",
    errno.EEXIST: "a file stands where a folder is needed: choose another folder",
    errno.EISDIR: "a folder stands where a file is needed: choose another name",
    errno.EIO: "the disk reports an error: check it, then run the same command again",
    errno.ESTALE: "the network file system lost it: mount it again, then run the same command again",
    errno.ETIMEDOUT: "the file system did not answer: run the same command again",
    errno.ENAMETOOLONG: "that name is too long for this file system: choose a shorter one",
    errno.ELOOP: "its symbolic links form a loop: repair them",
    errno.EMFILE: "too many files are open: raise the limit with `ulimit -n`",
    errno.ENFILE: "too many files are open on this machine: close some programs",
    errno.EBUSY: "another program uses it: wait for it",
}
# An object store refuses for reasons of its own: busy, out of order, not reached. Its client has tried again already.
_STORE_ADVICE = "check the credentials, the endpoint, the region and the network, then run the same command again"
_ADVICE_ON_A_STORE = frozenset(
    (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENOSPC, errno.EDQUOT)
)
# What clients raise for a user's missing credentials or a store that cannot be reached; none is an `OSError`.
_GOOGLE_ERRORS = (
    ("google.auth.exceptions", "GoogleAuthError"),
    ("aiohttp", "ClientError"),
    ("gcsfs.retry", "HttpError"),
    ("gcsfs.retry", "ChecksumError"),
)
_AMAZON_ERRORS = (("botocore.exceptions", "BotoCoreError"),)
_CLIENT_ERRORS = {"gs": _GOOGLE_ERRORS, "gcs": _GOOGLE_ERRORS, "s3": _AMAZON_ERRORS, "s3a": _AMAZON_ERRORS}


def storage_path(path: AnyPath) -> StoragePath:
    """Return the path that a string means; nothing is opened.

    Args:
        path: A local path, or a URL: `gs://`, `s3://`, `memory://`, `file://` or another that fsspec knows.

    Raises:
        InputError: Nothing here can read such URLs; the message says what to install.
    """
    if isinstance(path, (Path, UPath)):
        return path
    path = os.fspath(path)
    if not _URL.match(path):
        return Path(path)
    if path.startswith("file://"):
        return Path(path.removeprefix("file://"))
    from fsspec import get_filesystem_class

    protocol = path.partition("://")[0]
    try:
        get_filesystem_class(protocol)
        # Another process may have written since this one listed a folder, so listings are not remembered.
        return UPath(path, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        extra = _EXTRAS.get(protocol)
        advice = install_extra_command("audio-data", extra) if extra else "give a local path, gs:// or s3://"
        raise InputError(f"path `{path}`: nothing here reads {protocol}:// ({error}); {advice}") from error


def fetch(path: StoragePath, *, sha256: str | None = None) -> Path:
    """Return a local file with the content of `path`, for random access.

    A local path is returned as it is. A remote file is downloaded once into `$AUDIO_DATA_CACHE`, or
    `~/.cache/audio-data`; processes of one machine share it, and one of them downloads. Nothing is ever removed from
    there: delete the folder when it has grown too large.

    Args:
        path: The file.
        sha256: Checksum of the content, 64 hexadecimal digits, where it is known. A download is compared with it, and a
            copy in the cache is then used without asking the store. Without it the copy is used while the store
            reports the same size and version.

    Raises:
        InputError: There is no such file, it may not be read, or the content has another checksum.
    """
    if isinstance(path, Path):
        with disk_errors(path, "read"):
            path.stat()
        return path
    with disk_errors(path, "read"):
        version = sha256 or _version(path)
    key = hashlib.sha256(json.dumps([str(path), version]).encode()).hexdigest()
    local = cache_folder() / key[:2] / f"{key[2:34]}-{path.name}"
    if not local.is_file():
        with disk_errors(local):
            local.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(local.with_name(f".{local.name}.lock"), wait=True):  # one process downloads
            if not local.is_file():
                _download(path, local, sha256)
    return local


def cache_folder() -> Path:
    """Where `fetch` keeps files, and `local_partial` those that are to be uploaded."""
    return Path(os.environ.get("AUDIO_DATA_CACHE") or Path.home() / ".cache" / "audio-data")


def read_bytes(path: StoragePath) -> bytes:
    """Return the whole content of a file.

    Args:
        path: The file.

    Raises:
        InputError: It does not exist or may not be read.
    """
    with disk_errors(path, "read"):
        return path.read_bytes()


def write_bytes(path: StoragePath, content: bytes) -> None:
    """Write a file so that a crash at any moment leaves the old one or the new one.

    Args:
        path: Where the file goes; its folder must exist where folders do. On an object store it is one put.
        content: The whole of the file.

    Raises:
        InputError: The disk or the store refuses, see `disk_errors`.
    """
    with disk_errors(path):
        if not isinstance(path, Path):
            path.write_bytes(content)
            return
        partial = local_partial(path)
        partial.write_bytes(content)
        publish(partial, path)


def write_json(path: StoragePath, content: Mapping[str, Any]) -> None:
    """Write `content` as indented JSON, as `write_bytes` does.

    Args:
        path: Where the file goes.
        content: What `json` can write; non-ASCII text is kept readable.

    Raises:
        InputError: The disk or the store refuses, see `disk_errors`.
    """
    write_bytes(path, (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode())


def remove_file(path: StoragePath) -> None:
    """Remove a file, if it is there.

    Args:
        path: The file, here or on an object store.

    Raises:
        InputError: The disk or the store refuses.
    """
    with disk_errors(path, "remove"):
        path.unlink(missing_ok=True)


def local_partial(path: StoragePath) -> Path:
    """Return the temporary local name of a file. It is fixed, so that a crashed run's remains are overwritten.

    Args:
        path: Where the finished file goes: beside it where that is local, else in the cache folder, which is made.

    Raises:
        InputError: The cache folder cannot be made.
    """
    name = f".{path.name}.partial"
    if isinstance(path, Path):
        return path.with_name(name)
    folder = cache_folder() / "partial" / hashlib.sha256(str(path).encode()).hexdigest()[:32]
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def publish(partial: Path, path: StoragePath) -> None:
    """Give a finished file its name: contents reach the disk, or the store, before the name does.

    Args:
        partial: The finished file, as `local_partial` named it.
        path: Its name; a file there is replaced.

    Raises:
        InputError: The disk or the store refuses, see `disk_errors`.
    """
    with disk_errors(path):
        flush(partial)
        if isinstance(path, Path):
            os.replace(partial, path)
            flush(path.parent)
        else:
            path.fs.put_file(str(partial), path.path)
            partial.unlink()


def flush(path: Path) -> None:
    """Return once the content of a file, or the names in a folder, are on disk.

    Args:
        path: A local file or folder.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sizes(folder: StoragePath) -> dict[str, int]:
    """Return the files of a folder by name, each with its size in bytes; empty if there is no such folder.

    Args:
        folder: The folder; what lies in folders below it is not listed.

    Raises:
        InputError: It may not be read.
    """
    try:
        with disk_errors(folder, "read"):
            if isinstance(folder, Path):
                return {entry.name: entry.stat().st_size for entry in os.scandir(folder) if entry.is_file()}
            found = folder.fs.ls(folder.path, detail=True)
    except InputError as error:
        if isinstance(error.__cause__, (FileNotFoundError, NotADirectoryError)):
            return {}
        raise
    return {entry["name"].rpartition("/")[2]: entry["size"] for entry in found if entry["type"] == "file"}


def hash_file(path: StoragePath) -> str:
    """SHA-256 of a file as it lies where it is, 64 hexadecimal digits.

    Args:
        path: The file.
    """
    with disk_errors(path, "read"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]


def make_folder(path: StoragePath) -> None:
    """Make a folder and its parents; on an object store, where there are none, do nothing.

    Args:
        path: The folder; that it exists is no mistake.

    Raises:
        InputError: The disk refuses, see `disk_errors`, or the path is not UTF-8.
    """
    if isinstance(path, Path):
        check_utf8(path)
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)


def check_utf8(path: Path) -> None:
    """Refuse a path that the libraries which read and write records, weights and checkpoints cannot open.

    Args:
        path: A local path.

    Raises:
        InputError: It is not UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"`{path}` must be a path in UTF-8: rename the folder, for example with `convmv -f LATIN1 -t UTF-8`, or "
            "choose another"
        ) from error


@contextmanager
def sole_writer(folder: StoragePath) -> Generator[bool, None, None]:
    """Create `folder` and hold it for this process; the kernel releases it when the process ends, in whatever way.

    Args:
        folder: The folder to write in; parents are created. An object store knows no such hold: there nothing is
            checked, and that one process writes is the caller's promise.

    Yields:
        Whether the process that held it last was killed.

    Raises:
        InputError: Another process is writing there, or the disk refuses.
    """
    make_folder(folder)
    if not isinstance(folder, Path):
        yield False
        return
    refusal = f"another process is writing in `{folder}`: wait for it, or choose another folder"
    with hold(folder / ".lock", refusal) as was_killed:
        yield was_killed


def release_writer(folder: Path) -> None:
    """Remove the lock file of `sole_writer`, in the process that holds it and is about to end without cleaning up.

    Args:
        folder: The folder.
    """
    lock = folder / ".lock"
    if lock.exists() and lock.stat().st_size == 0:
        lock.unlink()


@contextmanager
def sole_file_writer(path: StoragePath) -> Generator[bool, None, None]:
    """Hold the name of one file for this process, as `sole_writer` holds a folder; other files beside it stay free.

    Args:
        path: The file to write; its folder is created.

    Yields:
        Whether the process that held it last was killed.

    Raises:
        InputError: Another process is writing it, or the disk refuses.
    """
    make_folder(path.parent)
    if not isinstance(path, Path):
        yield False
        return
    lock = path.with_name(f".{path.name}.lock")
    refusal = f"another process is writing `{path}`: wait for it, or choose another name"
    with hold(lock, refusal) as was_killed:
        yield was_killed


@contextmanager
def hold(path: Path, refusal: str) -> Generator[bool, None, None]:
    """Hold a lock file for this process, as `exclusive` does, or raise.

    Args:
        path: The lock file.
        refusal: What is said where another process holds it.

    Yields:
        Whether the file was there, so that the process which held it last was killed.

    Raises:
        InputError: Another process holds it, or the disk refuses.
    """
    was_there = os.path.lexists(path)
    with exclusive(path) as is_held:
        if not is_held:
            raise InputError(refusal)
        yield was_there


@contextmanager
def exclusive(path: StoragePath, *, wait: bool = False) -> Generator[bool, None, None]:
    """Hold a lock file for this process; the kernel releases it however the process ends, and the file is then removed.

    An object store knows no such hold. There the caller always gets it: two processes may do the same work twice, which
    is a waste but no harm where both write the same bytes.

    Args:
        path: The lock file; its folder exists. A file with content is someone else's: it is locked, but stays.
        wait: Wait for the process that holds it.

    Yields:
        Whether it is held; without `wait`, False says that another process has it.

    Raises:
        InputError: The disk refuses.
    """
    if not isinstance(path, Path):
        yield True
        return
    with disk_errors(path):
        descriptor = _lock(path, wait)
    if descriptor is None:
        yield False
        return
    try:
        yield True
    finally:
        if os.fstat(descriptor).st_size == 0:
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _lock(path: Path, wait: bool) -> int | None:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
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


@contextmanager
def disk_errors(path: StoragePath, action: str = "write") -> Generator[None, None, None]:
    """Turn what a disk or a store refuses for the user's own reasons into an `InputError` about `path`.

    Other errors pass unchanged: they are not the user's doing, and their traceback is worth having.

    Args:
        path: What was being written or read, for the message.
        action: What was being done with it: "write", "read" or "remove".

    Raises:
        InputError: No space, no permission, no credentials, a read-only file system, a missing folder or bucket, a
            file in the place of a folder, a broken disk; and whatever an object store refuses.
    """
    try:
        yield
    except (OSError, *_client_errors(path)) as error:
        advice = disk_advice(error, is_store=not isinstance(path, Path))
        if advice is None:
            raise
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InputError(f"cannot {action} `{path}` ({reason}): {advice}") from error


def disk_advice(error: Exception, *, is_store: bool = False) -> str | None:
    """Return what a user does about an error of a disk or a store; None where the error is not the user's doing.

    Args:
        error: What was raised.
        is_store: Whether by the client of an object store, all of whose errors are.
    """
    number = _errno_of(error) if isinstance(error, OSError) else 0
    if is_store and number not in _ADVICE_ON_A_STORE:
        return _STORE_ADVICE
    return _ADVICE.get(number)


def _errno_of(error: OSError) -> int:
    """Return the number of a system's error; clients of object stores raise the right class without one."""
    if error.errno:
        return error.errno
    if isinstance(error, PermissionError):
        return errno.EACCES
    return errno.ENOENT if isinstance(error, FileNotFoundError) else 0


def _client_errors(path: StoragePath) -> tuple[type[Exception], ...]:
    names = () if isinstance(path, Path) else _CLIENT_ERRORS.get(path.protocol, ())
    return tuple(getattr(importlib.import_module(module), name) for module, name in names)


def _version(path: UPath) -> list[str]:
    """Return what the store says of a file and changes with its content."""
    found = path.fs.info(path.path)
    names = ("size", "ETag", "etag", "generation", "md5Hash", "LastModified", "mtime", "created")
    return [f"{name}={found[name]}" for name in names if name in found]


def _download(path: UPath, local: Path, sha256: str | None) -> None:
    partial = local_partial(local)
    with disk_errors(path, "read"):
        path.fs.get_file(path.path, str(partial))
    if sha256 is not None:
        got = hash_file(partial)
        if got != sha256:
            partial.unlink()
            raise InputError(
                f"file `{path}`: expected sha256 {sha256}, got {got!r}; it is damaged or replaced, so restore it"
            )
    publish(partial, local)
