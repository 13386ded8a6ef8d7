"""The training loop.

One step is always in flight: while the device computes it, the loop fetches the next batch and writes the metrics of
the previous step, so the device does not wait for Python.
"""

import enum
import itertools

from audio_train.state import TrainState
from audio_train.training.recorder import RunRecorder
from audio_train.training.signals import StopRequest
from audio_train.training.step import StepMetrics
from audio_train.training.trainer import Trainer


class Request(enum.IntEnum):
    """Request of a process to all processes, sent with a step; of several the largest counts."""

    NOTHING = 0
    SAVE = 1
    STOP = 2


def train(
    trainer: Trainer,
    recorder: RunRecorder,
    state: TrainState,
    step: int,
    stop: StopRequest,
    *,
    until: int | None = None,
    single_process: bool = True,
) -> tuple[TrainState, int]:
    """Train until the run is complete or a stop is requested, and save the state reached.

    Args:
        trainer: The run's batches and compiled step.
        recorder: Writes metrics, checkpoints and exports.
        state: State to continue from; it is donated.
        step: Step of the state.
        stop: Stop requests, checked between steps.
        until: Step to stop at, before the run is complete; None for the last one.
        single_process: Whether this is the only process, which then needs no agreement with others.

    Returns:
        The state reached and its step.

    Raises:
        DivergenceError: Too many steps in a row were skipped.
    """
    last_step = min(trainer.resolved.last_step, until or trainer.resolved.last_step)
    batches = recorder.timed(itertools.islice(trainer.batches(step), last_step - step))
    recorder.start(step)
    batch, agreed = next(batches, None), Request.NOTHING
    while batch is not None and agreed is not Request.STOP and not (single_process and stop.signal):
        recorder.trace(step + 1)
        state, metrics = trainer.step(state, batch, _request(recorder, stop))
        step += 1
        batch = next(batches, None)
        agreed = _request(recorder, stop) if single_process else _agreed(recorder.in_flight)
        recorder.record(state, step, metrics, save=agreed is Request.SAVE, stop=agreed is Request.STOP)
    recorder.finish(state, step)
    return state, step


def _request(recorder: RunRecorder, stop: StopRequest) -> Request:
    """Return the request of this process."""
    if stop.signal is not None:
        return Request.STOP
    return Request.SAVE if recorder.wants_to_save() else Request.NOTHING


def _agreed(before: StepMetrics | None) -> Request:
    """Return the request that all processes act on after a step: the largest one sent with the step before.

    Signals and clocks differ between processes, but the outputs of a step do not. A request that arrives in a step
    after which the loop paused is sent again.
    """
    return Request.NOTHING if before is None else Request(int(before.request))
