"""Keys of manifests, tables and archives that state where in its file an utterance lies.

`start` and `end` are this project's, `offset` and `duration` NeMo's, all in seconds. A key of another name that means a
time is refused by its name: to ignore it would pair the whole file with the words of a part.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from audio_data import InputError
from audio_tokenize.waveform import END_TOLERANCE_SECONDS

TIME_KEYS = ("start", "offset", "end", "duration")
# Where an utterance lay in a recording that it was cut from: facts for groupings, not times in the file.
ORIGIN_KEYS = ("begin_seconds", "end_seconds")
_TIME_KEY = re.compile(
    r"(?:(?:seg|segment|utt|utterance|clip|audio|cut|speech)_?)?"
    r"(?:start|begin|onset|offset|end|stop|dur|duration)"
    r"(?:_?(?:time|at|s|secs?|seconds?|ms|msecs?|millis|milliseconds?|frames?|samples?))*"
    r"|(?:frame|sample|time)_?(?:start|begin|offset|end|stop)",
    re.IGNORECASE,
)


class TimeSpan(NamedTuple):
    """Where an utterance lies in its file.

    Attributes:
        start_seconds: Its beginning.
        end_seconds: Its end; None is the end of the file.
        stated_seconds: How long the whole file is said to be; None where nobody says.
    """

    start_seconds: float = 0.0
    end_seconds: float | None = None
    stated_seconds: float | None = None


def is_time_key(name: str) -> bool:
    """Whether a key with a number says where in its file an utterance lies, in any unit."""
    key = re.sub(r"[^A-Za-z0-9]+", "_", name.strip())
    return name not in ORIGIN_KEYS and _TIME_KEY.fullmatch(key) is not None


def time_keys(names: Iterable[str]) -> list[str]:
    """Those of the names that are time keys, understood or not."""
    return [name for name in names if is_time_key(name)]


def span_of(record: Mapping[str, Any], where: str) -> TimeSpan:
    """Read the times of a record.

    `duration` beside a `start` or `offset` is how long the utterance is; without one, how long the file is.

    Args:
        record: By its own names; numbers may be strings, as in tables.
        where: File and line, or file and member, for messages.

    Raises:
        InputError: If a time is no finite number from 0 on, a key is not understood, or two contradict each other.
    """
    _require_known_keys(record, where)
    times = {name: seconds(record[name], name, where) for name in TIME_KEYS if record.get(name) not in (None, "")}
    if "start" in times and "offset" in times and times["start"] != times["offset"]:
        raise InputError(f"{where}: expected `start` or `offset`, got both, {times['start']} and {times['offset']} s")
    start = times.get("start", times.get("offset"))
    end, duration = times.get("end"), times.get("duration")
    if duration == 0:
        raise InputError(f"{where}: expected `duration` above 0 s, got 0; correct it or leave it out")
    if end is not None and end <= (start or 0.0):
        raise InputError(
            f"{where}: expected `start` before `end`, got start {start or 0.0} and end {end}; correct them"
        )
    if duration is None or (start is None and end is None):
        return TimeSpan(start or 0.0, end, duration)
    by_duration = (start or 0.0) + duration
    if end is not None and abs(end - by_duration) > END_TOLERANCE_SECONDS:
        raise InputError(
            f"{where}: expected `end` at `start` + `duration` = {by_duration:.3f} s, got {end} s; leave one of them out"
        )
    return TimeSpan(start or 0.0, by_duration if end is None else end)


def seconds(value: object, name: str, where: str) -> float:
    """Return a time of 0 s or more, of a number or of its text.

    Args:
        value: What the record says.
        name: The key.
        where: File and line, or file and member.

    Raises:
        InputError: If it is something else.
    """
    parsed = number(value)
    if parsed is None or parsed < 0:
        raise InputError(f"{where}: expected `{name}` in seconds, 0 or more, got {value!r}; correct it")
    return parsed


def number(value: object) -> float | None:
    """Return a finite number, or None; tables also hold numbers as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        parsed = float(value)
    except (ValueError, OverflowError):
        return None
    return parsed if math.isfinite(parsed) else None


def _require_known_keys(record: Mapping[str, Any], where: str) -> None:
    for name in time_keys(record):
        if name not in TIME_KEYS and number(record[name]) is not None:
            raise InputError(
                f"{where}: `{name}` is not read; expected the times in the file as `start` and `end`, or `offset` and "
                f"`duration`, in seconds. If it is no time in the file, give it another name"
            )
