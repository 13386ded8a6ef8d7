"""Named rules that turn a published transcript into the text of an utterance."""

from collections.abc import Callable, Mapping

from audio_data import InputError

TranscriptRule = Callable[[str], str]


def _without_one_space(text: str) -> str:
    return text.removeprefix(" ").removesuffix(" ")


def _with_leading_space(text: str) -> str:
    return " " + text.removeprefix(" ")


def _lower_case(text: str) -> str:
    return text.strip().lower()


def _unquoted(text: str) -> str:
    return text.strip().strip('"').strip("'")


def _verbatim(text: str) -> str:
    return text


TRANSCRIPT_RULES: Mapping[str, TranscriptRule] = {
    "verbatim": _verbatim,
    "stripped": str.strip,
    "one-space": _without_one_space,
    "leading-space": _with_leading_space,
    "lower-case": _lower_case,
    "unquoted": _unquoted,
}
"""By name.

- `verbatim`: every character. Emilia's transcripts begin with a space, which the released SODA models were trained
  on.
- `stripped`: no white space at either end.
- `one-space`: one space less at either end, where there is one: as in the published `emilia-mm-pretrain-fix`.
- `leading-space`: a space at the beginning, where there is none: Emilia as the released SODA models were trained on it,
  from codes whose transcripts were read without the space.
- `lower-case`: stripped and lower-cased, for the capitals of LibriSpeech.
- `unquoted`: stripped, then without the quotation marks at either end: as in the published `libritts-r-mm-tts0`.
"""


def transcript_rule(name: str) -> TranscriptRule:
    """Return the rule of that name.

    Raises:
        InputError: If there is none; lists the names.
    """
    if name not in TRANSCRIPT_RULES:
        raise InputError(f"`transcripts`: expected one of {', '.join(TRANSCRIPT_RULES)}, got {name!r}")
    return TRANSCRIPT_RULES[name]
