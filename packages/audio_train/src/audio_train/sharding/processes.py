"""Runs of several processes: joining the others, working together, and starting them all on this machine."""

import contextlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import IO, Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from audio_data import InputError

T = TypeVar("T")

GRACE_SECONDS = 30.0
"""How long the others may go on after one process has failed; they wait for it in vain."""


def join(where: str) -> None:
    """Become one of the processes of a run; before anything touches a device.

    Args:
        where: `"auto"`, where the machine's environment says who the others are (Cloud TPU, Slurm, Open MPI,
            Kubernetes), or `HOST:PORT,NUM,INDEX`: where process 0 listens, how many there are, and which this is.

    Raises:
        InputError: the text is of another form, or nothing in the environment says who the others are.
    """
    if where == "auto":
        try:
            jax.distributed.initialize()
        except ValueError as error:
            raise InputError(
                f"--distributed auto finds no cluster here ({error}); give HOST:PORT,NUM,INDEX, or --processes NUM for "
                "processes of this machine."
            ) from error
        return
    parts = where.split(",")
    if len(parts) != 3 or ":" not in parts[0] or not (parts[1].isdigit() and parts[2].isdigit()):
        raise InputError(f"`--distributed` is auto or HOST:PORT,NUM,INDEX, got {where!r}.")
    jax.distributed.initialize(parts[0], num_processes=int(parts[1]), process_id=int(parts[2]))


def is_first() -> bool:
    """Whether this process writes what is written once: folder, metrics, export, messages."""
    return jax.process_index() == 0


def wait_for_all(point: str) -> None:
    """Return once every process has come to this point."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(point)


def first_says(number: int) -> int:
    """The number that the first process has, in all of them."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def on_host(tree: PyTree) -> PyTree:
    """Whole arrays in the host's memory, one at a time, whichever processes hold their parts."""

    def whole(leaf: Any) -> np.ndarray:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
        return np.asarray(leaf)

    return jax.tree.map(whole, tree)


def start_here(words: Sequence[str], num_processes: int) -> int:
    """Run a command of this package in several processes of this machine, and wait for them.

    The first speaks to the terminal; what another says is shown where it fails by itself. Signals go to all. Where one
    fails the others are stopped, as they would wait for it without end.

    Args:
        words: the command's words after `audio-train`, without `--processes`.
        num_processes: how many.

    Returns:
        The exit status: that of the process which failed first, or that of the first one.
    """
    address = f"127.0.0.1:{_free_port()}"
    with contextlib.ExitStack() as stack:
        logs = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(1, num_processes)]
        processes = [
            _start([*words, "--distributed", f"{address},{num_processes},{index}"], logs[index - 1] if index else None)
            for index in range(num_processes)
        ]
        stack.enter_context(_forwarding(processes))
        failed = _wait(processes)
        if failed:
            logs[failed - 1].seek(0)
            sys.stderr.write(logs[failed - 1].read().decode(errors="replace"))
        return processes[failed or 0].returncode


def without_option(words: Sequence[str], option: str) -> list[str]:
    """A command's words without an option and its value, in either of its spellings."""
    kept, skipped = [], False
    for word in words:
        if not skipped and word != option and not word.startswith(f"{option}="):
            kept.append(word)
        skipped = word == option
    return kept


def _start(words: Sequence[str], log: IO[bytes] | None) -> subprocess.Popen:
    command = [sys.executable, "-c", "from audio_train.cli import main; main()", *words]
    return subprocess.Popen(command, stdout=log, stderr=log)


def _wait(processes: Sequence[subprocess.Popen]) -> int | None:
    """Index of the first process that failed, or None once all have ended well."""
    deadline, failed = float("inf"), None
    while any(process.poll() is None for process in processes):
        if failed is None:
            failed = next((i for i, process in enumerate(processes) if process.poll()), None)
            deadline = float("inf") if failed is None else time.monotonic() + GRACE_SECONDS
        if time.monotonic() > deadline:
            for process in processes:
                process.kill()
        time.sleep(0.05)
    return (
        failed if failed is not None else next((i for i, process in enumerate(processes) if process.returncode), None)
    )


@contextlib.contextmanager
def _forwarding(processes: Sequence[subprocess.Popen]) -> Iterator[None]:
    """Pass SIGTERM on. A terminal sends Ctrl-C to all of them by itself, so that here it only must not end the wait."""

    def forward(number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGTERM:
            for process in processes:
                process.terminate()

    previous = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
