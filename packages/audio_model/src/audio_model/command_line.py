"""Ctrl-C on a command line: one line and exit status 130, whatever the command is doing."""

import importlib
import os
import signal
import sys
from importlib.machinery import ExtensionFileLoader
from types import FrameType
from typing import NoReturn

_STATUS = 128 + signal.SIGINT
_RETRY_SECONDS = 0.005


def run_command_line(module: str) -> NoReturn:
    """Import a module and run its click command `main`.

    Args:
        module: Name of the module, such as `audio_model.cli`.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell lets background jobs ignore it
        for number in (signal.SIGINT, signal.SIGALRM):
            signal.signal(number, _interrupt)
        sys.unraisablehook = _unraisable
    try:
        status = _run(module)
    except BaseException as error:
        if not _is_interrupt(error):
            raise
        os.write(2, b"\nstopped by Ctrl-C\n")
        status = _STATUS
    finally:
        # What follows is the end of the process, which may take a while.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
    sys.exit(status)


def _run(module: str) -> int:
    command = importlib.import_module(module).main
    import click

    try:
        status = command(standalone_mode=False)
    except click.Abort:
        click.echo("stopped by Ctrl-C", err=True)
        return _STATUS
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.UsageError as error:
        # click itself prints four lines: the usage, a hint, an empty line and the message.
        message = " ".join(line.strip() for line in error.format_message().splitlines()).removesuffix(".")
        path = error.ctx.command_path if error.ctx else module.partition(".")[0].replace("_", "-")
        click.echo(f"Error: {message}; see `{path} --help`", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return status if isinstance(status, int) else 0


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether an error is KeyboardInterrupt, or was made of one, as Python does where it creates a class."""
    return error is not None and (isinstance(error, KeyboardInterrupt) or _is_interrupt(error.__cause__))


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; later while an extension module is loaded, which then fails otherwise or crashes."""
    del number
    if _loads_extension(frame):
        signal.setitimer(signal.ITIMER_REAL, _RETRY_SECONDS)
    else:
        raise KeyboardInterrupt


def _loads_extension(frame: FrameType | None) -> bool:
    while frame is not None:
        loads = frame.f_code.co_name in ("create_module", "exec_module")
        if loads and isinstance(frame.f_locals.get("self"), ExtensionFileLoader):
            return True
        frame = frame.f_back
    return False


def _unraisable(ignored: "sys.UnraisableHookArgs") -> None:
    """Raise KeyboardInterrupt again where Python drops it: in finalisers, and in callbacks of garbage collection."""
    if ignored.exc_type is KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, _RETRY_SECONDS)
    else:
        sys.__unraisablehook__(ignored)
