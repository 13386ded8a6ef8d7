"""Run command lines in subprocesses: those of other packages, or one of this package in several processes.

This module imports nothing heavy, so a process that only waits for others starts quickly.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shlex import join
from types import FrameType
from typing import IO, Any

import click

from audio_data import InputError

GRACE_SECONDS = 30.0
"""Time after one process has failed until the others are killed."""
_PR_SET_PDEATHSIG = 1
_M_ARENA_MAX = -8
_NUM_ARENAS = 2

Handler = Callable[[int, FrameType | None], None]


@dataclass(frozen=True)
class Command:
    """One command line.

    Attributes:
        purpose: Short description for the user.
        words: The program and its arguments.
        makes: A file that exists once the command has finished; None if the exit status is enough. A training run that
            SIGTERM stopped has exit status 0 too.
    """

    purpose: str
    words: tuple[str, ...]
    makes: Path | None = None

    def __str__(self) -> str:
        return join(self.words)


def find_programs(names: Sequence[str]) -> dict[str, str]:
    """Find the path of each program, in the folder of this interpreter or on PATH.

    Args:
        names: Names of the programs, which are the names of their packages.

    Raises:
        InputError: A package is not installed.
    """
    beside = str(Path(sys.executable).parent)
    found = {name: shutil.which(name, path=beside) or shutil.which(name) for name in names}
    if missing := [name for name, path in found.items() if path is None]:
        raise InputError(
            f"this command needs the programs {', '.join(names)}, which are packages of their own; not installed: "
            f"{', '.join(missing)}. Install them in a checkout of this project: `uv sync --all-packages`"
        )
    return {name: path for name, path in found.items() if path is not None}


def start(
    words: Sequence[str],
    *,
    stdin: int | None = None,
    stdout: IO[Any] | int | None = None,
    stderr: IO[Any] | int | None = None,
    process_group: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process that ends with this one: the kernel kills it when this process ends for any reason.

    A signal handler or a thread could not do that while the process computes, or after a SIGSTOP. On systems other than
    Linux the process continues.

    Args:
        words: Path of the program, and its arguments.
        stdin: As for `subprocess.Popen`, like all that follow.
        stdout: Where its standard output goes.
        stderr: Where its standard error goes.
        process_group: Number of its process group, 0 for one of its own; None for that of this process.

    Returns:
        The process. The kernel watches the calling thread, which should be the main one.
    """
    open_process = partial(
        subprocess.Popen[bytes], words, stdin=stdin, stdout=stdout, stderr=stderr, process_group=process_group
    )
    if sys.platform != "linux":
        return open_process()
    parent, prctl = os.getpid(), ctypes.CDLL(None).prctl

    def end_with_parent() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)

    return open_process(preexec_fn=end_with_parent)


def run_command(command: Command, program: str, *, to_stderr: bool, name: str) -> None:
    """Run one command. If it fails, this process exits with its status.

    Ctrl-C in a terminal reaches the command directly; SIGTERM is forwarded. In both cases the command saves, and this
    process exits. If the command alone was stopped, this process exits with status 143.

    Args:
        command: The command.
        program: Path of its program.
        to_stderr: Whether to send its standard output to standard error.
        name: Name of the calling command, for the message.
    """
    received: list[int] = []
    process = start([program, *command.words[1:]], stdout=sys.stderr if to_stderr else None)

    def forward(number: int, frame: FrameType | None) -> None:
        del frame
        received.append(number)
        if number == signal.SIGTERM:
            process.terminate()

    with _handled(dict.fromkeys((signal.SIGINT, signal.SIGTERM), forward)):
        code = process.wait()
    if code == 0 and not received:
        if command.makes is None or command.makes.exists():
            return
        code = -signal.SIGTERM
    if code == 0 and signal.SIGINT in received:
        code = -signal.SIGINT
    if code != InputError.exit_code:
        click.echo(f"{name} stopped; run the same command again to continue.", err=True)
    sys.exit(code if code >= 0 else 128 - code)


def start_here(words: Sequence[str], num_processes: int) -> int:
    """Run a command of this package in several processes on this machine, and wait for them.

    Only the first process writes to the terminal; the output of another is shown if that one fails. Signals are
    forwarded to all, and all end with this process. If one fails the others are stopped, because they would wait for it
    forever.

    Args:
        words: The command's words after `audio-train`, without `--processes`.
        num_processes: Number of processes.

    Returns:
        Exit status of the process that failed first, or of the first process.
    """
    address = f"127.0.0.1:{_free_port()}"
    processes: list[subprocess.Popen[bytes]] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(_passed_on(processes))
        logs = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(1, num_processes)]
        for index, log in enumerate([None, *logs]):
            place = ["--distributed", f"{address},{num_processes},{index}"]
            command = [sys.executable, "-m", "audio_train", *words, *place]
            # Each has its own process group, so Ctrl-C in a terminal reaches it once: through this process.
            processes.append(start(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0))
        failed = _wait(processes)
        if failed:
            logs[failed - 1].seek(0)
            sys.stderr.write(logs[failed - 1].read().decode(errors="replace"))
        return processes[failed or 0].returncode


def without_option(words: Sequence[str], option: str) -> list[str]:
    """Remove an option and its value from a command's words, written `--option value` or `--option=value`."""
    kept, skipped = [], False
    for word in words:
        if not skipped and word != option and not word.startswith(f"{option}="):
            kept.append(word)
        skipped = word == option
    return kept


def limit_arenas() -> None:
    """Limit glibc's allocator to two arenas. Call it before the process has other threads.

    New threads write every checkpoint. Each would use another of up to 8 arenas per core and could not reuse memory
    freed in the others, so resident memory would grow with every save. `MALLOC_ARENA_MAX` in the environment overrides
    this.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt(_M_ARENA_MAX, _NUM_ARENAS)


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Wait for all processes; returns the index of the first one that failed, or None."""
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
def _passed_on(processes: Sequence[subprocess.Popen[bytes]]) -> Generator[None, None, None]:
    """Forward Ctrl-C, SIGTERM and Ctrl-Z to processes."""

    def send(number: int, frame: FrameType | None = None) -> None:
        del frame
        for process in processes:
            process.send_signal(number)

    def pause(number: int, frame: FrameType | None) -> None:
        del number, frame
        send(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        send(signal.SIGCONT)

    with _handled({signal.SIGINT: send, signal.SIGTERM: send, signal.SIGTSTP: pause}):
        yield


@contextlib.contextmanager
def _handled(handlers: Mapping[signal.Signals, Handler]) -> Generator[None, None, None]:
    """Install signal handlers, and restore the previous ones at the end."""
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
