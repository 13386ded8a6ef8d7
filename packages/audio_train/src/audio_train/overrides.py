"""Change fields of a run with `--set path=value`."""

from typing import TypeVar

from audio_data import decode_setting, split_setting, with_settings
from audio_train.renames import current_assignment

T = TypeVar("T")

_FORM = "path=value, such as optimizer.learning_rate=0.001"


def override(run: T, *assignments: str) -> T:
    """Copy a value with some fields changed, all at once.

    Args:
        run: Dataclass value, such as a `TrainRun`.
        *assignments: `path=value` each. The path is field names joined by dots (a position in a tuple is a number, an
            entry of a mapping its key), or their old names; the value is JSON, or a bare word for a string.

    Returns:
        The copy.

    Raises:
        InputError: There is no `=`, the field does not exist, or the value has the wrong type.
    """
    return with_settings(run, assignments, "run", form=_FORM, current=current_assignment)


def assigned_path(assignment: str) -> str:
    """Path of the field that `path=value` changes, with current names.

    Raises:
        InputError: There is no `=` or no path.
    """
    path, text = split_setting(assignment, _FORM)
    return ".".join(current_assignment(path.split("."), decode_setting(text))[0])
