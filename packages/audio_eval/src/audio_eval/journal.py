"""What a task has finished so far, on disk: a killed evaluation goes on at the item it was at, not at the task.

A journal is a file of JSON lines beside the items, `items/<task>.partial.jsonl`: first the fingerprint of everything
that the results depend on, then one line a result, each with the step it belongs to and the item's key. It is removed
once the task's items are written.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from audio_eval.evaluation import disk_errors


class Journal:
    """Results of the steps of one task, by step and key."""

    def __init__(self, path: Path | None = None, fingerprint: str = ""):
        """Opens a journal and reads what an earlier run left in it.

        Args:
            path: The file; None keeps everything in memory.
            fingerprint: Hash of all that the results depend on. A file with another one is begun anew.
        """
        self._path = path
        self._fingerprint = fingerprint
        self._results: dict[tuple[str, str], Any] = {}
        self._stream: TextIO | None = None
        if path is not None and path.is_file():
            self._read(path)

    def _read(self, path: Path) -> None:
        whole = path.read_bytes()
        # What a kill cut short is not a result.
        whole = whole[: whole.rfind(b"\n") + 1]
        lines = whole.decode("utf-8", errors="replace").splitlines()
        if not lines or _loads(lines[0]).get("fingerprint") != self._fingerprint:
            path.unlink()
            return
        for line in lines[1:]:
            record = _loads(line)
            if "step" in record:
                self._results[record["step"], record["key"]] = record["value"]
        with disk_errors(path), path.open("r+b") as stream:
            stream.truncate(len(whole))

    def __len__(self) -> int:
        """Number of results."""
        return len(self._results)

    def known(self, step: str) -> Mapping[str, Any]:
        """The results of one step by key."""
        return {key: value for (its, key), value in self._results.items() if its == step}

    def record(self, step: str, results: Mapping[str, Any]) -> None:
        """Adds results of one step; they are on disk when this returns.

        Args:
            step: What was done, such as "encode".
            results: Results by key, as JSON values.
        """
        self._results.update({(step, key): value for key, value in results.items()})
        if self._path is None or not results:
            return
        with disk_errors(self._path):
            stream = self._stream or self._open(self._path)
            for key, value in results.items():
                line = {"step": step, "key": key, "value": value}
                stream.write(json.dumps(line, ensure_ascii=True, separators=(",", ":")) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def _open(self, path: Path) -> TextIO:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = not path.is_file()
        self._stream = path.open("a", encoding="utf-8")
        if fresh:
            self._stream.write(json.dumps({"fingerprint": self._fingerprint}) + "\n")
        return self._stream

    def close(self) -> None:
        """Lets go of the file and keeps it."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def discard(self) -> None:
        """Removes the file: its task is finished, and its items are written."""
        self.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _loads(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
