"""Where metrics go besides `metrics.jsonl`: TensorBoard, Weights & Biases, trackio; imported only when asked for."""

import importlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from audio_data import InputError, nearest
from audio_train.resolved import ResolvedRun
from audio_train.tracking.metrics import Tracker

EXTRAS = {"tensorboard": "tensorboard", "wandb": "wandb", "trackio": "trackio"}
"""Trackers by name, with the package that each needs."""


class MultiTracker:
    """Trackers as one; none is one that records nothing."""

    def __init__(self, trackers: Sequence[Tracker]):
        self._trackers = trackers

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Record the metrics of a step everywhere."""
        for tracker in self._trackers:
            tracker.log(step, values)

    def flush(self) -> None:
        """Return once everything logged is durable."""
        for tracker in self._trackers:
            tracker.flush()

    def close(self) -> None:
        """Close all."""
        for tracker in self._trackers:
            tracker.close()


class TensorBoard:
    """Scalars as TensorBoard's event files, in a folder; the package needs no TensorFlow.

    Args:
        folder: where the files go.
        step: step the run goes on from; TensorBoard hides what an earlier start wrote of later steps.
    """

    def __init__(self, folder: Path, step: int):
        module = _imported("tensorboard", "tensorboard.summary.writer.event_file_writer")
        self._event = importlib.import_module("tensorboard.compat.proto.event_pb2")
        self._summary = importlib.import_module("tensorboard.compat.proto.summary_pb2")
        self._writer = module.EventFileWriter(str(folder))
        # At step 0 as well: a run killed before its first checkpoint begins anew beside what it wrote.
        start = self._event.SessionLog(status=self._event.SessionLog.START)
        self._writer.add_event(self._event.Event(step=step + 1, session_log=start))

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Record every number of a step."""
        value = self._summary.Summary.Value
        scalars = [value(tag=tag, simple_value=number) for tag, number in flat_numbers(values)]
        self._writer.add_event(self._event.Event(step=step, summary=self._summary.Summary(value=scalars)))

    def flush(self) -> None:
        """Return once everything is on disk."""
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


class WandbLike:
    """A run of Weights & Biases, or of trackio, which has the same interface.

    What is logged of a step is one row, sent when the next step begins or at a flush. Rows that the run already has are
    not sent again: the steps since its last checkpoint, which a killed run takes again, bit for bit what they were.
    Without a network `WANDB_MODE=offline` leaves the run's folder to `wandb sync`. W&B then writes a file a start, ends
    it somewhat before a kill, and does not read it again, so that the steps taken again are in two files.

    Args:
        package: `"wandb"` or `"trackio"`.
        run_folder: the run's folder.
        resolved: the run; its name and fingerprint identify it, so that a resumed run goes on under the same id.
    """

    def __init__(self, package: str, run_folder: Path, resolved: ResolvedRun):
        self._module = _imported(package, package)
        name = f"{resolved.run.name}-{resolved.fingerprint[:8]}"
        options: dict[str, Any] = {"project": "audio-train", "name": name, "config": resolved.to_json()}
        if package == "wandb":
            options |= {"id": name, "dir": str(run_folder)}
        run = self._module.init(resume="allow", **options)
        # Asked of the service and not of `metrics.jsonl`, whose last lines a kill may have kept from it.
        self._first_step = run.starting_step if package == "wandb" else run._next_step
        self._commit = {"commit": True} if package == "wandb" else {}  # trackio knows no open rows
        self._step, self._row = 0, dict[str, float]()

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Record every number of a step."""
        if step != self._step:
            self.flush()
        self._step = step
        self._row.update(flat_numbers(values))

    def flush(self) -> None:
        """Send the row of the last step. There is nothing to wait for: `metrics.jsonl` is the durable record."""
        if self._row and self._step >= self._first_step:
            self._module.log(self._row, step=self._step, **self._commit)
        self._row = {}

    def close(self) -> None:
        """Finish the run."""
        self.flush()
        self._module.finish()


def open_trackers(names: Sequence[str], run_folder: Path, resolved: ResolvedRun, step: int) -> list[Tracker]:
    """Trackers by their names.

    Args:
        names: keys of `EXTRAS`.
        run_folder: the run's folder.
        resolved: the run.
        step: step it goes on from.

    Raises:
        InputError: there is no such tracker, or its package is not installed.
    """
    return [_open(name, run_folder, resolved, step) for name in names]


def check_trackers(names: Sequence[str]) -> None:
    """Check that trackers can be had, before a run compiles anything.

    Raises:
        InputError: as `open_trackers`.
    """
    for name in names:
        if name not in EXTRAS:
            raise InputError(f"there is no tracker `{name}`; {nearest(name, EXTRAS)}")
        if importlib.util.find_spec(EXTRAS[name]) is None:
            raise _missing(EXTRAS[name])


def flat_numbers(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, float]]:
    """Every number below a mapping with its path, such as `nll/text`; what is no number is left out."""
    for key, value in values.items():
        name = f"{path}{key}"
        if isinstance(value, Mapping):
            yield from flat_numbers(value, f"{name}/")
        elif isinstance(value, int | float | np.generic | np.ndarray) and np.ndim(value) == 0:
            yield name, float(value)


def _open(name: str, run_folder: Path, resolved: ResolvedRun, step: int) -> Tracker:
    check_trackers([name])
    if name == "tensorboard":
        return TensorBoard(run_folder / "tensorboard", step)
    return WandbLike(name, run_folder, resolved)


def _imported(package: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise _missing(package) from error


def _missing(package: str) -> InputError:
    return InputError(f"--track {package} needs the package `{package}`: pip install 'audio-train[{package}]'")
