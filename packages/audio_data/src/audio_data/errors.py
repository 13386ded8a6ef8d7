"""Errors of users and Ctrl-C, and the exit statuses of commands that end by them."""

from typing import IO, Any

import click


class InputError(click.ClickException, ValueError):
    """What the user gave cannot be used: an argument, a file, a dataset, a mixture.

    On a command line click prints the message as one line and exits with status 2; a bug shows its traceback instead.
    To a Python caller it is a `ValueError`. A message names *what* in backticks, what was *expected* with numbers,
    what was *got* with `!r`, and what to do.
    """

    exit_code = 2

    def __init__(self, message: str):
        # A name on disk that is not UTF-8 must not keep its own error from being shown or written to a list.
        super().__init__(message.encode("utf-8", "backslashreplace").decode())

    def __reduce__(self) -> tuple[type["InputError"], tuple[str]]:
        """Pickle by message, so that the error survives the way back from a worker process."""
        return (type(self), (self.message,))


class Interrupted(click.ClickException):
    """Ctrl-C ended a command that says how to go on: its line, and exit status 130."""

    exit_code = 130

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line, below what the terminal makes of Ctrl-C."""
        click.echo(f"\n{self.message}", file=file, err=True)
