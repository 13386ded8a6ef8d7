"""Disturb the n-th file operation of a process and of its children, by a small library behind the C library's calls."""

import ctypes
import dataclasses
import errno
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

SOURCE = Path(__file__).with_name("faults.c")
WRITES, FLUSHES, NAMES, READS = "w", "s", "n", "r"
CHANGES = WRITES + FLUSHES + NAMES
# What is done to the n-th operation: see faults.c. The number is that of the system's error.
FAULTS: Mapping[str, tuple[str, str, int]] = {
    "no space": (CHANGES, "full", errno.ENOSPC),
    "input/output error": (CHANGES, "fail", errno.EIO),
    "no permission": (NAMES, "fail", errno.EACCES),
    "short write": (WRITES, "short", 0),
    "killed before": (CHANGES, "killed", 0),
    "killed after": (CHANGES, "done", 0),
    "killed in a write": (WRITES, "torn", 0),
    "power failure": (CHANGES, "done", 0),
    "read error": (READS, "fail", errno.EIO),
    "short read": (READS, "short", 0),
    "several processes": (CHANGES, "done", 0),  # one of them killed, or none
}


@dataclasses.dataclass(frozen=True)
class Fault:
    """One disturbance.

    Attributes:
        kind: A key of `FAULTS`.
        number: Which operation of its classes it hits, from 1; 0 only counts them.
    """

    kind: str
    number: int = 0

    def setting(self, root: Path, counter: Path, journal: Path | None = None) -> str:
        """The value of the environment variable that `faults.c` reads.

        Args:
            root: Operations on paths below this folder count.
            counter: A file that counts them; made anew.
            journal: A file that gets a line for each operation; none by default.
        """
        classes, action, code = FAULTS[self.kind]
        counter.write_bytes(bytes(8))
        return f"{root}/:{counter}:{classes}:{self.number}:{action}:{code}:{journal or ''}"


@functools.cache
def library() -> Path | None:
    """The compiled library, or None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    name = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"audio-faults-{os.getuid()}-{name}.so"
    if not path.exists():
        partial = path.with_suffix(f".{os.getpid()}")
        subprocess.run([compiler, "-O2", "-fPIC", "-shared", "-o", partial, SOURCE, "-ldl"], check=True)
        partial.replace(path)
    return path


def arm(setting: str | None) -> None:
    """Apply a setting to this process, which was started with the library, and to all that it starts."""
    os.environ.pop("FAULTS", None)
    if setting is not None:
        os.environ["FAULTS"] = setting
    ctypes.CDLL(None).faults_arm()


def lose_power(journal: Path, root: Path, choose: Callable[[int], int]) -> list[str]:
    """Make a folder what it may be after a power failure: what was not flushed may be gone.

    Data that was written and not flushed since is cut to nothing, cut to a half, zeroed, or kept; a new name in a
    folder that was not flushed since is taken back, or kept.

    Args:
        journal: What the process did, as `faults.c` wrote it.
        root: The folder.
        choose: Draws a number below its argument.

    Returns:
        What was lost, for people.
    """
    unflushed: dict[str, None] = {}
    renamed: dict[str, str] = {}
    for line in journal.read_text().splitlines() if journal.exists() else ():
        kind, path, other = line.split("\t")
        if kind == "w":
            unflushed[path] = None
        elif kind == "s":
            unflushed.pop(path, None)
            renamed = {new: old for new, old in renamed.items() if os.path.dirname(new) != path}
        elif kind == "d":
            unflushed.pop(path, None)
            renamed.pop(path, None)
        elif kind == "n":
            moved = {name: other + name[len(path) :] for name in unflushed if (name + "/").startswith(path + "/")}
            unflushed = {moved.get(name, name): None for name in unflushed}
            renamed[other] = path
    lost = []
    for name in unflushed:
        path, how = Path(name), choose(4)
        if how == 3 or not path.is_file():
            continue
        content = path.read_bytes()
        path.write_bytes((b"", content[: len(content) // 2], bytes(len(content)))[how])
        lost.append(f"{path.relative_to(root)} {('emptied', 'cut', 'zeroed')[how]}")
    for new, old in renamed.items():
        if choose(2) and os.path.exists(new) and not os.path.exists(old) and os.path.isdir(os.path.dirname(old)):
            os.rename(new, old)
            lost.append(f"{os.path.relpath(new, root)} renamed back")
    return lost
