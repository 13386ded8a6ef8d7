import unicodedata
from collections.abc import Sequence

import pytest
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st

from audio_tokenize.text import word_memo
from audio_tokenize.text.families import FAMILIES, SINGLE_SPACE_BEGINS_WORD
from audio_tokenize.text.huggingface_text import HuggingFaceText
from audio_tokenize.text.word_memo import WordMemo

# White space of every kind, marks that compose, and what contractions and numbers are made of.
characters = st.one_of(
    st.sampled_from(" \t\n\r\u00a0\u0085\u1680\u180e\u2001\u2028\u3000\u200b\u0301\u0345'"),
    st.sampled_from("aé'sSl09.,!界\u1100\u1161\u037e\ufb1d\ue000"),
    st.characters(exclude_categories=["Cs"]),
)
words = st.text(characters, min_size=1, max_size=5)
lines = st.lists(words, max_size=8).map(" ".join)


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.name)
def library(request) -> tokenizers.Tokenizer:
    """A small BPE, trained by `tokenizers` itself, that cuts words as a published one does."""
    trained = tokenizers.Tokenizer(tokenizers.models.BPE())
    if request.param.normalizer:
        trained.normalizer = tokenizers.normalizers.NFC()
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(request.param.pattern), "isolated")
    byte_level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trained.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([split, byte_level])
    trained.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    trained.train_from_iterator(["say what it is, as it's 1990 or 2,048  words\n\n over there"] * 4, trainer)
    return trained


@pytest.fixture(scope="module")
def text(library) -> HuggingFaceText:
    found = HuggingFaceText(library.to_str().encode())
    assert found.byte_pairs.pattern in SINGLE_SPACE_BEGINS_WORD
    return found


@given(st.lists(lines, max_size=4))
@example(["", " ", "a  b", "a   b", " a b", "a b ", "a\n b", "a \u0301b 1990 's", "a\u00a0 b", "it 's it's", "b b b"])
def test_ids_are_those_of_whole_texts(text, library, texts):
    expected = [found.ids for found in library.encode_batch(texts, add_special_tokens=False)]
    assert text.encode_batch(texts) == expected
    assert text.encode_batch(texts[::-1]) == expected[::-1]


def test_no_unicode_character_joins_the_parts_at_a_space(library):
    """The claim that the memo rests on, for every character there is on each side of the space."""
    white = {chr(c) for c in range(0x110000) if chr(c).isspace()}
    every = [
        chr(c) for c in range(0x110000) if chr(c) not in white and unicodedata.category(chr(c)) not in ("Cs", "Cn")
    ]
    chosen = every[::7]
    for left, right in (("{}", "b"), ("a", "{}")):
        whole = library.encode_batch_fast([f"{left} {right}".format(c) for c in chosen], add_special_tokens=False)
        lefts = library.encode_batch_fast([left.format(c) for c in chosen], add_special_tokens=False)
        rights = library.encode_batch_fast([f" {right}".format(c) for c in chosen], add_special_tokens=False)
        assert [both.ids for both in whole] == [a.ids + b.ids for a, b in zip(lefts, rights, strict=True)]


class Counting:
    """Gives every text ids of its own, and lists what it was asked."""

    def __init__(self):
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        self.asked += texts
        return [[ord(character) for character in text] for text in texts]


def codes(text: str) -> list[int]:
    return [ord(character) for character in text]


def test_a_word_is_encoded_once_and_other_texts_whole():
    tokenizer = Counting()
    memo = WordMemo(tokenizer)
    assert memo.encode_batch(["to be or not to be", "to be"]) == [codes("to be or not to be"), codes("to be")]
    assert sorted(tokenizer.asked) == sorted(["to", " be", " or", " not", " to"])
    tokenizer.asked.clear()
    page = "be " * word_memo.MAX_TEXT_CHARACTERS
    assert memo.encode_batch(["not to be", "to  be", "or\nnot", page]) == [
        codes("not to be"),
        codes("to  be"),
        codes("or\nnot"),
        codes(page),
    ]
    assert tokenizer.asked == ["to  be", "or\nnot", page, "not"]


def test_what_is_kept_is_bounded():
    tokenizer = Counting()
    memo = WordMemo(tokenizer, max_words=100)
    for start in range(0, 1_000, 30):
        line = " ".join(str(number) for number in range(start, start + 60))
        assert memo.encode_batch([line]) == [codes(line)]
        assert len(memo) <= 100
    endless = "x" * (word_memo.MAX_WORD_CHARACTERS + 1)
    memo.encode_batch([endless])
    tokenizer.asked.clear()
    assert memo.encode_batch([endless]) == [codes(endless)]
    assert tokenizer.asked == [endless]
