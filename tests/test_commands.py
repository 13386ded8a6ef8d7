"""The command lines: quick to answer, and documented word for word.

`UPDATE_GOLDEN=1 uv run pytest tests/test_commands.py` rewrites docs/commands.md after a command changed.
"""

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "commands.md"
COMMANDS = ("audio-tokenize", "audio-data", "audio-model", "audio-train", "audio-eval")
INTRODUCTION = """# Commands

Every command of the five packages, as `--help` prints it. What a command does, one Python call does with the same
names. Commands that list, show, verify or report take `--json` and print one JSON document on standard output.
A user's mistake exits 2 with one line that says what to do; a bug shows its traceback.
"""


def helps(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    """Yield `(full name, help text)` of a command and everything below it."""
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from helps(child, click.Context(child, parent=context, info_name=name))


def page() -> str:
    """The whole of docs/commands.md."""
    sections = [INTRODUCTION]
    for name in COMMANDS:
        main = importlib.import_module(f"{name.replace('-', '_')}.cli").main
        root = click.Context(main, info_name=name, terminal_width=100, **main.context_settings)
        for path, text in helps(main, root):
            marks = "##" if path == name else "###"
            sections.append(f"{marks} `{path}`\n\n```text\n{text}\n```\n")
    return "\n".join(sections)


def test_the_page_of_commands_is_what_the_commands_say() -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(page())
    assert PAGE.read_text() == page()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_answers_in_half_a_second(name: str) -> None:
    """Best of three, so that a busy machine does not fail it; importing jax alone would take longer."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([Path(sys.executable).with_name(name), "--help"], capture_output=True, check=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5
