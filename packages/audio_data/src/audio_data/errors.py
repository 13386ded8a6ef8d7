"""The one exception for a mistake that its reader can repair."""

import click


class InputError(click.ClickException, ValueError):
    """What the user gave cannot be used: an argument, a file, a dataset, a mixture.

    On a command line click prints the message as one line and exits with status 2; a bug shows its traceback instead.
    To a Python caller it is a ``ValueError``. A message names *what* in backticks, what was *expected* with numbers,
    what was *got* with ``!r``, and what to do.
    """

    exit_code = 2

    def __reduce__(self) -> tuple[type["InputError"], tuple[str]]:
        """Pickle by message, so that the error survives the way back from a worker process."""
        return (type(self), (self.message,))
