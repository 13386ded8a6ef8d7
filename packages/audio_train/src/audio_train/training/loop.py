"""The loop around the compiled step: batches in, metrics out, checkpoints and evaluations when they are due.

There is no arithmetic on losses here. One step is always in flight: while the device works on it the loop fetches the
next batch and writes the metrics of the step before, so the device does not wait for Python.
"""

import contextlib
import enum
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import click
import jax

from audio_data import InputError, Progress
from audio_train.config import Cadence
from audio_train.run_folder.checkpoint import Checkpoints
from audio_train.tracking.metrics import Tracker
from audio_train.tracking.spikes import SpikeWatch, records
from audio_train.training.state import TrainState
from audio_train.training.step import Batch, LossSums, StepMetrics


class DivergenceError(click.ClickException, ArithmeticError):
    """The loss or the gradient was not finite for too many steps in a row."""


class StopRequest:
    """Whether a signal asked the run to stop; a second one ends the process at once.

    SIGTERM and SIGINT set `signal` and restore the default action, so that the same signal sent again is not handled at
    all. Outside the main thread, where Python delivers no signals, nothing is installed.
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
        # `print` may hold the lock of the stream that the signal interrupted; a bare write does not.
        os.write(2, f"\n{self.signal.name}: saving; send it again to quit at once\n".encode())

    @contextlib.contextmanager
    def ending_at_once(self) -> Iterator[None]:
        """While there is nothing to save, SIGTERM and SIGINT end the process with one line.

        A compilation takes minutes, in which the main thread runs no Python and therefore no handler. The signal's
        number is written to a pipe, from which a thread reads it.
        """
        if not self._previous:
            yield
            return
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, lambda *_: None) for number in self._previous}
        thread = threading.Thread(target=_end_at_signal, args=(reader,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)
            os.close(writer)
            thread.join()
            os.close(reader)


def _end_at_signal(reader: int) -> None:
    """End the process, as a kill would, when the number of a signal that asks for it comes out of a pipe."""
    while number := os.read(reader, 1):
        if number[0] in (signal.SIGTERM, signal.SIGINT):
            name = signal.Signals(number[0]).name
            os.write(2, f"\n{name}: stopped before a step was taken; run the same command again\n".encode())
            os._exit(128 + signal.SIGINT if number[0] == signal.SIGINT else 0)


@dataclass
class Timing:
    """What happened since the last line of metrics.

    Attributes:
        start_seconds: when that was, on the monotonic clock.
        wait_seconds: time spent waiting for batches, which costs speed only where it exceeds the device's work.
        steps: steps taken.
    """

    start_seconds: float = 0.0
    wait_seconds: float = 0.0
    steps: int = 0

    def reset(self) -> None:
        """Start anew."""
        self.start_seconds, self.wait_seconds, self.steps = time.monotonic(), 0.0, 0


class Unseen:
    """The progress of a process that nobody looks at."""

    def advance(self, n: int | float = 1, **fields: str | int | float) -> None:
        """Show nothing."""


class Request(enum.IntEnum):
    """What a process asks for with a step; where several ask, the largest counts."""

    NOTHING = 0
    SAVE = 1
    STOP = 2


@dataclass(frozen=True)
class Profile:
    """Steps to trace with JAX's profiler.

    Attributes:
        first: first step to trace, counted from 1.
        last: last one.
        folder: where the trace goes.
    """

    first: int
    last: int
    folder: Path


def parse_profile(text: str) -> tuple[int, int]:
    """First and last step of a trace, from `FIRST:LAST`.

    Raises:
        InputError: the text is of another form.
    """
    first, _, last = text.partition(":")
    if not (first.isdigit() and last.isdigit() and 1 <= int(first) <= int(last)):
        raise InputError(f"`--profile` takes FIRST:LAST, counted from 1, such as 10:12, got {text!r}.")
    return int(first), int(last)


@dataclass
class Loop:
    """A run in progress.

    Attributes:
        step: the compiled step.
        batches: batches on their devices, from the first step to take.
        evaluate: held-out loss by kind of a state, or None.
        describe: ids of the records in the batch of a step, for messages.
        checkpoints: where states are saved.
        metrics: where metrics go.
        progress: what the user sees.
        cadence: when to do what.
        kinds: names of the token kinds.
        last_step: step at which the run ends.
        tokens_per_step: tokens in a batch, padding included.
        stop: asked between steps.
        utilisation: share of the devices' peak that a rate of tokens amounts to, or None where the peak is not known.
        spikes: what a usual loss is.
        export: writes a state, and the steps it has taken, as a model folder.
        profile: first and last step to trace, and the folder of the trace; or None.
        alone: whether no other process takes part, so that nothing need be agreed on.
    """

    step: Callable[[TrainState, Batch, int], tuple[TrainState, StepMetrics]]
    batches: Iterator[Batch]
    evaluate: Callable[[TrainState], LossSums] | None
    describe: Callable[[int], Any]
    checkpoints: Checkpoints
    metrics: Tracker
    progress: Progress | Unseen
    cadence: Cadence
    kinds: tuple[str, ...]
    last_step: int
    tokens_per_step: int
    stop: StopRequest
    utilisation: Callable[[float], float | None]
    spikes: SpikeWatch
    export: Callable[[TrainState, int], None]
    profile: Profile | None = None
    alone: bool = True
    _timing: Timing = field(init=False, default_factory=Timing)
    _saved_seconds: float = field(init=False, default=0.0)
    _tracing: bool = field(init=False, default=False)

    def run(self, state: TrainState, taken: int) -> tuple[TrainState, int]:
        """Take steps until the run is complete or asked to stop, and save the state reached.

        Args:
            state: where to go on from; it is donated.
            taken: its step.

        Returns:
            The state reached and its step.

        Raises:
            DivergenceError: too many steps in a row were skipped.
        """
        saved, self._saved_seconds = taken, time.monotonic()
        self._timing.reset()
        in_flight: tuple[int, StepMetrics] | None = None
        batch = self._next_batch() if taken < self.last_step else None
        agreed = Request.NOTHING
        while batch is not None and agreed is not Request.STOP and not (self.alone and self.stop.signal):
            self._trace(taken)
            state, metrics = self.step(state, batch, self._request())
            taken += 1
            batch = self._next_batch() if taken < self.last_step else None
            agreed = self._agreed(in_flight)
            due = self._evaluation_due(taken) or self._save_due(taken, agreed) or self._export_due(taken)
            pausing = due or agreed is Request.STOP
            self._report(in_flight, timed_with_next=pausing)
            in_flight = (taken, metrics)
            if pausing:
                self._report(in_flight)
                in_flight = None
                saved = self._pause(state, taken, saved, agreed)
        self._report(in_flight)
        self._end_trace()
        if saved < taken:
            self._save(state, taken)
        self.checkpoints.wait()
        return state, taken

    def _request(self) -> int:
        """What this process would do next, were it alone."""
        if self.stop.signal is not None:
            return Request.STOP
        return Request.SAVE if self._late() else Request.NOTHING

    def _agreed(self, finished: tuple[int, StepMetrics] | None) -> "Request":
        """What all processes do after the step in flight: what the step before it brought from all of them.

        Signals and clocks differ between processes; numbers that come out of a step do not. A request that comes back
        in a step with which the loop paused is made again.
        """
        if self.alone:
            return Request(self._request())
        return Request.NOTHING if finished is None else Request(int(finished[1].request))

    def _next_batch(self) -> Batch:
        start = time.monotonic()
        batch = next(self.batches)
        self._timing.wait_seconds += time.monotonic() - start
        return batch

    def _pause(self, state: TrainState, taken: int, saved: int, agreed: "Request") -> int:
        """Evaluate, save and export what is due after a step whose metrics are written; returns the newest saved."""
        if self._evaluation_due(taken) and self.evaluate is not None:
            self.metrics.log(taken, {"evaluation": self._by_kind(jax.device_get(self.evaluate(state)))})
        if self._save_due(taken, agreed):
            self._save(state, taken)
            saved = taken
        if self._export_due(taken):
            self.export(state, taken)
        self._timing.reset()
        return saved

    def _trace(self, taken: int) -> None:
        """Begin or end the profiler's trace before the step after `taken`."""
        if self.profile is not None and taken + 1 == self.profile.first:
            self.profile.folder.mkdir(parents=True, exist_ok=True)
            jax.profiler.start_trace(str(self.profile.folder))
            self._tracing = True
        if self.profile is not None and taken == self.profile.last:
            self._end_trace()

    def _end_trace(self) -> None:
        if self._tracing:
            jax.profiler.stop_trace()
            self._tracing = False

    def _export_due(self, taken: int) -> bool:
        every = self.cadence.export_every_steps
        return every is not None and taken % every == 0 and taken < self.last_step

    def _evaluation_due(self, taken: int) -> bool:
        evaluation = self.cadence.evaluation
        return evaluation is not None and (taken % evaluation.every_steps == 0 or taken == self.last_step)

    def _save_due(self, taken: int, agreed: "Request") -> bool:
        cadence = self.cadence
        by_steps = any(every and taken % every == 0 for every in (cadence.checkpoint_steps, cadence.keep_every_steps))
        return by_steps or agreed is Request.SAVE or taken == self.last_step

    def _late(self) -> bool:
        seconds = self.cadence.checkpoint_seconds
        return seconds is not None and time.monotonic() - self._saved_seconds >= seconds

    def _save(self, state: TrainState, taken: int) -> None:
        # Metrics first: a checkpoint on disk promises that every line up to its step is there.
        self.metrics.flush()
        self.checkpoints.save(state, taken)
        self._saved_seconds = time.monotonic()

    def _report(self, finished: tuple[int, StepMetrics] | None, *, timed_with_next: bool = False) -> None:
        """Write and show the metrics of a step; waits for the device to finish it.

        Args:
            finished: the step, or None.
            timed_with_next: whether the step after it is reported right after it. That one may have ended long before,
                so that the time between the two reports says nothing of it: the rate it shows is that of both.
        """
        if finished is None:
            return
        taken, on_device = finished
        self._timing.steps += 1
        if taken % self.cadence.log_steps and taken != self.last_step:
            jax.block_until_ready(on_device.loss)  # keeps Python one step ahead of the device, not thousands
            self.progress.advance(1)
            return
        metrics: StepMetrics = jax.device_get(on_device)
        seconds = max(time.monotonic() - self._timing.start_seconds, 1e-9)
        tokens_per_second = self._timing.steps * self.tokens_per_step / seconds
        utilisation = self.utilisation(tokens_per_second)
        line = {
            "tokens": taken * self.tokens_per_step,
            "loss": metrics.loss,
            "learning_rate": metrics.learning_rate,
            "grad_norm": metrics.grad_norm,
            **self._by_kind(metrics.sums),
            "tokens_per_second": round(tokens_per_second, 1),
            "data_wait_fraction": round(self._timing.wait_seconds / seconds, 4),
            "remaining_seconds": round((self.last_step - taken) * seconds / self._timing.steps, 1),
            **({} if utilisation is None else {"mfu": round(utilisation, 4)}),
        }
        self.metrics.log(taken, line | self._remarks(taken, metrics))
        self.progress.advance(
            1,
            loss=float(metrics.loss),
            lr=float(metrics.learning_rate),
            norm=float(metrics.grad_norm),
            **{name: line[name] for name in ("tokens_per_second", "data_wait_fraction", "mfu") if name in line},
        )
        if not timed_with_next:
            self._timing.reset()
        if metrics.bad_run >= self.cadence.max_bad_steps:
            raise self._diverged(taken, int(metrics.bad_run))

    def _remarks(self, taken: int, metrics: StepMetrics) -> dict[str, Any]:
        """What a reader should stop at: a skipped step, or a loss out of the ordinary, with the batch's records."""
        if metrics.bad_run:
            return {"skipped": True, "records": records(self.describe(taken - 1))}
        usual = self.spikes.check(float(metrics.loss))
        if usual is None:
            return {}
        return {"spike": {"usual_loss": usual}, "records": records(self.describe(taken - 1))}

    def _by_kind(self, sums: LossSums) -> dict[str, dict[str, float]]:
        """Mean loss and number of targets of every kind that occurred."""
        present = [(kind, i) for i, kind in enumerate(self.kinds) if sums.num_targets[i] > 0]
        means = {kind: float(sums.nll[i] / sums.num_targets[i]) for kind, i in present}
        return {"nll": means, "targets": {kind: int(sums.num_targets[i]) for kind, i in present}}

    def _diverged(self, taken: int, bad_run: int) -> DivergenceError:
        self.metrics.flush()
        held = "; ".join(records(self.describe(taken - 1)))
        return DivergenceError(
            f"step {taken}: the loss or its gradient was not finite for {bad_run} steps in a row, though each was "
            f"skipped; the last batch held {held}. Look at these records, or lower the learning rate."
        )
