"""Write metrics, progress, checkpoints, evaluations, exports and profiler traces during training."""

import math
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import jax
import numpy as np

from audio_data import InputError, Progress, RowOrigin
from audio_train.run_folder.checkpoint import Checkpoints
from audio_train.run_folder.folder import EXPORTS_FOLDER, Best, write_best
from audio_train.run_folder.model_folder import export_model
from audio_train.sharding.processes import is_first, on_host, wait_for_all
from audio_train.state import TrainState
from audio_train.tracking.metrics import Tracker
from audio_train.tracking.samples import find_sampler
from audio_train.tracking.trackers import MultiTracker
from audio_train.training.step import Batch, LossSums, StepMetrics
from audio_train.training.trainer import Trainer


class DivergenceError(click.ClickException, ArithmeticError):
    """The loss or the gradient was not finite for too many steps in a row."""


@dataclass(frozen=True)
class Profile:
    """Steps to trace with JAX's profiler.

    Attributes:
        first: First step to trace, counted from 1.
        last: Last one.
        folder: Folder of the trace.
    """

    first: int
    last: int
    folder: Path


def parse_profile(text: str) -> tuple[int, int]:
    """First and last step of a trace, from `FIRST:LAST`.

    Raises:
        InputError: The text is of another form.
    """
    first, _, last = text.partition(":")
    if not (first.isdigit() and last.isdigit() and 1 <= int(first) <= int(last)):
        raise InputError(f"`--profile` must be FIRST:LAST, counted from 1, such as 10:12, got {text!r}.")
    return int(first), int(last)


@dataclass
class Timing:
    """Time since the last line of metrics.

    Attributes:
        start_seconds: Time of that line, on the monotonic clock.
        wait_seconds: Time spent waiting for batches, which costs speed only where it exceeds the device's work.
        steps: Steps taken.
    """

    start_seconds: float = 0.0
    wait_seconds: float = 0.0
    steps: int = 0

    def reset(self) -> None:
        """Restart the measurement."""
        self.start_seconds, self.wait_seconds, self.steps = time.monotonic(), 0.0, 0


