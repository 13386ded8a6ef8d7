"""The server, which ends at SIGINT or SIGTERM in every state of its threads."""

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# From the signal until open requests are cancelled.
_CLOSING_SECONDS = 1
_MAX_CONNECTIONS = 256


@contextlib.contextmanager
def ended_by_signals(seconds: float, clean_up: Callable[[], None]) -> Generator[None, None, None]:
    """Within the block, let SIGINT and SIGTERM end the process, at the latest after a number of seconds.

    Both raise KeyboardInterrupt in the main thread, unless what runs there handles them otherwise. A thread that cannot
    be interrupted would then keep the process alive. So a second thread learns of the signal from the
    interpreter's wakeup descriptor, which also works while the main thread is held up, and exits with status 0 if the
    block has not ended in time, or if the block has ended but the interpreter waits for a thread before it exits.

    Args:
        seconds: From the signal to the exit.
        clean_up: Called before that exit, in the second thread.
    """
    if threading.current_thread() is not threading.main_thread():
        # Python delivers signals to the main thread; elsewhere the caller sees to the end.
        yield
        return
    ended = threading.Event()
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def watch() -> None:
        with reader:
            while (number := reader.recv(1)) and number[0] not in _SIGNALS:
                pass
            if not number:
                return
            deadline = time.monotonic() + seconds
            in_time = ended.wait(seconds)
        if in_time:
            # A program that continues after the block is not ended.
            threading.main_thread().join()
            time.sleep(max(0, deadline - time.monotonic()))
        clean_up()
        os._exit(0)

    threading.Thread(target=watch, daemon=True, name="ended-by-signals").start()
    handlers = {number: signal.signal(number, _interrupt) for number in _SIGNALS}
    descriptor = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(descriptor)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        ended.set()
        writer.close()


def run_server(app: Any, listener: socket.socket, header_seconds: float = 10.0) -> None:
    """Serve an application, until SIGINT or SIGTERM; then raise KeyboardInterrupt.

    Args:
        app: An ASGI application.
        listener: Socket to accept connections on.
        header_seconds: Longest time from a connection, or from the first byte of a later request, to a whole header.
    """
    import uvicorn  # pyright: ignore[reportMissingImports]: an extra
    from uvicorn.protocols.http.h11_impl import H11Protocol  # pyright: ignore[reportMissingImports]: an extra

    class ImpatientProtocol(H11Protocol):
        """A protocol that closes connections without a request, so that silent clients cannot hold all connections."""

        deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.watch()

        def waits(self) -> bool:
            is_first = self.cycle is None  # pyright: ignore[reportUnnecessaryComparison]: uvicorn types it without None
            return is_first or self.cycle.response_complete

        def watch(self) -> None:
            if self.waits():
                self.deadline = self.deadline or self.loop.call_later(header_seconds, self.give_up)
            elif self.deadline is not None:
                self.deadline.cancel()
                self.deadline = None

        def give_up(self) -> None:
            self.deadline = None
            if self.waits():
                self.transport.close()

    config = uvicorn.Config(
        app,
        # uvloop would replace the wakeup descriptor, which the handling of signals needs.
        loop="asyncio",
        http=ImpatientProtocol,
        ws="none",
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_graceful_shutdown=_CLOSING_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listener])


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
