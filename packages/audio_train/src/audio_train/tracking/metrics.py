"""The metrics of a run as JSON lines: one object per logged step, in order, without gaps or duplicates.

A line is appended with one write, so a kill leaves at most one incomplete line, at the end. Lines up to a checkpoint's
step are on disk before the checkpoint, which records their length and SHA-256. A resumed run checks them and truncates
the file to the restored step; the repeated steps write the later lines again.
"""

import errno
import hashlib
import json
import math
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import click
import numpy as np

from audio_data import InputError, decode_line, disk_errors, file_errors, flush, from_json


@runtime_checkable
class Tracker(Protocol):
    """Receives the metrics of a run."""

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Record the metrics of a step; steps never decrease."""
        ...

    def flush(self) -> None:
        """Return when everything logged is durable; the last step is complete then."""
        ...

    def close(self) -> None:
        """Release files and connections."""
        ...


@dataclass(frozen=True)
class MetricsState:
    """State of `metrics.jsonl` at a checkpoint.

    Attributes:
        bytes: Length of the file.
        sha256: SHA-256 of these bytes, 64 hexadecimal digits.
    """

    bytes: int
    sha256: str


class JsonLines:
    """A tracker that writes `metrics.jsonl`.

    Args:
        path: The file; created if it does not exist.
        start_step: Step at which the run continues; lines of later steps and an incomplete last line are removed.
        expected: State of the file when that step was saved; None if unknown. An empty file is accepted too, so that a
            user can continue after losing the lines.

    Raises:
        InputError: A line is damaged, lines are missing or changed, or the file cannot be written.
    """

    def __init__(self, path: Path, start_step: int, expected: MetricsState | None = None):
        self.path = path
        if expected is not None:
            _check(path, start_step, expected)
        with disk_errors(path):
            end = _end_of_step(path, start_step) if path.exists() else 0
            self._file = path.open("r+b" if path.exists() else "w+b", buffering=0)
            self._file.truncate(end)
            self._file.seek(0)
            self._sha256 = hashlib.sha256(self._file.read())
            flush(path.parent)

    def state(self) -> MetricsState:
        """Return the current state of the file."""
        return MetricsState(self._file.tell(), self._sha256.hexdigest())

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Append one line; non-finite numbers become null.

        Raises:
            InputError: The file cannot be written.
        """
        record = {"step": step, **_plain(values)}
        line = json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        with self._writing():
            if self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._sha256.update(line)

    def flush(self) -> None:
        """Return when every line is durable.

        Raises:
            InputError: The file cannot be written.
        """
        with self._writing():
            os.fsync(self._file.fileno())

    @contextmanager
    def _writing(self) -> Generator[None, None, None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"cannot write `{self.path}` ({error}); free some space, then continue with "
                f"`audio-train resume {self.path.parent}`."
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> "JsonLines":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """Read the lines of a metrics file, oldest first, without an incomplete last line.

    Args:
        path: `RUN/metrics.jsonl`.

    Yields:
        One object per line.

    Raises:
        InputError: A line other than the last is not JSON.
    """
    for _, record in _records(path):
        yield record


def _check(path: Path, step: int, expected: MetricsState) -> None:
    """Check that the lines up to a checkpoint are those of the time it was saved."""
    with disk_errors(path, "read"):
        found = path.read_bytes() if path.exists() else None
    if hashlib.sha256((found or b"")[: expected.bytes]).hexdigest() == expected.sha256:
        return
    if found == b"":
        click.echo(f"`{path}` is empty: the metrics up to step {step} are lost", err=True)
        return
    what = "is missing" if found is None else "holds other lines" if len(found) >= expected.bytes else "lacks lines"
    raise InputError(
        f"`{path}` {what}: when step {step} was saved it had {expected.bytes} bytes with another SHA-256; copy it "
        "again, or replace it by an empty file to continue without the earlier metrics."
    )


def _end_of_step(path: Path, step: int) -> int:
    """End, in bytes, of the last line whose step is at most `step`."""
    end = 0
    for stop, record in _records(path):
        if record["step"] > step:
            break
        end = stop
    return end


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every complete line, with its end in bytes."""
    end = 0
    with disk_errors(path, "read"), open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            end += len(line)
            if not line.endswith(b"\n"):
                return
            with file_errors(path, "copy the file again, or remove that line to continue"):
                record = decode_line(line, number)
                from_json(int, record.get("step"), f"line {number}: step")
            yield end, record


def _plain(value: Any) -> Any:
    """Convert arrays and NumPy numbers to JSON numbers, exactly."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
