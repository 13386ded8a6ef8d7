"""Whisper's English normaliser: fillers dropped, contractions spelled out, numbers as digits, American spellings."""

import functools
import importlib.resources
import json
import re
import unicodedata
from collections.abc import Mapping

from audio_eval.whisper_normalizer.numbers import digits

_IN_BRACKETS = re.compile(r"[<\[][^>\]]*[>\]]")
_IN_PARENTHESES = re.compile(r"\(([^)]+?)\)")
_FILLERS = re.compile(r"\b(hmm|mm|mhm|mmm|uh|um)\b")
_WHOLE_WORDS = {
    "won't": "will not",
    "can't": "can not",
    "let's": "let us",
    "ain't": "aint",
    "y'all": "you all",
    "wanna": "want to",
    "kinda": "kind of",
    "sorta": "sort of",
    "dunno": "do not know",
    "gotta": "got to",
    "gonna": "going to",
    "i'ma": "i am going to",
    "imma": "i am going to",
    "woulda": "would have",
    "coulda": "could have",
    "shoulda": "should have",
    "cause": "because",
    "ma'am": "madam",
    "mr": "mister ",
    "mrs": "missus ",
    "st": "saint ",
    "dr": "doctor ",
    "prof": "professor ",
    "capt": "captain ",
    "gov": "governor ",
    "ald": "alderman ",
    "gen": "general ",
    "sen": "senator ",
    "rep": "representative ",
    "pres": "president ",
    "rev": "reverend ",
    "hon": "honorable ",
    "asst": "assistant ",
    "assoc": "associate ",
    "lt": "lieutenant ",
    "col": "colonel ",
    "jr": "junior ",
    "sr": "senior ",
    "esq": "esquire ",
}
_ENDINGS = {
    "'d been": " had been",
    "'s been": " has been",
    "'d gone": " had gone",
    "'s gone": " has gone",
    "'d done": " had done",
    "'s got": " has got",
    "n't": " not",
    "'re": " are",
    "'s": " is",
    "'d": " would",
    "'ll": " will",
    "'t": " not",
    "'ve": " have",
    "'m": " am",
}
# In this order: one's result may be the next one's input.
_SPELLED_OUT = tuple(
    (re.compile(pattern), spelled)
    for pattern, spelled in (
        *((rf"\b{word}\b", spelled) for word, spelled in _WHOLE_WORDS.items()),
        *((rf"{ending}\b", spelled) for ending, spelled in _ENDINGS.items()),
    )
)
_OF_NUMBERS = ".%$¢€£"
_UNDECOMPOSED = {
    **{"œ": "oe", "ø": "o", "æ": "ae", "ß": "ss", "đ": "d", "ð": "d", "þ": "th", "ł": "l"},
    **{"Œ": "OE", "Ø": "O", "Æ": "AE", "ẞ": "SS", "Đ": "D", "Ð": "D", "Þ": "th", "Ł": "L"},
}


def whisper_english(text: str) -> str:
    """Convert English text to the form in which Whisper's authors compare transcripts.

    Lower case; brackets with their content and fillers ("um") dropped; contractions and titles spelled out ("it's" is
    "it is", "Mr." is "mister"); accents dropped; numbers, amounts and ordinals in words as digits ("ten percent" is
    "10%"); British spellings as American ones; other signs separate words.

    >>> whisper_english("Um, it's a well-known colour, Mr. Smith: twenty-first!")
    'it is a well known color mister smith 21st'

    Source: Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision (2022), appendix C; the rules,
        word lists and spellings of OpenAI's Whisper (MIT) as in whisper_normalizer 0.1.15, whose answers these are.
    """
    text = _IN_PARENTHESES.sub("", _IN_BRACKETS.sub("", text.lower()))
    text = re.sub(r"\s+'", "'", _FILLERS.sub("", text))
    for pattern, spelled in _SPELLED_OUT:
        text = pattern.sub(spelled, text)
    text = re.sub(r"\.([^0-9]|$)", r" \1", re.sub(r"(\d),(\d)", r"\1\2", text))
    text = digits("".join(map(_plain, unicodedata.normalize("NFKD", text))))
    text = " ".join(_spellings().get(word, word) for word in text.split())
    # Signs of numbers go where no number is.
    text = re.sub(r"([^0-9])%", r"\1 ", re.sub(r"[.$¢€£]([^0-9])", r" \1", text))
    return re.sub(r"\s+", " ", text)


def _plain(sign: str) -> str:
    """Letters, digits and the signs of numbers stay, accents go, everything else separates."""
    if sign in _OF_NUMBERS:
        return sign
    if sign in _UNDECOMPOSED:
        return _UNDECOMPOSED[sign]
    category = unicodedata.category(sign)
    return "" if category == "Mn" else " " if category[0] in "MSP" else sign


@functools.cache
def _spellings() -> Mapping[str, str]:
    """American spellings by their British ones."""
    content = importlib.resources.files("audio_eval.whisper_normalizer").joinpath("spellings.json").read_bytes()
    return json.loads(content)