@dataclass
class RunRecorder:
    """Writes everything that a run produces; `loop.train` calls it at every step.

    Attributes:
        trainer: The run, its model and its data.
        folder: Folder of the run.
        checkpoints: Checkpoints of the run.
        metrics: Tracker for the metrics.
        progress: Progress bar; None for all processes but the first.
        losses_before: Losses of earlier steps, for the detection of spikes.
        profile: Steps to trace; None for none.
        best: The best checkpoint so far; None if there is none.
        num_samples: Number of audio samples to log at each evaluation.
    """

    trainer: Trainer
    folder: Path
    checkpoints: Checkpoints
    metrics: Tracker
    progress: Progress | None = None
    losses_before: Sequence[float | None] = ()
    profile: Profile | None = None
    best: Best | None = None
    num_samples: int = 0
    _timing: Timing = field(init=False, default_factory=Timing)
    _in_flight: tuple[int, StepMetrics] | None = field(init=False, default=None)
    _saved_step: int = field(init=False, default=0)
    _saved_seconds: float = field(init=False, default=0.0)
    _tracing: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        run = self.trainer.resolved.run
        self._intervals, self._last_step = run.intervals, self.trainer.resolved.last_step
        self._tokens_per_step = run.data.tokens_per_step
        self._evaluation, self._evaluate = self.trainer.evaluation_spec, self.trainer.evaluation()
        self._spikes = SpikeWatch(run.intervals.spike_deviations, self.losses_before)

    def start(self, step: int) -> None:
        """Begin at a step whose state is saved."""
        self._saved_step, self._saved_seconds = step, time.monotonic()
        self._timing.reset()

    def timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Iterate over batches and measure the wait for each."""
        while True:
            start = time.monotonic()
            batch = next(batches, None)
            self._timing.wait_seconds += time.monotonic() - start
            if batch is None:
                return
            yield batch

    @property
    def in_flight(self) -> StepMetrics | None:
        """Metrics of the last step, which the device may not have finished; None if all steps are reported."""
        return None if self._in_flight is None else self._in_flight[1]

    def wants_to_save(self) -> bool:
        """Whether `checkpoint_seconds` have passed since the last checkpoint."""
        seconds = self._intervals.checkpoint_seconds
        return seconds is not None and time.monotonic() - self._saved_seconds >= seconds

    def record(self, state: TrainState, step: int, metrics: StepMetrics, *, save: bool, stop: bool) -> None:
        """Register a step in flight, report the previous one, and save, evaluate and export if due.

        Args:
            state: State after the step.
            step: Steps taken.
            metrics: Metrics of the step, on the device.
            save: Whether all processes agreed to save.
            stop: Whether this was the last step of this process.
        """
        evaluates, exports = self._evaluation_due(step), self._export_due(step)
        saves = save or self._save_due(step)
        pauses = evaluates or exports or saves or stop
        self._report(timed_with_next=pauses)
        self._in_flight = (step, metrics)
        if not pauses:
            return
        self._report()
        improved = evaluates and self._evaluate is not None and self._is_best(step, self._evaluate(state))
        if saves or improved:
            self._save(state, step)
        if evaluates and self.num_samples:
            self._log_audio(state, step)
        if exports:
            self.export(state, step, self.folder / EXPORTS_FOLDER / str(step))
        self._timing.reset()

    def finish(self, state: TrainState, step: int) -> None:
        """Report the last step, save its state if it is not saved, and wait until it is on disk."""
        self._report()
        self._end_trace()
        if self._saved_step < step:
            self._save(state, step)
        self.checkpoints.wait()

    def export(self, state: TrainState, step: int, folder: Path) -> None:
        """Write a model folder. Every process helps to gather the weights; the first one writes them."""
        trainer, model = self.trainer, on_host(self.trainer.trained_model(state))
        if is_first():
            export_model(
                folder,
                model,
                trainer.resolved,
                step=step,
                data_root=trainer.data_root,
                datasets=trainer.datasets,
            )
        wait_for_all(f"export of step {step}")

    def _log_audio(self, state: TrainState, step: int) -> None:
        """Generate audio with the model as it is exported, and log it; samples that fail do not end the run."""
        spec = self._evaluation
        with tempfile.TemporaryDirectory(prefix="audio-train-samples-") as folder:
            model = Path(folder) / "model"
            self.export(state, step, model)
            if not is_first() or spec is None or not isinstance(self.metrics, MultiTracker):
                return
            heldout = {name: self.trainer.datasets[name] for name in spec.corpora}
            try:
                self.metrics.log_audio(step, find_sampler()(model, heldout, self.num_samples))
            except InputError as error:
                click.echo(f"step {step}: no audio samples: {error.message}", err=True)

    def trace(self, step: int) -> None:
        """Start or stop the profiler's trace before a step."""
        if self.profile is not None and step == self.profile.first:
            self.profile.folder.mkdir(parents=True, exist_ok=True)
            jax.profiler.start_trace(str(self.profile.folder))
            self._tracing = True
        if self.profile is not None and step == self.profile.last + 1:
            self._end_trace()

    def _end_trace(self) -> None:
        if self._tracing:
            jax.profiler.stop_trace()
            self._tracing = False

    def _export_due(self, step: int) -> bool:
        every = self._intervals.export_every_steps
        return every is not None and step % every == 0 and step < self._last_step

    def _evaluation_due(self, step: int) -> bool:
        evaluation = self._evaluation
        return evaluation is not None and (step % evaluation.every_steps == 0 or step == self._last_step)

    def _is_best(self, step: int, sums: LossSums) -> bool:
        """Log an evaluation, and tell whether its loss is the lowest so far; then its checkpoint is the one to keep."""
        weights = self.trainer.resolved.loss_weights
        loss = float(np.sum(weights * sums.nll) / max(np.sum(weights * sums.num_targets), 1e-9))
        self.metrics.log(step, {"evaluation": {"loss": loss, **self._by_kind(sums)}})
        if self.progress is not None:
            self.progress.advance(0, validation=loss)
        if not math.isfinite(loss) or (self.best is not None and loss >= self.best.loss):
            return False
        self.best = Best(step, loss)
        self.checkpoints.keep(step)
        return True

    def _save_due(self, step: int) -> bool:
        periods = (self._intervals.checkpoint_steps, self._intervals.keep_every_steps)
        return step == self._last_step or any(every and step % every == 0 for every in periods)

    def _save(self, state: TrainState, step: int) -> None:
        # Metrics first: if a checkpoint is on disk, every line up to its step must be too.
        self.metrics.flush()
        self.checkpoints.save(state, step)
        if self.best is not None and self.best.step == step and is_first():
            write_best(self.folder, self.best)
        self._saved_step, self._saved_seconds = step, time.monotonic()

    def _report(self, *, timed_with_next: bool = False) -> None:
        """Write and show the metrics of the step in flight; waits until the device has finished it.

        Args:
            timed_with_next: Whether the next step is reported right after this one. It may have ended long before, so
                the time between the two reports is not its duration; it then shows the rate of both steps.
        """
        if self._in_flight is None:
            return
        (taken, on_device), self._in_flight = self._in_flight, None
        self._timing.steps += 1
        if taken % self._intervals.log_steps and taken != self._last_step:
            jax.block_until_ready(on_device.loss)  # Python stays one step ahead of the device
            self._show()
            return
        metrics: StepMetrics = jax.device_get(on_device)
        seconds = max(time.monotonic() - self._timing.start_seconds, 1e-9)
        tokens_per_second = self._timing.steps * self._tokens_per_step / seconds
        utilisation = self.trainer.utilisation(tokens_per_second)
        rates = {
            "tokens_per_second": round(tokens_per_second, 1),
            "data_wait_fraction": round(self._timing.wait_seconds / seconds, 4),
            **({} if utilisation is None else {"mfu": round(utilisation, 4)}),
        }
        line = {
            "tokens": taken * self._tokens_per_step,
            "loss": metrics.loss,
            "learning_rate": metrics.learning_rate,
            "grad_norm": metrics.grad_norm,
            **self._by_kind(metrics.sums),
            "remaining_seconds": round((self._last_step - taken) * seconds / self._timing.steps, 1),
            **rates,
        }
        self.metrics.log(taken, line | self._remarks(taken, metrics))
        self._show(
            loss=float(metrics.loss),
            lr=float(metrics.learning_rate),
            norm=float(metrics.grad_norm),
            **rates,
        )
        if not timed_with_next:
            self._timing.reset()
        if metrics.consecutive_nonfinite >= self._intervals.max_bad_steps:
            raise self._diverged(taken, int(metrics.consecutive_nonfinite))

    def _show(self, **fields: str | int | float) -> None:
        if self.progress is not None:
            self.progress.advance(1, **fields)

    def _remarks(self, taken: int, metrics: StepMetrics) -> dict[str, Any]:
        """Entries for a skipped step or a loss spike, with the records of the batch."""
        if metrics.consecutive_nonfinite:
            return {"skipped": True, "records": records(self.trainer.loader.describe(taken - 1))}
        usual = self._spikes.check(float(metrics.loss))
        if usual is None:
            return {}
        return {"spike": {"usual_loss": usual}, "records": records(self.trainer.loader.describe(taken - 1))}

    def _by_kind(self, sums: LossSums) -> dict[str, dict[str, float]]:
        """Mean loss and number of targets of every token kind in the batch."""
        present = [
            (kind, i) for i, kind in enumerate(self.trainer.resolved.vocabulary.kinds) if sums.num_targets[i] > 0
        ]
        means = {kind: float(sums.nll[i] / sums.num_targets[i]) for kind, i in present}
        return {"nll": means, "targets": {kind: int(sums.num_targets[i]) for kind, i in present}}

    def _diverged(self, taken: int, num_steps: int) -> DivergenceError:
        self.metrics.flush()
        held = "; ".join(records(self.trainer.loader.describe(taken - 1)))
        return DivergenceError(
            f"step {taken}: the loss or its gradient was not finite for {num_steps} steps in a row, though each was "
            f"skipped; the last batch had {held}. Check these records, or lower the learning rate."
        )


