"""SIGTERM and Ctrl-C during a run: the first one saves and stops, the second one ends the process at once."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any


class StopRequest:
    """Stop request by a signal; a second signal ends the process at once.

    SIGTERM and SIGINT set `signal` and restore the default action, so a second signal is not handled. Outside the main
    thread, where Python delivers no signals, no handler is installed.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.signal = signal.Signals(number)
        for other in self._previous:
            signal.signal(other, signal.SIG_DFL)
        # `print` may deadlock on the lock of the interrupted stream; `os.write` takes no lock.
        os.write(2, f"\n{self.signal.name}: saving; send it again to quit at once\n".encode())

    @contextlib.contextmanager
    def ending_at_once(self, before: Callable[[], object] = lambda: None) -> Generator[None, None, None]:
        """End the process with one line on SIGTERM or SIGINT, while there is nothing to save.

        During a compilation, which can take minutes, the main thread runs no Python and so no signal handler. The
        signal's number is written to a pipe, and a thread reads it.

        Args:
            before: Function that the thread calls before the process ends.
        """
        if not self._previous:
            yield
            return
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        other_pipe = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, lambda *_: None) for number in self._previous}
        thread = threading.Thread(target=_end_at_signal, args=(reader, before), daemon=True)
        thread.start()
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(other_pipe)
            os.close(writer)
            thread.join()
            os.close(reader)


def _end_at_signal(reader: int, before: Callable[[], object]) -> None:
    """End the process when a pipe delivers the number of SIGTERM or SIGINT."""
    while number := os.read(reader, 1):
        if number[0] in (signal.SIGTERM, signal.SIGINT):
            before()
            name = signal.Signals(number[0]).name
            os.write(2, f"\n{name}: stopped before a step was taken; run the same command again\n".encode())
            os._exit(128 + signal.SIGINT if number[0] == signal.SIGINT else 0)
