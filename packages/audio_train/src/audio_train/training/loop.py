"""The training loop: batches in, a compiled step, metrics and checkpoints out.

There is no arithmetic on losses here. One step is always in flight: while the device works on it the loop fetches the
next batch and writes the metrics of the step before, so the device does not wait for Python.
"""

import enum
import itertools

from audio_train.state import TrainState
from audio_train.training.recorder import RunRecorder
from audio_train.training.signals import StopRequest
from audio_train.training.step import StepMetrics
from audio_train.training.trainer import Trainer


class Request(enum.IntEnum):
    """What a process asks for with a step; where several ask, the largest counts."""

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
    single_process: bool = True,
) -> tuple[TrainState, int]:
    """Take steps until the run is complete or asked to stop, and save the state reached.

    Args:
        trainer: The run's batches and compiled step.
        recorder: Where metrics, checkpoints and exports go.
        state: State to go on from; it is donated.
        step: Steps it has taken.
        stop: Asked between steps.
        single_process: Whether no other process takes part, so that nothing needs to be agreed on.

    Returns:
        The state reached and its step.

    Raises:
        DivergenceError: Too many steps in a row were skipped.
    """
    last_step = trainer.resolved.last_step
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
    """What this process would do next by itself."""
    if stop.signal is not None:
        return Request.STOP
    return Request.SAVE if recorder.wants_to_save() else Request.NOTHING


def _agreed(before: StepMetrics | None) -> Request:
    """What all processes do after a step: what the step before it brought from all of them.

    Signals and clocks differ between processes; numbers that come out of a step do not. A request that comes back in a
    step with which the loop paused is made again.
    """
    return Request.NOTHING if before is None else Request(int(before.request))
