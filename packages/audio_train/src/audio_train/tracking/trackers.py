"""Trackers besides `metrics.jsonl`: TensorBoard, Weights & Biases, trackio; imported only when used."""

import importlib
import importlib.util
import io
import wave
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float32

from audio_data import InputError, install_extra_command, nearest
from audio_train.resolved import ResolvedRun
from audio_train.tracking.metrics import Tracker
from audio_train.tracking.samples import Sample

EXTRAS = {"tensorboard": "tensorboard", "wandb": "wandb", "trackio": "trackio"}
"""Package that each tracker needs, by the name of the tracker."""


class MultiTracker:
    """Several trackers as one; without any it records nothing."""

    def __init__(self, trackers: Sequence[Tracker]):
        self._trackers = trackers

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Record the metrics of a step in every tracker."""
        for tracker in self._trackers:
            tracker.log(step, values)

    def log_audio(self, step: int, samples: Iterable[Sample]) -> None:
        """Record audio samples of a step in every tracker that plays sound."""
        players = [tracker for tracker in self._trackers if isinstance(tracker, TensorBoard | WandbLike)]
        for name, caption, waveform, sample_rate_hz in samples:
            for tracker in players:
                tracker.log_audio(step, name, caption, waveform, sample_rate_hz)

    def flush(self) -> None:
        """Return when everything logged is durable."""
        for tracker in self._trackers:
            tracker.flush()

    def close(self) -> None:
        """Close all."""
        for tracker in self._trackers:
            tracker.close()


class TensorBoard:
    """Writes scalars to TensorBoard's event files; TensorFlow is not needed.

    Args:
        folder: Folder of the files.
        step: Step at which the run continues; TensorBoard hides later steps of an earlier launch.
    """

    def __init__(self, folder: Path, step: int):
        module = _imported("tensorboard", "tensorboard.summary.writer.event_file_writer")
        self._event = importlib.import_module("tensorboard.compat.proto.event_pb2")
        self._summary = importlib.import_module("tensorboard.compat.proto.summary_pb2")
        self._writer = module.EventFileWriter(str(folder))
        # At step 0 too: a run killed before its first checkpoint starts again in the same folder.
        start = self._event.SessionLog(status=self._event.SessionLog.START)
        self._writer.add_event(self._event.Event(step=step + 1, session_log=start))

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Record every number of a step."""
        value = self._summary.Summary.Value
        scalars = [value(tag=tag, simple_value=number) for tag, number in flat_numbers(values)]
        self._writer.add_event(self._event.Event(step=step, summary=self._summary.Summary(value=scalars)))

    def log_audio(
        self, step: int, name: str, caption: str, waveform: Float32[np.ndarray, " samples"], sample_rate_hz: int
    ) -> None:
        """Record a sound, and its caption as the description of its tag."""
        audio = self._summary.Summary.Audio(
            sample_rate=sample_rate_hz,
            num_channels=1,
            length_frames=len(waveform),
            encoded_audio_string=wav_bytes(waveform, sample_rate_hz),
            content_type="audio/wav",
        )
        about = self._summary.SummaryMetadata(display_name=name, summary_description=caption)
        value = self._summary.Summary.Value(tag=f"audio/{name}", audio=audio, metadata=about)
        self._writer.add_event(self._event.Event(step=step, summary=self._summary.Summary(value=[value])))

    def flush(self) -> None:
        """Return when everything is on disk."""
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


class WandbLike:
    """Logs to Weights & Biases, or to trackio, which has the same interface.

    The metrics of a step are one row, sent when the next step begins or at a flush. After a kill, the steps since the
    last checkpoint are repeated with identical results; rows that the run already has are not sent again. Without a
    network use `WANDB_MODE=offline` and `wandb sync`. W&B then writes one file per launch, so the repeated steps are in
    two files.

    Args:
        package: `"wandb"` or `"trackio"`.
        run_folder: Folder of the run.
        resolved: The run; its name and fingerprint are the id, under which a resumed run continues.
    """

    def __init__(self, package: str, run_folder: Path, resolved: ResolvedRun):
        self._module = _imported(package, package)
        name = f"{resolved.run.name}-{resolved.fingerprint[:8]}"
        options: dict[str, Any] = {"project": "audio-train", "name": name, "config": resolved.to_json()}
        if package == "wandb":
            options |= {"id": name, "dir": str(run_folder)}
        run = self._module.init(resume="allow", **options)
        # From the service, not from `metrics.jsonl`: a kill may have kept the last lines from the service.
        self._first_step = run.starting_step if package == "wandb" else run._next_step
        self._commit = {"commit": True} if package == "wandb" else {}  # trackio has no open rows
        self._step, self._row = 0, dict[str, Any]()

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Record every number of a step."""
        if step != self._step:
            self.flush()
        self._step = step
        self._row.update(flat_numbers(values))

    def log_audio(
        self, step: int, name: str, caption: str, waveform: Float32[np.ndarray, " samples"], sample_rate_hz: int
    ) -> None:
        """Record a sound in the row of a step."""
        self.log(step, {})
        self._row[f"audio/{name}"] = self._module.Audio(waveform, sample_rate=sample_rate_hz, caption=caption)

    def flush(self) -> None:
        """Send the row of the last step, without waiting: `metrics.jsonl` is the durable record."""
        if self._row and self._step >= self._first_step:
            self._module.log(self._row, step=self._step, **self._commit)
        self._row = {}

    def close(self) -> None:
        """Finish the run."""
        self.flush()
        self._module.finish()


def open_trackers(names: Sequence[str], run_folder: Path, resolved: ResolvedRun, step: int) -> list[Tracker]:
    """Open trackers by name.

    Args:
        names: Keys of `EXTRAS`.
        run_folder: Folder of the run.
        resolved: The run.
        step: Step at which it continues.

    Raises:
        InputError: A tracker is unknown, or its package is not installed.
    """
    return [_open(name, run_folder, resolved, step) for name in names]


def check_trackers(names: Sequence[str]) -> None:
    """Check that trackers can be opened, before a run compiles anything.

    Raises:
        InputError: A tracker is unknown, or its package is not installed.
    """
    for name in names:
        if name not in EXTRAS:
            raise InputError(f"there is no tracker `{name}`; {nearest(name, EXTRAS)}")
        if importlib.util.find_spec(EXTRAS[name]) is None:
            raise _missing(EXTRAS[name])


def wav_bytes(waveform: Float32[np.ndarray, " samples"], sample_rate_hz: int) -> bytes:
    """Return mono samples in -1..1 as a WAV file of 16 bits."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate_hz)
        file.writeframes(np.rint(np.clip(waveform, -1.0, 1.0) * 32_767).astype("<i2").tobytes())
    return stream.getvalue()


def flat_numbers(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, float]]:
    """Every number in a nested mapping with its path, such as `nll/text`; other values are left out."""
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
    advice = install_extra_command("audio-train", package)
    return InputError(f"--track {package} needs the package `{package}`: `{advice}`")
