import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_eval.normalizers import NORMALIZERS, spell_cardinal, spell_ordinal, spoken_digits, spoken_english, study


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
        ("six hundred ten nine", "6 1 0 9"),
        ("two thousand thousand", "2 0 0 0 thousand"),
        ("oh it is one point", "oh it is 1 point"),
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
    assert study("It's a well-known colour, Mr. Smith: 32") == "its a wellknown colour mr smith 32"


@pytest.mark.parametrize("name", NORMALIZERS)
@given(text=st.text())
def test_normalizers_are_idempotent_and_leave_single_spaces(name, text):
    once = NORMALIZERS[name](text)
    assert NORMALIZERS[name](once) == once
    assert once == " ".join(once.split())
