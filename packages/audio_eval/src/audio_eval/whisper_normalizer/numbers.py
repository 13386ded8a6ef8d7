"""English numbers in words as digits, as Whisper's normaliser writes them.

Source: the rules of OpenAI's Whisper (MIT), `EnglishNumberNormalizer`, as in whisper_normalizer 0.1.15.
"""

import re
from collections.abc import Iterator
from fractions import Fraction

ONES = (
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
)
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = (
    "thousand",
    "million",
    "billion",
    "trillion",
    "quadrillion",
    "quintillion",
    "sextillion",
    "septillion",
    "octillion",
    "nonillion",
    "decillion",
)
_ZEROS = frozenset({"o", "oh", "zero"})
_ONES = {name: value for value, name in enumerate(ONES, start=1)}
_TENS = {name: 10 * n for n, name in enumerate(TENS, start=2)}
_MULTIPLIERS = {"hundred": 100} | {name: 1_000**power for power, name in enumerate(_SCALES, start=1)}
_IRREGULAR = {"zeroth": 0, "first": 1, "second": 2, "third": 3, "fifth": 5, "twelfth": 12}
# Plurals and ordinals: value and ending.
_ONES_ENDED = (
    {("sixes" if name == "six" else f"{name}s"): (value, "s") for name, value in _ONES.items()}
    | {
        name: (value, "st" if value == 1 else "nd" if value == 2 else "rd" if value == 3 else "th")
        for name, value in _IRREGULAR.items()
    }
    | {
        name + ("h" if name.endswith("t") else "th"): (value, "th")
        for name, value in _ONES.items()
        if value > 3 and value not in (5, 12)
    }
)
_TENS_ENDED = {name.replace("y", "ies"): (value, "s") for name, value in _TENS.items()} | {
    name.replace("y", "ieth"): (value, "th") for name, value in _TENS.items()
}
_MULTIPLIERS_ENDED = {f"{name}{end}": (value, end) for name, value in _MULTIPLIERS.items() for end in ("s", "th")}
_SIGNS_BEFORE = {"minus": "-", "negative": "-", "plus": "+", "positive": "+"}
_CURRENCIES = {
    **{"pound": "£", "pounds": "£", "euro": "€", "euros": "€"},
    **{"dollar": "$", "dollars": "$", "cent": "¢", "cents": "¢"},
}
_REPEATS = {"double": 2, "triple": 3}
_DECIMALS = frozenset({*_ONES, *_TENS, *_ZEROS})
_WORDS = frozenset(
    {
        *_DECIMALS,
        *_ONES_ENDED,
        *_TENS_ENDED,
        *_MULTIPLIERS,
        *_MULTIPLIERS_ENDED,
        *_SIGNS_BEFORE,
        *_CURRENCIES,
        *("per", "percent"),
        *("and", "point", *_REPEATS),
    }
)
_PREFIXES = frozenset({*_SIGNS_BEFORE.values(), *_CURRENCIES.values()})
# Python refuses to convert numbers of more than 4,300 digits.
_MOST_DIGITS = 1_000
_NUMERIC = re.compile(r"^\d+(\.\d+)?$")


def digits(text: str) -> str:
    """Write the numbers of a lower-case text in digits.

    >>> digits("minus five, two and a half million dollars, double oh seven, nineteen ninety five, one")
    '-five, $2500000 dollars, 007 1995 one'
    """
    words = _Numbers().read(_prepared(text).split())
    return _finished(" ".join(words))


def _prepared(text: str) -> str:
    """Halves as "point five", and numbers apart from letters but for endings such as "st"."""
    parts = []
    segments = re.split(r"\band\s+a\s+half\b", text)
    for index, segment in enumerate(segments):
        if not segment.strip():
            continue
        parts.append(segment)
        if index < len(segments) - 1:
            last = segment.rsplit(maxsplit=2)[-1]
            parts.append("point five" if last in _DECIMALS or last in _MULTIPLIERS else "and a half")
    text = re.sub(r"([a-z])([0-9])", r"\1 \2", " ".join(parts))
    text = re.sub(r"([0-9])([a-z])", r"\1 \2", text)
    return re.sub(r"([0-9])\s+(st|nd|rd|th|s)\b", r"\1\2", text)


def _finished(text: str) -> str:
    """Cents behind their dollars, and "one" for "1"."""
    text = re.sub(r"([€£$])([0-9]+) (?:and )?¢([0-9]{1,2})\b", lambda m: f"{m[1]}{m[2]}.{int(m[3]):02d}", text)
    text = re.sub(r"[€£$]0.([0-9]{1,2})\b", lambda m: f"¢{int(m[1])}", text)
    return re.sub(r"\b1(s?)\b", r"one\1", text)


