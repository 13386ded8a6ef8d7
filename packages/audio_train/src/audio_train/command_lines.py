"""Command lines as processes of their own: those of other packages, and one of this package several times.

Nothing heavy is imported here: a process that only waits for others starts at once.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import join
from types import FrameType
from typing import Any

import click

from audio_data import InputError

GRACE_SECONDS = 30.0
"""How long the others may go on after one process has failed; they wait for it in vain."""
_PR_SET_PDEATHSIG = 1
_M_ARENA_MAX = -8
_NUM_ARENAS = 2

Handler = Callable[[int, FrameType | None], None]


@dataclass(frozen=True)
class Command:
    """One command line.

    Attributes:
        purpose: What it is for.
        words: The program and its arguments.
        makes: A file that is there once the command has finished; None where its exit status says so. A training that
            SIGTERM stopped has exit status 0 as well.
    """

    purpose: str
    words: tuple[str, ...]
    makes: Path | None = None

    def __str__(self) -> str:
        return join(self.words)


def find_programs(names: Sequence[str]) -> dict[str, str]:
    """Path of every program: beside this interpreter, or on the path.

    Args:
        names: of the programs, each that of its package.

    Raises:
        InputError: a package is not installed.
    """
    beside = str(Path(sys.executable).parent)
    found = {name: shutil.which(name, path=beside) or shutil.which(name) for name in names}
    if missing := [name for name, path in found.items() if path is None]:
        raise InputError(
            f"this runs the command lines of its siblings; not installed: {', '.join(missing)}. "
            f"Install them beside audio-train: pip install {' '.join(missing)}"
        )
    return {name: path for name, path in found.items() if path is not None}


def start(words: Sequence[str], **options: Any) -> subprocess.Popen:
    """Start a process that does not outlive this one: the kernel kills it when this one ends, in whatever way.

    A handler or a thread of the process itself could not do that while it computes, or after a SIGSTOP. On systems
    other than Linux the process goes on.

    Args:
        words: the program's path and its arguments.
        **options: as `subprocess.Popen` takes them.

    Returns:
        The process. Its parent is the calling thread, which should be the main one: the kernel looks at that thread.
    """
    if sys.platform != "linux":
        return subprocess.Popen(words, **options)
    parent, prctl = os.getpid(), ctypes.CDLL(None).prctl

    def end_with_parent() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)

    return subprocess.Popen(words, preexec_fn=end_with_parent, **options)


def run_command(command: Command, program: str, *, to_stderr: bool, name: str) -> None:
    """Run one command; its messages are its own, and so is the exit status where it fails.

    A terminal's Ctrl-C reaches the command by itself; SIGTERM is passed on. Either way the command saves first, and
    nothing follows it. Where it was stopped by itself, this process exits with status 143.

    Args:
        command: The command.
        program: The path of its program.
        to_stderr: Send its standard output to standard error.
        name: What stops with it, for the message.
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
        click.echo(f"{name} stopped here; the same command goes on from this point.", err=True)
    sys.exit(code if code >= 0 else 128 - code)


def start_here(words: Sequence[str], num_processes: int) -> int:
    """Run a command of this package in several processes of this machine, and wait for them.

    The first speaks to the terminal; what another says is shown where it fails by itself. Signals go to all, and all
    end with this process. Where one fails the others are stopped, as they would wait for it without end.

    Args:
        words: the command's words after `audio-train`, without `--processes`.
        num_processes: how many.

    Returns:
        The exit status: that of the process which failed first, or that of the first one.
    """
    address = f"127.0.0.1:{_free_port()}"
    processes: list[subprocess.Popen] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(_passed_on(processes))
        logs = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(1, num_processes)]
        for index, log in enumerate([None, *logs]):
            place = ["--distributed", f"{address},{num_processes},{index}"]
            command = [sys.executable, "-m", "audio_train", *words, *place]
            # In groups of their own, so that a terminal's Ctrl-C reaches them once: through this process.
            processes.append(start(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0))
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


def limit_arenas() -> None:
    """Let the threads of this process share two arenas of glibc's allocator; before any thread has taken one.

    Every checkpoint is written by new threads. Each takes the next of up to 8 arenas a core, and what others have freed
    in theirs is of no use to it, so that resident memory grows with the number of saves. `MALLOC_ARENA_MAX` in the
    environment goes before.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt(_M_ARENA_MAX, _NUM_ARENAS)


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
def _passed_on(processes: Sequence[subprocess.Popen]) -> Iterator[None]:
    """Pass on what asks this process to stop (Ctrl-C, SIGTERM) or to pause (Ctrl-Z)."""

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
def _handled(handlers: Mapping[signal.Signals, Handler]) -> Iterator[None]:
    """Let functions handle signals, and put back what handled them before."""
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
