"""Utterances that cannot be encoded: a list with the reasons, and a limit to their number."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from audio_data import Budget, InputError, StoragePath, check_budget, write_bytes

DEFAULT_MAX_FRACTION = 0.05
# A fraction of fewer says nothing: the first of three may be the only broken one.
_MIN_SEEN_FOR_FRACTION = 100
_NUM_SHOWN = 3
_PARTICULARS = re.compile(r"`[^`]*`|'[^']*'|\"[^\"]*\"|\bU\+[0-9A-F]+|(?<![\w-])[-+]?(0x[0-9a-f]+|\d([\d.,]*\d)?)")


class QuarantineBudget:
    """Counts what is seen and what of it is quarantined, and stops the work when that is too much.

    Being stopped costs nothing: the same command with a larger budget goes on from there.

    Args:
        limit: A number of utterances (`int`), or a fraction of all (`float`, 0 to 1), which is judged where there are
            more than 100.
        num_expected: How many there are in all, where that is known; else a fraction is of those seen so far.

    Attributes:
        entries: What is quarantined so far, as `{"id": ..., "reason": ...}`.

    Raises:
        InputError: `limit` is neither.
    """

    def __init__(self, limit: Budget = DEFAULT_MAX_FRACTION, num_expected: int = 0):
        self.entries: list[Mapping[str, str]] = []
        self._limit, self._num_expected = check_budget(limit), num_expected
        self._num_seen = 0

    def count(self, num_seen: int, quarantined: Iterable[Mapping[str, str]] = ()) -> None:
        """Add utterances.

        Args:
            num_seen: All of them, those in quarantine included.
            quarantined: Those that cannot be encoded, as `{"id": ..., "reason": ...}`.

        Raises:
            InputError: The budget is exceeded; names the first ones.
        """
        self._num_seen += num_seen
        self.entries += quarantined
        if self.is_exceeded():
            shown = "; ".join(f"`{entry['id']}`: {entry['reason']}" for entry in self.entries[:_NUM_SHOWN])
            allowed = (
                f"{self._limit} utterances"
                if isinstance(self._limit, int)
                else f"{100 * self._limit:g} % of utterances"
            )
            raise InputError(
                f"`max_quarantined`: expected at most {allowed} that cannot be encoded, got {len(self.entries):,} of "
                f"{self._num_all:,} ({shown}): repair them, or allow more and run the same command again, which goes "
                "on from here"
            )

    def is_exceeded(self) -> bool:
        """Whether more is quarantined than the limit allows."""
        if isinstance(self._limit, int):
            return len(self.entries) > self._limit
        return self._num_all > _MIN_SEEN_FOR_FRACTION and len(self.entries) > self._limit * self._num_all

    @property
    def _num_all(self) -> int:
        return max(self._num_seen, self._num_expected)


def reasons_by_count(quarantined: Iterable[Mapping[str, str]]) -> dict[str, int]:
    """Count the quarantined entries by reason, the commonest first; names and numbers in a reason are left out.

    Args:
        quarantined: As `{"id": ..., "reason": ...}`.
    """
    counts = Counter(_PARTICULARS.sub("…", entry["reason"]) for entry in quarantined)
    return dict(counts.most_common())


def write_quarantine(path: StoragePath, quarantined: Iterable[Mapping[str, str]]) -> None:
    """Write the list, one JSON object a line.

    Args:
        path: The file; replaced.
        quarantined: What to write.

    Raises:
        InputError: The disk or the store refuses.
    """
    lines = [json.dumps(dict(entry), ensure_ascii=False) + "\n" for entry in quarantined]
    write_bytes(path, "".join(lines).encode())