WINDOW = 128
"""Number of recent losses whose median is the usual loss."""
MIN_LOSSES = 16
"""Number of losses before the first decision."""
NORMAL_DEVIATIONS_PER_MAD = 1.4826


class SpikeWatch:
    """Detects losses far above the previous ones.

    A spike is more than `deviations` above the median of the last 128 losses. One deviation is 1.4826 times their
    median absolute deviation (the standard deviation of a normal distribution), on which a few spikes have no effect.
    Spikes count among the losses, so a loss that stays high becomes usual.

    Args:
        deviations: Deviations above the median at which a loss is a spike.
        history: Losses of earlier steps, such as the metrics of a resumed run; None for a loss that was not finite.
    """

    def __init__(self, deviations: float, history: Iterable[float | None] = ()):
        self.deviations = deviations
        self._losses = deque((loss for loss in history if loss is not None), maxlen=WINDOW)

    def check(self, loss: float) -> float | None:
        """Add a loss; returns the usual loss if this one is a spike, else None."""
        usual = self._usual_if_spike(loss)
        if math.isfinite(loss):
            self._losses.append(loss)
        return usual

    def _usual_if_spike(self, loss: float) -> float | None:
        if len(self._losses) < MIN_LOSSES:
            return None
        usual = statistics.median(self._losses)
        spread = NORMAL_DEVIATIONS_PER_MAD * statistics.median(abs(other - usual) for other in self._losses)
        # Equal losses have no deviation; 0.1 % of the median is the minimum.
        return usual if loss - usual > self.deviations * max(spread, 1e-3 * abs(usual)) else None


def records(origins: Sequence[RowOrigin]) -> list[str]:
    """Describe the rows of a batch as `dataset row: documents`, for messages and metrics."""
    return [f"{origin.corpus} row {origin.index}: {', '.join(origin.documents)}" for origin in origins]
