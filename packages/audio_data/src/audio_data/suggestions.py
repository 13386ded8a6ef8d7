"""Suggestions in error messages: the known names nearest to one that does not exist."""

import difflib
import itertools
from collections.abc import Iterable

from audio_data.storage import StoragePath

_MAX_NEAREST = 3
_MAX_LISTED = 24
_LEAST_LIKENESS = 0.5


def nearest(name: str, known: Iterable[object]) -> str:
    """Return the end of a message about a wrong name: the nearest known names, or all of them where none is near.

    Args:
        name: The name that does not exist.
        known: Those that do.
    """
    names = sorted(map(str, known))
    near = _nearest(name, names)
    return f"did you mean {' or '.join(near)}?" if near else f"expected one of {listed(names)}."


def nearest_paths(path: StoragePath) -> str:
    """Return the end of a message about a path: its first part that does not exist, and the nearest names beside it.

    Args:
        path: What was looked for; "" is the answer where it exists.
    """
    parts = [path, *path.parents]
    missing = next((p for p, parent in itertools.pairwise(parts) if not p.exists() and parent.is_dir()), None)
    if missing is None:
        return ""
    near = _nearest(missing.name, [entry.name for entry in missing.parent.iterdir()])
    return f": `{missing}` does not exist" + (f"; did you mean {' or '.join(near)}?" if near else "")


def listed(names: Iterable[str], most: int = _MAX_LISTED) -> str:
    """Return names for a message: the first ones, and how many more there are.

    Args:
        names: All of them.
        most: Number of names to show.
    """
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def _nearest(name: str, known: list[str]) -> list[str]:
    """Known names of similar spelling, whatever their case, and after them those that contain the name."""
    by_lower_case = {other.lower(): other for other in reversed(known)}
    similar = difflib.get_close_matches(name.lower(), by_lower_case, n=_MAX_NEAREST, cutoff=_LEAST_LIKENESS)
    containing = [other for other in sorted(by_lower_case) if name and name.lower() in other and other not in similar]
    return [by_lower_case[other] for other in [*similar, *containing[:_MAX_NEAREST]]]
