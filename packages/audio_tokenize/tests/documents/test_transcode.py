import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from audio_data import InputError, Vocabulary
from audio_tokenize.documents.transcode import (
    characters_to_codes,
    characters_to_ids,
    codes_to_characters,
    ids_to_characters,
)

VOCABULARY = Vocabulary.compact("test", 300, "test-codec", 8, 2048, "test")

some_codes = st.tuples(st.integers(0, 6), st.integers(1, 8)).flatmap(
    lambda shape: hnp.arrays(np.uint16, shape, elements=st.integers(0, 2047))
)


@given(some_codes)
def test_characters_are_those_of_the_published_corpora(codes):
    """One at a time, by the formula of codec-bpe: frame-major, U+E000 + 2048 k + c."""
    expected = "".join(chr(0xE000 + 2048 * k + int(c)) for frame in codes for k, c in enumerate(frame))
    assert codes_to_characters(codes) == expected
    assert np.array_equal(characters_to_codes(expected, codes.shape[1]), codes)


@given(some_codes)
def test_the_three_spellings_agree(codes):
    characters = codes_to_characters(codes)
    ids = characters_to_ids(characters, VOCABULARY)
    assert np.array_equal(ids, VOCABULARY.audio_ids(codes.astype(np.int32)))
    assert ids_to_characters(ids, VOCABULARY) == characters


def test_the_characters_that_unicode_tools_change_survive():
    """U+FEFF, U+FFFE and U+FFFF lie in codebook 3; normalisation forms differ on hundreds more."""
    codes = np.zeros((3, 4), np.int32)
    codes[:, 3] = [0xFEFF - 0xE000 - 3 * 2048, 2046, 2047]
    characters = codes_to_characters(codes)
    assert characters[3] == "\ufeff"
    assert characters[-1] == "\uffff"
    assert np.array_equal(characters_to_codes(characters, 4), codes)


def test_the_position_of_the_first_wrong_character_is_named():
    good = codes_to_characters(np.arange(16).reshape(2, 8))
    swapped = good[:5] + good[6] + good[5] + good[7:]
    with pytest.raises(InputError, match=r"`characters\[5\]` must be .* got U\+1100[0-9A-F] \(2 wrong in all\)"):
        characters_to_codes(swapped, 8)
    with pytest.raises(InputError, match=r"`characters\[9\]` must be .* got U\+0061"):
        characters_to_codes(good[:9] + "a" + good[10:], 8)
    with pytest.raises(InputError, match=r"whole frames of 8 characters, got 13 .* only 5"):
        characters_to_codes(good[:13], 8)
    with pytest.raises(InputError, match=r"`characters\[1\]` must be an audio character of 8 codebooks of 2048"):
        characters_to_ids(good[0] + "\ud800", VOCABULARY)


@given(some_codes.filter(lambda codes: codes.size > 0), st.data())
def test_a_foreign_character_is_named_wherever_it_stands(codes, data):
    """Lone surrogates, noncharacters past the range, text: whatever is not the codebook's at its place."""
    good, num_codebooks = codes_to_characters(codes), codes.shape[1]
    position = data.draw(st.integers(0, len(good) - 1))
    first = 0xE000 + 2048 * (position % num_codebooks)
    point = data.draw(st.integers(0, 0x10FFFF).filter(lambda point: not first <= point < first + 2048))
    wrong = good[:position] + chr(point) + good[position + 1 :]
    with pytest.raises(
        InputError, match=rf"`characters\[{position}\]` must be .* got U\+{point:04X} \(1 wrong in all\)"
    ):
        characters_to_codes(wrong, num_codebooks)


def test_every_code_has_its_own_character_and_id():
    codes = np.broadcast_to(np.arange(2048)[:, None], (2048, 8))
    characters = codes_to_characters(codes)
    assert sorted(map(ord, characters)) == list(range(0xE000, 0x12000))
    assert np.array_equal(characters_to_codes(characters, 8), codes)
    assert sorted(characters_to_ids(characters, VOCABULARY).tolist()) == list(range(306, 306 + 16384))


def test_codes_and_ids_out_of_range_are_named():
    with pytest.raises(InputError, match=r"`codes\[1, 2\]` must be in 0\.\.2047, got 2048"):
        codes_to_characters(np.array([[0, 1, 2], [3, 4, 2048]]))
    with pytest.raises(InputError, match=r"`ids\[1\]` must be an audio id in 306\.\.16689, got 305"):
        ids_to_characters(np.array([306, 305]), VOCABULARY)
