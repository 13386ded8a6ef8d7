"""Other packages' work, as the command lines that a user would type, each in a process of its own."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import join
from types import FrameType

import click

from audio_data import InputError


@dataclass(frozen=True)
class Command:
    """One command line and what it is for."""

    purpose: str
    words: tuple[str, ...]

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


def run_command(words: Sequence[str], *, to_stderr: bool, name: str) -> None:
    """Run one command; its messages are its own, and so is the exit status where it fails.

    A terminal's Ctrl-C reaches the command by itself; SIGTERM is passed on. Either way the command gets to save first,
    and nothing follows it, even where it calls a stop after saving a success.

    Args:
        words: the program's path and its arguments.
        to_stderr: send its standard output to standard error.
        name: what stops with it, for the message.
    """
    received: list[int] = []
    process = subprocess.Popen(words, stdout=sys.stderr if to_stderr else None)

    def forward(number: int, frame: FrameType | None) -> None:
        del frame
        received.append(number)
        if number == signal.SIGTERM:
            process.terminate()

    previous = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if code == 0 and not received:
        return
    if code != InputError.exit_code:
        click.echo(f"{name} stopped here; the same command goes on from this point.", err=True)
    sys.exit(code if code >= 0 else 128 - code)
