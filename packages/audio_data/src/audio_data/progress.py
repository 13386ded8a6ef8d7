"""Progress of long work: a bar on a terminal, one plain line every few seconds elsewhere."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

_LINE_INTERVAL_SECONDS = 5.0
_MIN_BAR_WIDTH, _MAX_BAR_WIDTH = 8, 40


class Progress:
    """Progress of one piece of long work, written to standard error.

    On a terminal this is a bar on one line, with the time that has passed and the time that is left. Where the line is
    too narrow for everything, the fields of `advance` are dropped first, the last one first, then the rate, then the
    end of the label. In a log file or a pipe it is one plain line every five seconds and one at the end. Standard
    output is left to the result of the command.

    Args:
        label: What is being done, e.g. `"encode"`.
        total: The amount of work in `unit`, or None where it is not known (then no remaining time is shown).
        unit: What is counted, in the plural, e.g. `"documents"`.
        done: What an earlier start has done of it; it counts as done and not towards the rate.

    Example:
        ```python
        with Progress("train", total=steps, unit="steps") as progress:
            for step in range(steps):
                progress.advance(1, loss=2.31)
        ```
    """

    def __init__(self, label: str, total: int | float | None, unit: str = "items", *, done: int | float = 0):
        self.label = label
        self.total = total
        self.unit = unit
        self.done = self._done_before = float(done)
        self._fields: dict[str, str | int | float] = {}
        self._live: Any = None
        self._last_done = -1.0
        self._start = self._last_line = time.monotonic()

    def __enter__(self) -> "Progress":
        self._start = self._last_line = time.monotonic()
        if sys.stderr.isatty():
            self._open_bar()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        elif kind is not None:
            self._write_line(" (stopped)")
        elif self.done != self._last_done:
            self._write_line("")

    def advance(self, n: int | float = 1, **fields: str | int | float) -> None:
        """Count `n` more units as done.

        Args:
            n: The amount of work since the last call, in `unit`.
            **fields: Values to show beside the rate, e.g. `loss=2.31`; each stays until it is replaced.
        """
        self.done += n
        self._fields.update(fields)
        if self._live is None and time.monotonic() - self._last_line >= _LINE_INTERVAL_SECONDS:
            self._write_line("")

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        """Render the bar as one line of the terminal's width."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        label, bar_width, after = self._line(options.max_width)
        line = Table.grid(padding=(0, 1))
        bar = ProgressBar(self.total, self.done, width=bar_width, pulse=self.total is None)
        line.add_row(Text(label, no_wrap=True), bar, Text(after, no_wrap=True))
        yield line

    def _line(self, width: int) -> tuple[str, int, str]:
        """Return what stands before the bar, the width of the bar, and what stands after it, for a width in cells."""
        times = f"{_clock(time.monotonic() - self._start)}"
        remaining = self._remaining_seconds()
        times += "" if remaining is None else f", {_clock(remaining)} left"
        fields = self._fields_text().split()
        candidates = [" ".join([self._rate_text(), times, *fields[:n]]) for n in range(len(fields), -1, -1)]
        candidates += [f"{self._count_text()} {times}", times]
        for after in candidates:
            bar_width = width - len(self.label) - len(after) - 2
            if bar_width >= _MIN_BAR_WIDTH:
                return self.label, min(bar_width, _MAX_BAR_WIDTH), after
        kept = max(width - len(times) - _MIN_BAR_WIDTH - 2, 0)
        return self.label[: max(kept - 1, 0)] + "…" * (kept > 0), _MIN_BAR_WIDTH, times

    def _open_bar(self) -> None:
        # rich costs tens of milliseconds to import, which commands that only list things should not pay.
        from rich.console import Console
        from rich.live import Live

        # What is printed meanwhile goes above the bar, but a standard output that is no terminal gets its own.
        console = Console(file=sys.stderr)
        self._live = Live(self, console=console, redirect_stdout=sys.stdout.isatty())
        self._live.start()

    def _write_line(self, ending: str) -> None:
        self._last_line, self._last_done = time.monotonic(), self.done
        parts = [f"{self.label}: {self._rate_text()}", f"{_clock(self._last_line - self._start)} elapsed"]
        remaining = self._remaining_seconds()
        if remaining is not None:
            parts.append(f"{_clock(remaining)} left")
        fields = self._fields_text()
        print(", ".join(parts + [fields] * bool(fields)) + ending, file=sys.stderr, flush=True)

    def _rate(self) -> float:
        return (self.done - self._done_before) / max(time.monotonic() - self._start, 1e-9)

    def _rate_text(self) -> str:
        return f"{self._count_text()} ({_number(self._rate())}/s)"

    def _count_text(self) -> str:
        total = "" if self.total is None else f"/{_number(self.total)}"
        return f"{_number(self.done)}{total} {self.unit}"

    def _remaining_seconds(self) -> float | None:
        if self.total is None or not self._done_before < self.done < self.total:
            return None
        return (self.total - self.done) / self._rate()

    def _fields_text(self) -> str:
        return " ".join(
            f"{key}={value if isinstance(value, str) else f'{value:.4g}'}" for key, value in self._fields.items()
        )


def _number(value: int | float) -> str:
    """Return a count as people read it: 12, 3.4, 12,345, 1.23M."""
    if value >= 1e6:
        return f"{value / 1e6:.2f}M"
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2g}" if value < 10 else f"{value:.1f}"


def _clock(seconds: float) -> str:
    """Seconds as minutes:seconds, with hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
