"""Writing in the background, so that whoever computes need not wait for a disk or a network."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

_MAX_WAITING = 4
_Event = TypeVar("_Event")


class WriteBehind(Generic[_Event]):
    """Does one thing after the other in a thread, and is never many behind; a context manager.

    Leaving it waits for what was submitted: that is finished work, worth keeping even where the job is being stopped.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="write-codes")
        self._queue: deque[tuple[Future[object], _Event | None]] = deque()

    def __enter__(self) -> "WriteBehind[_Event]":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def submit(self, work: Callable[[], object], event: _Event | None = None) -> None:
        """Does `work` after all that was submitted before.

        Args:
            work: What to do.
            event: What `finished` is to say of it; `None` is not worth saying.
        """
        if len(self._queue) >= _MAX_WAITING:
            self._queue[0][0].result()
        self._queue.append((self._thread.submit(work), event))

    def finished(self, *, wait: bool = False) -> Iterator[_Event]:
        """The events of what has been done since; raises what went wrong there.

        Args:
            wait: For all of it.
        """
        while self._queue and (wait or self._queue[0][0].done()):
            future, event = self._queue.popleft()
            future.result()
            if event is not None:
                yield event
