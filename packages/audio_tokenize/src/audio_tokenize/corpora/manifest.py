"""A JSONL manifest: one object a line with `audio` and `text`, and what else is known of the utterance."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from audio_data import InputError
from audio_tokenize.corpora.entries import Entry
from audio_tokenize.corpora.textfile import numbered_lines
from audio_tokenize.corpora.utterance import UNDETERMINED_LANGUAGE, UNKNOWN_SPEAKER

_STRINGS = {"audio", "text", "id", "recording", "speaker", "language", "split"}
_TIMES = {"start", "end"}


def _parse(where: str, line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: expected one JSON object a line, got {line[:60]!r}: {error.msg}") from error
    if not isinstance(record, dict):
        raise InputError(f"{where}: expected a JSON object, got {line[:60]!r}")
    missing = [name for name in ("audio", "text") if name not in record]
    if missing:
        raise InputError(f"{where}: expected the fields `audio` and `text`, got {sorted(record)}; add {missing}")
    return record


def _check_types(where: str, record: Mapping[str, Any]) -> None:
    for name, value in record.items():
        if name in _STRINGS and not isinstance(value, str):
            raise InputError(f"{where}: expected `{name}` to be a string, got {value!r}")
        if name in _TIMES and value is not None and not _is_time(value):
            raise InputError(f"{where}: expected `{name}` in seconds, 0 or more, got {value!r}")


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _entry(where: str, folder: Path, record: Mapping[str, Any]) -> Entry:
    start, end = float(record.get("start") or 0.0), record.get("end")
    if end is not None and end < start:
        raise InputError(
            f"{where}: expected `start` before `end`, got start {start!r} and end {end!r}; correct the times"
        )
    recording = record.get("recording", Path(record["audio"]).with_suffix("").as_posix())
    whole = "start" not in record and "end" not in record
    return Entry(
        id=record.get("id", recording if whole else f"{recording}@{start:.2f}"),
        text=record["text"],
        audio=folder / record["audio"],
        recording=recording,
        where=where,
        start_seconds=start,
        end_seconds=None if end is None else float(end),
        speaker=record.get("speaker", UNKNOWN_SPEAKER),
        language=record.get("language", UNDETERMINED_LANGUAGE),
        split=record.get("split", "train"),
        extra={name: value for name, value in record.items() if name not in _STRINGS | _TIMES},
    )


def read_manifest(path: Path) -> Iterator[Entry]:
    """Yields one utterance per line.

    Fields: `audio` (path, relative to the manifest's folder) and `text` are needed; `start` and `end` in seconds,
    `speaker`, `language`, `split`, `recording` and `id` are understood; others are kept in `extra`. Without `recording`
    the lines of one audio file are one recording; without `id` the recording and the start make one.

    Raises:
        InputError: If the file is not UTF-8 or empty, a line is not a JSON object, a field is missing or of the wrong
            type, or an end lies before its start.
    """
    for where, line in numbered_lines(path):
        record = _parse(where, line)
        _check_types(where, record)
        yield _entry(where, path.parent, record)
