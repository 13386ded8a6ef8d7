"""Named text normalisers, applied to two transcripts before their words are compared.

A word error rate means nothing without the name of its normaliser, so every score carries one of the names in
`NORMALIZERS`. A transcriber writes "9:30" where a corpus of spoken commands says "nine thirty": `spoken_english`
converts both to words. It also writes "938" for "nine three eight", which no spelling rule can distinguish from "nine
hundred thirty eight": `spoken_digits` therefore converts all numbers to single digits. Generated speech is scored
by it.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence

from audio_eval.whisper_normalizer import whisper_english
from audio_eval.whisper_normalizer.numbers import ONES as _FROM_ONE
from audio_eval.whisper_normalizer.numbers import TENS

ONES = ("zero", *_FROM_ONE)
_TENS = ("zero", "ten", *TENS)
_SCALES = ((10**9, "billion"), (10**6, "million"), (10**3, "thousand"), (100, "hundred"))
_IRREGULAR_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_VALUES = {word: value for value, word in enumerate(ONES)} | {word: 10 * n for n, word in enumerate(_TENS) if n > 1}
_SCALE_OF_NAME = {name: scale for scale, name in _SCALES}
_LARGEST_SPELLED = 10**12 - 1

# A clock time is only read out of "930" or "9.30" where the words after it say that it is one.
_CLOCK_CONTEXT = r"(?=\s*(?:am\b|pm\b|in the (?:morning|afternoon|evening)\b|at night\b))"
_CLOCK = re.compile(
    rf"\b(?P<hour>\d{{1,2}}):(?P<minute>[0-5]\d)\b|\b(?P<hour2>\d{{1,2}})\.?(?P<minute2>[0-5]\d)\b{_CLOCK_CONTEXT}"
)
_ORDINAL = re.compile(r"\b(\d+)(?:st|nd|rd|th)\b")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")
_MONEY = re.compile(r"\$(\d+(?:\.\d+)?)")
_ABBREVIATED_NOON = re.compile(r"\b([ap])\.\s?m\b\.?")
# Signs without a shape of their own, which say how letters join or in which direction they run: the joiner and the
# non-joiner, the soft hyphen, the word joiner, the byte order mark, marks of direction and variation selectors.
_SHAPELESS = dict.fromkeys(
    [
        *map(ord, "\u00ad\u061c\u200c\u200d\u200e\u200f\u2060\ufeff"),
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
        *range(0xFE00, 0xFE10),
    ]
)
# The tatweel stretches an Arabic word and is no part of it.
_TATWEEL = {0x0640: None}

_SODA_PUNCTUATION = re.compile(r"[.,!?;:\"'\-()\[\]{}\u2018\u2019\u201c\u201d]")


def spell_cardinal(number: int) -> str:
    """Return an English cardinal in words, without "and" or hyphens: 121 is "one hundred twenty one".

    Args:
        number: 0 to 10**12 - 1. Anything larger is read digit by digit, as people do with long codes.
    """
    if number < 0:
        raise ValueError(f"`number` must not be negative, got {number!r}")
    if number > _LARGEST_SPELLED:
        return " ".join(ONES[int(digit)] for digit in str(number))
    if number < 20:
        return ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens] + (f" {ONES[ones]}" if ones else "")
    scale, name = next(entry for entry in _SCALES if number >= entry[0])
    count, rest = divmod(number, scale)
    return f"{spell_cardinal(count)} {name}" + (f" {spell_cardinal(rest)}" if rest else "")


def spell_ordinal(number: int) -> str:
    """Return an English ordinal in words: 21 is "twenty first"."""
    *head, last = spell_cardinal(number).split()
    if last in _IRREGULAR_ORDINALS:
        last = _IRREGULAR_ORDINALS[last]
    else:
        last = (last[:-1] + "ie" if last.endswith("y") else last) + "th"
    return " ".join([*head, last])


def _spell_number(match: re.Match[str]) -> str:
    whole, _, fraction = match.group().partition(".")
    digits = " ".join(ONES[int(digit)] for digit in fraction)
    leading_zero = whole.startswith("0") and len(whole) > 1
    spelled = " ".join(ONES[int(digit)] for digit in whole) if leading_zero else spell_cardinal(int(whole))
    # Spaces keep "30min" two words; surplus ones are collapsed at the end.
    return f" {spelled}{' point ' + digits if fraction else ''} "


def _spell_clock(match: re.Match[str]) -> str:
    hour, minute = int(match["hour"] or match["hour2"]), match["minute"] or match["minute2"]
    if minute == "00":
        return f" {spell_cardinal(hour)} "
    return f" {spell_cardinal(hour)} {'oh ' if minute[0] == '0' else ''}{spell_cardinal(int(minute))} "


def spoken_english(text: str) -> str:
    """Convert English text to lower-case spoken words: digits, clock times, amounts and ordinals are spelled out.

    Punctuation separates words; apostrophes inside a word, letters of every script and their marks stay; joiners and
    other signs without a shape are dropped.

    >>> spoken_english("It's 9:30 — set the timer for 32 minutes!")
    "it's nine thirty set the timer for thirty two minutes"
    """
    text = unicodedata.normalize("NFKC", text.translate(_SHAPELESS))
    text = unicodedata.normalize("NFKC", text.casefold().replace("\u2019", "'"))
    text = _ABBREVIATED_NOON.sub(r"\1m ", text)
    text = _THOUSANDS.sub("", text)
    text = _CLOCK.sub(_spell_clock, text)
    text = _MONEY.sub(r"\1 dollars ", text).replace("%", " percent ").replace("&", " and ")
    text = _ORDINAL.sub(lambda match: f" {spell_ordinal(int(match[1]))} ", text)
    text = _NUMBER.sub(_spell_number, text)
    return " ".join(_keep_words(text).split())


def _keep_words(text: str) -> str:
    """Letters, digits, the marks on them and apostrophes between them stay; everything else is a space."""
    out, inside = [], False
    for index, sign in enumerate(text):
        if sign == "'":
            # As in "o'clock" and "don't"; a quotation mark has a word on one side alone.
            inside = inside and text[index + 1 : index + 2].isalnum()
        else:
            # `isalnum` leaves out combining marks, without which Devanagari, Thai and Arabic words fall apart.
            inside = sign.isalnum() or unicodedata.category(sign) in ("Mn", "Mc")
        out.append(sign if inside else " ")
    return "".join(out)


def spoken_digits(text: str) -> str:
    """As `spoken_english`, but every number as single digits, however it was grouped in speech or in writing.

    "Dial 938." and "dial nine three eight" agree, as do "at 10.30" and "at ten thirty". A number of several digits then
    counts as several words.

    >>> spoken_digits("Dial 610 9 at 10.30"), spoken_digits("dial six ten nine at ten thirty")
    ('dial 6 1 0 9 at 1 0 3 0', 'dial 6 1 0 9 at 1 0 3 0')
    """
    words = spoken_english(text).split()
    out: list[str] = []
    position = 0
    while position < len(words):
        after_number = bool(out) and out[-1].isdigit()
        before_number = position + 1 < len(words) and words[position + 1] in _VALUES
        if words[position] in _VALUES:
            number, position = _read_number(words, position)
            out += str(number)
            continue
        if after_number and words[position] == "oh":
            out.append("0")
        elif not (after_number and before_number and words[position] == "point"):
            out.append(words[position])
        position += 1
    return " ".join(out)


def _read_number(words: Sequence[str], position: int) -> tuple[int, int]:
    """Read the cardinal that begins at `position`; return it and the position after it."""
    value, position = _read_below_hundred(words, position)
    if 0 < value < 10 and words[position : position + 1] == ["hundred"]:
        value, position = 100 * value, position + 1
        if words[position : position + 1] and words[position] in _VALUES:
            rest, position = _read_below_hundred(words, position)
            value += rest
    scale = _SCALE_OF_NAME.get(words[position], 1) if position < len(words) else 1
    if value and scale > 100:
        value, position = scale * value, position + 1
        if position < len(words) and words[position] in _VALUES:
            rest, after = _read_number(words, position)
            if 0 < rest < scale:
                return value + rest, after
    return value, position


def _read_below_hundred(words: Sequence[str], position: int) -> tuple[int, int]:
    value = _VALUES[words[position]]
    following = _VALUES.get(words[position + 1], 0) if position + 1 < len(words) else 0
    if value >= 20 and 0 < following < 10:
        return value + following, position + 2
    return value, position + 1


def soda(text: str) -> str:
    """Normalise as the public SODA scripts do.

    Sixteen marks are deleted (which joins "well-known"), spaces collapsed, letters made lower-case.

    Source: the speech recognition script of potsawee/blueberry-eval. Kept for comparison with published numbers; it
    does not spell digits out.
    """
    return " ".join(_SODA_PUNCTUATION.sub("", text).lower().split())


def marks(text: str) -> str:
    """Lower case without punctuation, in any script: marks stay on their letters, as Hindi, Thai and Arabic need them.

    Joiners and other signs without a shape are dropped, so a word with them is the word without.

    >>> marks("नमस्ते, दुनिया!")
    'नमस्ते दुनिया'
    """
    # NFC, since NFKC decomposes Thai's sara am.
    text = unicodedata.normalize("NFC", text.translate(_SHAPELESS | _TATWEEL))
    text = unicodedata.normalize("NFC", text.casefold().replace("\u2019", "'"))
    return " ".join(_keep_words(text).split())


def characters(text: str) -> str:
    """As `marks`, every character a word: for Chinese and Thai, whose words nothing separates. Rates are then CER.

    >>> characters("你好，世界")
    '你 好 世 界'
    """
    return " ".join(character for character in marks(text) if character not in " '")


NORMALIZERS: Mapping[str, Callable[[str], str]] = {
    "spoken_english": spoken_english,
    "spoken_digits": spoken_digits,
    "soda": soda,
    "whisper_english": whisper_english,
    "marks": marks,
    "characters": characters,
}
