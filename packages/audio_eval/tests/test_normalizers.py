import json
from pathlib import Path

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_eval.metrics import word_errors
from audio_eval.normalizers import NORMALIZERS, soda, spell_cardinal, spell_ordinal, spoken_digits, spoken_english
from audio_eval.whisper_normalizer import numbers, whisper_english

# Written by whisper_normalizer, as it says.
WHISPER = json.loads(Path(__file__).with_name("whisper_english.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Set the timer for 32 minutes.", "set the timer for thirty two minutes"),
        ("It is 9:30 in the morning", "it is nine thirty in the morning"),
        ("It is 930 in the morning", "it is nine thirty in the morning"),
        ("It is 9.30 in the evening.", "it is nine thirty in the evening"),
        ("It is 9:05 a.m.", "it is nine oh five am"),
        ("at 10:00 p.m. sharp", "at ten pm sharp"),
        ("930 apples", "nine hundred thirty apples"),
        ("1,024 bytes", "one thousand twenty four bytes"),
        ("3.50 metres", "three point five zero metres"),
        ("the 21st and 3rd", "the twenty first and third"),
        ("$5 & 20%", "five dollars and twenty percent"),
        ("thirty-two RED apples!", "thirty two red apples"),
        ("It's 7 o\u2019clock", "it's seven o'clock"),
        ("'quoted' words'", "quoted words"),
        ("30min", "thirty min"),
        ("  \t ", ""),
        ("नमस्ते दुनिया", "नमस्ते दुनिया"),
    ],
)
def test_spoken_english(written, spoken):
    assert spoken_english(written) == spoken


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (19, "nineteen"),
        (20, "twenty"),
        (121, "one hundred twenty one"),
        (1_000_001, "one million one"),
        (10**12, "one zero zero zero zero zero zero zero zero zero zero zero zero"),
    ],
)
def test_spell_cardinal(number, words):
    assert spell_cardinal(number) == words


@pytest.mark.parametrize(("number", "words"), [(1, "first"), (12, "twelfth"), (20, "twentieth"), (34, "thirty fourth")])
def test_spell_ordinal(number, words):
    assert spell_ordinal(number) == words


def test_cardinals_below_a_million_are_all_different():
    sample = [*range(2_000), *range(2_000, 1_000_000, 977)]
    assert len({spell_cardinal(number) for number in sample}) == len(sample)


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Dial 938.", "dial nine three eight"),
        ("dial 610 9.", "dial six ten nine"),
        ("Die 0167.", "die zero one six seven"),
        ("Meet me at 10.30.", "meet me at ten thirty"),
        ("at 9:05", "at nine oh five"),
        ("1,024 and 2,000,300", "one thousand twenty four and two million three hundred"),
        ("twenty, 5", "20 five"),
        ("3.5 is the point.", "three point five is the point"),
        ("the 21st of 32", "the twenty first of thirty two"),
    ],
)
def test_spoken_digits_agree_however_numbers_are_grouped(written, spoken):
    assert spoken_digits(written) == spoken_digits(spoken)


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("thirty two hundred", "3 2 hundred"),
        ("ten hundred", "1 0 hundred"),
        ("six hundred ten nine", "6 1 0 9"),
        ("two thousand thousand", "2 0 0 0 thousand"),
        ("oh it is one point", "oh it is 1 point"),
        ("one point please", "1 point please"),
        ("a point five", "a point 5"),
        ("one point five", "1 5"),
        ("one oh please", "1 0 please"),
        ("forty nineteen", "4 0 1 9"),
    ],
)
def test_spoken_digits(text, digits):
    assert spoken_digits(text) == digits


@given(st.integers(0, 10**12 - 1))
def test_spelled_cardinals_are_read_back(number):
    assert spoken_digits(spell_cardinal(number)).replace(" ", "") == str(number)


def test_negative_number_is_refused():
    with pytest.raises(ValueError, match="must not be negative"):
        spell_cardinal(-1)


