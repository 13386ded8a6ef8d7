"""Values of the options of `audio-tokenize encode` that are more than a number or a name."""

from audio_data import InputError


def shard_of_jobs(text: str | None) -> tuple[int, int] | None:
    """`(i, n)` of "i/n", the share of one of n jobs; `None` stays.

    Raises:
        InputError: It is not two whole numbers.
    """
    if text is None:
        return None
    index, _, number = text.partition("/")
    if not (index.isdecimal() and number.isdecimal()):
        raise InputError(f"`--shard` must be I/N, e.g. 0/8 for the first of eight jobs, got {text!r}")
    return int(index), int(number)


def count_or_fraction(text: str) -> int | float:
    """20 of "20", a count; 0.01 of "0.01", a fraction.

    Raises:
        InputError: It is no number.
    """
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError as error:
        raise InputError(f"`--max-quarantined` must be a count or a fraction, e.g. 20 or 0.01, got {text!r}") from error


def seconds_or_none(text: str) -> float | None:
    """10.0 of "10", and nothing of "none".

    Raises:
        InputError: It is neither.
    """
    try:
        return None if text == "none" else float(text)
    except ValueError as error:
        raise InputError(f"`--attention-window` must be seconds or none, e.g. 10, got {text!r}") from error
