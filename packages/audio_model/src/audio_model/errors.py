"""The one exception for mistakes a user can repair."""

import click


class InputError(click.ClickException, ValueError):
    """A wrong argument, file or folder: one line on the terminal and exit status 2.

    In Python it is a `ValueError`. Its message names what is wrong in backticks, what was expected
    (with numbers), what came (with `!r`) and what to do. A bug in this package is never an
    `InputError`, so that its traceback stays visible.
    """

    exit_code = 2