def test_study_keeps_digits_and_joins_hyphenated_words():
    assert soda("It's a well-known colour, Mr. Smith: 32") == "its a wellknown colour mr smith 32"


# Whisper's own is not idempotent: what signs like an ellipsis decompose to is normalised the second time.
@pytest.mark.parametrize("name", [name for name in NORMALIZERS if name != "whisper_english"])
@given(text=st.text() | st.text("a0'_$:.%½ßı\u0130\u0301\u0345\u0640\u094d\u0915\u200d\u2019\ufe0f "))
def test_normalizers_are_idempotent_and_leave_single_spaces(name, text):
    once = NORMALIZERS[name](text)
    assert NORMALIZERS[name](once) == once
    assert once == " ".join(once.split())


def test_whisper_english_gives_whispers_answers():
    wrong = {
        text: whisper_english(text) for text, answer in WHISPER["answers"].items() if whisper_english(text) != answer
    }
    assert not wrong


@pytest.fixture(scope="module")
def whisper_normalizer():
    module = pytest.importorskip("whisper_normalizer.english", reason="needs whisper_normalizer")
    return module.EnglishTextNormalizer()


_SPOKEN = st.sampled_from(
    [word for text in WHISPER["answers"] for word in text.split()]
    + [*sorted(numbers._WORDS), "and a half", "$", "%", "'"]
)


@given(words=st.lists(_SPOKEN | st.text(max_size=4), max_size=12))
def test_whisper_english_gives_the_answers_of_the_installed_package(whisper_normalizer, words):
    assert whisper_english(" ".join(words)) == whisper_normalizer(" ".join(words))


@pytest.mark.parametrize("text", ["9" * 5_000, "1" * 4_299 + " decillion", "oh " * 5_000, "one " * 5_000 + "million"])
def test_numbers_longer_than_python_reads_stay_as_they_are(text):
    assert whisper_english(text).replace(" ", "")[0] in "019o"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("नमस्ते, दुनिया!", "नमस्ते दुनिया"),
        ("สวัสดี ชาวโลก", "สวัสดี ชาวโลก"),
        ("السَّلامُ عليكم؟", "السَّلامُ عليكم"),
        ("كتـــاب", "كتاب"),
        ("Straße — ÉCOLE\u2019s", "strasse école's"),
        ("น้ำ", "น้ำ"),
        ("'नमस्ते' \u2018दुनिया\u2019", "नमस्ते दुनिया"),
        ("rock 'n' roll don't", "rock n roll don't"),
        ("0'_", "0"),
        ("\u2764\ufe0f ok", "ok"),
    ],
)
def test_marks_stay_on_their_letters(text, expected):
    assert NORMALIZERS["marks"](text) == expected


@pytest.mark.parametrize("name", ["marks", "spoken_english", "spoken_digits"])
@pytest.mark.parametrize(
    ("word", "plain"),
    [
        ("\u0915\u094d\u200d\u0937", "\u0915\u094d\u0937"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u062e\u0648\u0627\u0647\u0645"),
        ("co\u00adoperate", "cooperate"),
        ("\u2067\u05e9\u05dc\u05d5\u05dd\u2069\u200f", "\u05e9\u05dc\u05d5\u05dd"),
        ("\ufeffword", "word"),
    ],
)
def test_signs_without_a_shape_are_part_of_a_word(name, word, plain):
    assert NORMALIZERS[name](word) == NORMALIZERS[name](plain) == plain
    assert word_errors(NORMALIZERS[name](plain), NORMALIZERS[name](word)).num_errors == 0


@pytest.mark.parametrize(
    ("right", "said"), [("你好世界", "你号世界吧"), ("สวัสดีชาวโลก", "สวัสดชาวลก"), ("今天天气很好", "")]
)
def test_characters_give_jiwers_character_error_rate(right, said):
    normalize = NORMALIZERS["characters"]
    found = word_errors(normalize(right), normalize(said))
    assert found.num_errors / found.num_words == pytest.approx(jiwer.cer(right, said))
