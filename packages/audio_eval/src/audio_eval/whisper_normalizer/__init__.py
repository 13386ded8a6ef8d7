"""A normaliser after Whisper's English one: fillers dropped, contractions spelled out, numbers as digits."""

import re
import unicodedata

_BRACKETED = re.compile(r"[<\[][^>\]]*[>\]]|\([^)]+?\)")
_FILLERS = re.compile(r"\b(hmm|mm|mhm|mmm|uh|um)\b")
_CONTRACTIONS = (
    (r"\bwon't\b", "will not"),
    (r"\bcan't\b", "can not"),
    (r"\blet's\b", "let us"),
    (r"\bain't\b", "aint"),
    (r"\by'all\b", "you all"),
    (r"\bwanna\b", "want to"),
    (r"\bgotta\b", "got to"),
    (r"\bgonna\b", "going to"),
    (r"\bi'ma\b", "i am going to"),
    (r"\bimma\b", "i am going to"),
    (r"\bwoulda\b", "would have"),
    (r"\bcoulda\b", "could have"),
    (r"\bshoulda\b", "should have"),
    (r"\bma'am\b", "madam"),
    (r"\bmr\b", "mister "),
    (r"\bmrs\b", "missus "),
    (r"\bst\b", "saint "),
    (r"\bdr\b", "doctor "),
    (r"\bprof\b", "professor "),
    (r"\bcapt\b", "captain "),
    (r"\bgov\b", "governor "),
    (r"\bgen\b", "general "),
    (r"\bsen\b", "senator "),
    (r"\brep\b", "representative "),
    (r"\brev\b", "reverend "),
    (r"\bjr\b", "junior "),
    (r"\bsr\b", "senior "),
    (r"'d been\b", " had been"),
    (r"'s been\b", " has been"),
    (r"'d gone\b", " had gone"),
    (r"'s gone\b", " has gone"),
    (r"'d done\b", " had done"),
    (r"'s got\b", " has got"),
    (r"n't\b", " not"),
    (r"'re\b", " are"),
    (r"'s\b", " is"),
    (r"'d\b", " would"),
    (r"'ll\b", " will"),
    (r"'t\b", " not"),
    (r"'ve\b", " have"),
    (r"'m\b", " am"),
)
_COMPILED = tuple((re.compile(pattern), spelled) for pattern, spelled in _CONTRACTIONS)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d)")
_PERIOD = re.compile(r"\.([^0-9]|$)")
_UNDECOMPOSED = str.maketrans({"œ": "oe", "ø": "o", "æ": "ae", "ß": "ss", "đ": "d", "ð": "d", "þ": "th", "ł": "l"})
ONES = (
    "zero",
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
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_VALUES = {word: value for value, word in enumerate(ONES)} | {word: 10 * n for n, word in enumerate(TENS, start=2)}
_SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9}


def whisper_english(text: str) -> str:
    """Brings English text to the form in which Whisper's authors compare transcripts.

    Lower case; what stands in brackets and fillers ("um") dropped; contractions and titles spelled out ("it's" is "it
    is", "Mr." is "mister"); accents dropped; numbers in words as digits; other signs separate words. Whisper's list of
    British spellings is not part of it, nor are its signs of currencies: "colour" stays "colour" on both sides.

    >>> whisper_english("Um, it's a well-known colour, Mr. Smith: twenty-one!")
    'it is a well known colour mister smith 21'

    Source: after the description in Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision (2022),
        appendix C.
    """
    text = _FILLERS.sub("", _BRACKETED.sub("", text.lower()))
    text = re.sub(r"\s+'", "'", text.replace("\u2019", "'"))
    for pattern, spelled in _COMPILED:
        text = pattern.sub(spelled, text)
    text = _PERIOD.sub(r" \1", _THOUSANDS.sub("", text))
    return " ".join(_digits(_plain(text).split()))


def _plain(text: str) -> str:
    """Letters, digits and the signs of numbers; accents go, everything else separates."""
    text = unicodedata.normalize("NFKD", text.translate(_UNDECOMPOSED))
    kept = (
        "" if unicodedata.category(sign) == "Mn" or sign == "'" else sign if sign in ".%$¢€£" or sign.isalnum() else " "
        for sign in text
    )
    return "".join(kept)


def _digits(words: list[str]) -> list[str]:
    out: list[str] = []
    position = 0
    while position < len(words):
        if words[position] in _VALUES:
            value, position = _read(words, position)
            out.append(value)
        else:
            out.append(words[position])
            position += 1
    return out


def _read(words: list[str], position: int) -> tuple[str, int]:
    """Reads the number that begins at `position`: a cardinal, or digits said one by one, which are joined."""
    total, value, spelled = 0, _VALUES[words[position]], ""
    while position + 1 < len(words):
        following = words[position + 1]
        if (
            following == "and"
            and words[position] in _SCALES
            and words[position + 2 : position + 3]
            and (words[position + 2] in _VALUES)
        ):
            position += 1
            words = [*words[:position], words[position - 1], *words[position + 1 :]]
            continue
        if following in _SCALES and value:
            scale = _SCALES[following]
            value = value * scale
            if scale > 100:
                total, value = total + value, 0
        elif following in _VALUES and _continues(value, _VALUES[following], words[position]):
            value += _VALUES[following]
        elif following in _VALUES and not total and words[position] in _VALUES:
            spelled, value = spelled + str(value), _VALUES[following]
        else:
            break
        position += 1
    return spelled + str(total + value), position + 1


def _continues(value: int, following: int, word: str) -> bool:
    """Whether a number's next word adds to it: "twenty one", "hundred five", "thousand twelve"."""
    if word in _SCALES:
        return True
    return value % 100 >= 20 and value % 10 == 0 and 0 < following < 10
