"""The metrics of a run as JSON lines: one object a logged step, in order, none twice and none missing.

A line is appended with one write, so a kill leaves at most one torn line, at the end. Lines up to a checkpoint's step
are on disk before that checkpoint is, which records their length and SHA-256. A resumed run checks them, then cuts the
file back to the step it restored: what follows is written again by the steps taken again.
"""

import errno
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import click
import numpy as np

from audio_data import InputError, decode_line, disk_errors, file_errors, flush, from_json


@runtime_checkable
class Tracker(Protocol):
    """Where metrics go."""

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Record the metrics of a step, which never decreases."""
        ...

    def flush(self) -> None:
        """Return once everything logged is durable; nothing more of the last step follows."""
        ...

    def close(self) -> None:
        """Release what the tracker holds."""
        ...


@dataclass(frozen=True)
class MetricsState:
    """What `metrics.jsonl` holds at the moment of a checkpoint.

    Attributes:
        bytes: Its length.
        sha256: Of these bytes, 64 hexadecimal digits.
    """

    bytes: int
    sha256: str


class JsonLines:
    """A tracker that writes `metrics.jsonl`.

    Args:
        path: the file; created where it is not there.
        start_step: step the run goes on from: lines of later steps, and a torn last line, are cut off.
        expected: what the file held when that step was saved; None where this is not known. An empty file is accepted
            as well: with that a user goes on after the lines are lost.

    Raises:
        InputError: a line is damaged, lines are missing or changed, or the disk refuses.
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
        """What the file holds now."""
        return MetricsState(self._file.tell(), self._sha256.hexdigest())

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Append one line; numbers that are not finite become null.

        Raises:
            InputError: the disk does not take it.
        """
        record = {"step": step, **_plain(values)}
        line = json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        with self._writing():
            if self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._sha256.update(line)

    def flush(self) -> None:
        """Return once every line is durable.

        Raises:
            InputError: the disk does not take them.
        """
        with self._writing():
            os.fsync(self._file.fileno())

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"cannot write `{self.path}` ({error}); free some space, then go on with "
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
    """The lines of a metrics file, oldest first; a torn last line is left out.

    Args:
        path: `RUN/metrics.jsonl`.

    Yields:
        One object a line.

    Raises:
        InputError: a line other than the last is not JSON.
    """
    for _, record in _records(path):
        yield record


def _check(path: Path, step: int, expected: MetricsState) -> None:
    """Check that the lines up to a checkpoint are as they were when it was saved."""
    with disk_errors(path, "read"):
        found = path.read_bytes() if path.exists() else None
    if hashlib.sha256((found or b"")[: expected.bytes]).hexdigest() == expected.sha256:
        return
    if found == b"":
        click.echo(f"`{path}` is empty: the metrics up to step {step} are lost", err=True)
        return
    what = "is missing" if found is None else "holds other lines" if len(found) >= expected.bytes else "lacks lines"
    raise InputError(
        f"`{path}` {what}: when step {step} was saved it held {expected.bytes} bytes with another SHA-256; copy it "
        "again, or put an empty file in its place to go on without the metrics so far."
    )


def _end_of_step(path: Path, step: int) -> int:
    """Byte after the last line whose step is at most `step`."""
    end = 0
    for stop, record in _records(path):
        if record["step"] > step:
            break
        end = stop
    return end


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every whole line with the byte after it."""
    end = 0
    with disk_errors(path, "read"), open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            end += len(line)
            if not line.endswith(b"\n"):
                return
            with file_errors(path, "copy the file again, or remove that line to go on"):
                record = decode_line(line, number)
                from_json(int, record.get("step"), f"line {number}: step")
            yield end, record


def _plain(value: Any) -> Any:
    """Arrays and NumPy numbers as JSON numbers, exactly."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