class _Numbers:
    """One pass over words: the number read so far, as an integer or, once it is digits in a row, as text."""

    def __init__(self):
        self._prefix = ""
        self._value: int | str | None = None

    def read(self, words: list[str]) -> Iterator[str]:
        skip = False
        for before, word, after in zip([None, *words], words, [*words[1:], None], strict=False):
            if skip:
                skip = False
                continue
            said, skip = self._word(before, word, after)
            yield from said
        yield from self._out()

    def _out(self, word: str | None = None) -> list[str]:
        """Return the number read so far, if there is one, and the word."""
        said = [] if self._value is None else [f"{self._prefix}{self._value}"]
        if said:
            self._prefix = ""
        if word is not None:
            said.append(self._prefix + word)
            self._prefix = ""
        self._value = None
        return said

    def _word(self, before: str | None, word: str, after: str | None) -> tuple[list[str], bool]:
        """Return the output of a word, and whether the following word is consumed with it."""
        number = word[1:] if word[0] in _PREFIXES else word
        if _NUMERIC.match(number):
            return self._numeric(word, number), False
        if word not in _WORDS:
            return self._out(word), False
        if word in _ZEROS:
            self._value = f"{self._value or ''}0"
            return [], False
        if word in _ONES:
            self._value = self._with_ones(before, _ONES[word])
            return [], False
        if word in _TENS:
            self._value = self._with_tens(_TENS[word])
            return [], False
        if word in _MULTIPLIERS:
            return self._multiply(_MULTIPLIERS[word]), False
        if word in _ONES_ENDED:
            value, end = _ONES_ENDED[word]
            self._value = f"{self._with_ones(before, value)}{end}"
            return self._out(), False
        if word in _TENS_ENDED:
            value, end = _TENS_ENDED[word]
            self._value = f"{self._with_tens(value)}{end}"
            return self._out(), False
        if word in _MULTIPLIERS_ENDED:
            value, end = _MULTIPLIERS_ENDED[word]
            said = self._multiply(value)
            self._value = f"{self._value}{end}"
            return said + self._out(), False
        return (
            self._sign(word, after) if word not in ("and", "point", *_REPEATS) else self._special(before, word, after)
        )

    def _numeric(self, word: str, number: str) -> list[str]:
        if isinstance(self._value, str) and self._value.endswith("."):
            self._value += word
            return []
        said = self._out()
        self._prefix = word[0] if word[0] in _PREFIXES else self._prefix
        whole = _product(number, 1)
        self._value = number if whole is None else whole
        return said

    def _with_ones(self, before: str | None, ones: int) -> int | str:
        value = self._value
        if value is None:
            return ones
        if isinstance(value, str) and before in _TENS and ones < 10:
            return f"{value[:-1]}{ones}"
        if not isinstance(value, str) and before not in _ONES and value % (10 if ones < 10 else 100) == 0:
            return value + ones
        return f"{value}{ones}"

    def _with_tens(self, tens: int) -> int | str:
        value = self._value
        if value is None:
            return tens
        return value + tens if isinstance(value, int) and value % 100 == 0 else f"{value}{tens}"

    def _multiply(self, multiplier: int) -> list[str]:
        value = self._value
        if value is None:
            self._value = multiplier
        elif isinstance(value, int):
            self._value = value // 1_000 * 1_000 + value % 1_000 * multiplier
        else:
            product = _product(value, multiplier)
            if product is None:
                said = self._out()
                self._value = multiplier
                return said
            self._value = product
        return []

    def _sign(self, word: str, after: str | None) -> tuple[list[str], bool]:
        """Signs, currencies and percent."""
        if word in _SIGNS_BEFORE:
            said = self._out()
            if after in _WORDS or _numeric(after):
                self._prefix = _SIGNS_BEFORE[word]
                return said, False
            return said + self._out(word), False
        if self._value is None:
            return self._out(word), False
        if word in _CURRENCIES:
            self._prefix = _CURRENCIES[word]
            return self._out(), False
        if word == "percent" or after == "cent":
            self._value = f"{self._value}%"
            return self._out(), word == "per"
        return self._out(word), False

    def _special(self, before: str | None, word: str, after: str | None) -> tuple[list[str], bool]:
        """Read "and", "point", "double" or "triple"."""
        if after not in _WORDS and not _numeric(after):
            return self._out(word), False
        if word == "and":
            # After "hundred" and the like it is part of the number.
            return ([] if before in _MULTIPLIERS else self._out(word)), False
        if word == "point":
            if after in _DECIMALS or _numeric(after):
                self._value = f"{self._value or ''}."
            return [], False
        if after in _ONES or after in _ZEROS:
            self._value = f"{self._value or ''}{str(_ONES.get(after, 0)) * _REPEATS[word]}"
            return [], True
        return self._out(word), False


def _numeric(word: str | None) -> bool:
    return word is not None and _NUMERIC.match(word) is not None


def _product(value: str, multiplier: int) -> int | None:
    """Return the product; None if it is no whole number, or `value` is no number or too long."""
    if len(value) > _MOST_DIGITS:
        return None
    try:
        product = Fraction(value) * multiplier
    except ValueError:
        return None
    return product.numerator if product.denominator == 1 else None
