"""Finished items of a task, on disk: a killed evaluation resumes at the item, not at the task.

A journal is a file of JSON lines beside the items, `items/<task>.partial.jsonl`: one line a result, with the step it
belongs to, the item's key, the value, and a checksum over these and the fingerprint of everything that the results
depend on. A line that was damaged, or belongs to other settings, is not a result: its item is computed again. The file
is removed once the task's items are written.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import click

from audio_data import InputError, decode_object, disk_errors, make_folder, read_bytes


class Journal:
    """Results of the steps of one task, by step and key."""

    def __init__(self, path: Path | None = None, fingerprint: str = ""):
        """Open a journal and read what an earlier run left in it.

        Args:
            path: The file; None keeps everything in memory.
            fingerprint: Hash of everything the results depend on. A file with other hashes only is written anew.

        Raises:
            InputError: The file cannot be read or written.
        """
        self._path = path
        self._fingerprint = fingerprint
        self._results: dict[tuple[str, str], Any] = {}
        self._stream: TextIO | None = None
        if path is not None and path.exists():
            self._read(path)

    def _read(self, path: Path) -> None:
        whole = read_bytes(path)
        # What a kill cut short is not a result.
        whole = whole[: whole.rfind(b"\n") + 1]
        lines = whole.split(b"\n")[:-1]
        results = [result for line in lines if (result := self._result(line)) is not None]
        with disk_errors(path):
            if not results:
                path.unlink()
                return
            with path.open("r+b") as stream:
                stream.truncate(len(whole))
        self._results.update(results)
        if damaged := len(lines) - len(results):
            click.echo(f"{damaged:,} of {len(lines):,} lines of `{path}` are damaged: computed again", err=True)

    def _result(self, line: bytes) -> tuple[tuple[str, str], Any] | None:
        """Step, key and value of a line, or None if its checksum is not that of its content."""
        try:
            record = decode_object(line)
        except InputError:
            return None
        step, key, value = record.get("step"), record.get("key"), record.get("value")
        if not (isinstance(step, str) and isinstance(key, str) and record == self._record(step, key, value)):
            return None
        return (step, key), value

    def _record(self, step: str, key: str, value: Any) -> dict[str, Any]:
        signed = json.dumps([self._fingerprint, step, key, value], sort_keys=True, separators=(",", ":"))
        return {"step": step, "key": key, "value": value, "sha256": hashlib.sha256(signed.encode()).hexdigest()[:16]}

    def __len__(self) -> int:
        """Return the number of results."""
        return len(self._results)

    def known(self, step: str) -> Mapping[str, Any]:
        """Return the results of one step by key."""
        return {key: value for (its, key), value in self._results.items() if its == step}

    def record(self, step: str, results: Mapping[str, Any]) -> None:
        """Add results of one step; they are on disk when this returns.

        Args:
            step: What was done, such as "encode".
            results: Results by key, as JSON values.

        Raises:
            InputError: The disk refuses.
        """
        self._results.update({(step, key): value for key, value in results.items()})
        if self._path is None or not results:
            return
        with disk_errors(self._path):
            stream = self._stream or self._open(self._path)
            for key, value in results.items():
                line = self._record(step, key, value)
                stream.write(json.dumps(line, ensure_ascii=True, separators=(",", ":"), allow_nan=False) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def _open(self, path: Path) -> TextIO:
        make_folder(path.parent)
        self._stream = path.open("a", encoding="utf-8")
        return self._stream

    def close(self) -> None:
        """Close the file and keep it."""
        if self._stream is not None and self._path is not None:
            stream, self._stream = self._stream, None
            with disk_errors(self._path):  # what a full disk refused is written once more
                stream.close()

    def discard(self) -> None:
        """Remove the file: its task is finished, and its items are written."""
        self.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
