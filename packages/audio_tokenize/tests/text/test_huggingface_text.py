import os
import pickle
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from unicodedata import normalize

import pytest
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st

from audio_data import InputError
from audio_tokenize.text import huggingface_text
from audio_tokenize.text.families import FAMILIES, SINGLE_SPACE_BEGINS_WORD
from audio_tokenize.text.huggingface_text import HuggingFaceText, WordMemo
from audio_tokenize.text.sentencepiece_text import TextTokenizer
from audio_tokenize.text.tokenizer_files import find_tokenizer, read_tokens

MARKERS = ["<|begin_of_text|>", "<|text_end|>", "<|audio_start|>", "<|eot_id|>", "<|endoftext|>", "<think>"]
letters = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
audio = st.text(st.characters(min_codepoint=0xE000, max_codepoint=0x11FFF), max_size=8)
any_text = st.lists(st.one_of(letters, audio, st.sampled_from(MARKERS)), max_size=6).map("".join)


@pytest.fixture(scope="module")
def small(tokenizer_file: Path) -> HuggingFaceText:
    return HuggingFaceText.open(tokenizer_file)


@given(any_text)
@example("\ufffe\uffff\u0301\u0301<|begin_of_text|> <|text_end|>")
def test_any_text_comes_back_and_no_marker_is_ever_produced(small, text):
    ids = small.encode(text)
    assert small.decode(ids) == text
    assert all(i < len(small.byte_pairs.tokens) for i in ids)


@given(st.lists(letters, max_size=4))
def test_ids_are_those_of_the_tokenizers_library(small, tokenizer_file, texts):
    reference = _library(tokenizer_file)
    assert small.encode_batch(texts) == [reference.encode(text, add_special_tokens=False).ids for text in texts]


@lru_cache
def _library(path: Path) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_file(str(path))


def test_names_have_ids_and_decode_to_themselves(small):
    tokenizer: object = small
    assert isinstance(tokenizer, TextTokenizer)
    assert small.num_ids == len(small.byte_pairs.tokens) + 1
    assert small.decode([small.num_ids - 1, *small.encode("is")]) == "<|begin_of_text|>is"


def test_part_of_a_character_decodes_to_the_replacement(small, tokenizer_file):
    ids = small.encode("界")[:1]
    assert small.decode(ids) == _library(tokenizer_file).decode(ids) == "\ufffd"


def test_a_tokenizer_travels_to_another_process(small):
    again = pickle.loads(pickle.dumps(small))
    assert (again.fingerprint, again.encode("as it is")) == (small.fingerprint, small.encode("as it is"))


def test_later_names_can_be_left_out(tokenizer_file: Path):
    content = tokenizer_file.read_bytes()
    num_tokens = len(read_tokens(content, "here"))
    assert HuggingFaceText(content, num_tokens).named == ()
    for wrong in (num_tokens - 1, num_tokens + 2):
        with pytest.raises(InputError, match=rf"must hold {wrong} text ids, got {num_tokens} tokens and 1 names"):
            HuggingFaceText(content, wrong)


def test_wrong_arguments_are_refused(small):
    with pytest.raises(InputError, match=r"`ids\[1\]` must be a text id in 0\.\."):
        small.decode([0, small.num_ids])
    with pytest.raises(InputError, match=r"`texts\[1\]` must be Unicode text, got '\\ud800' at character 2"):
        small.encode_batch(["fine", "ab\ud800"])


def test_ranks_of_an_unknown_tokenizer_are_refused(tmp_path: Path):
    (tmp_path / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n")
    with pytest.raises(InputError, match=r"must hold the ranks of Llama-3 or Qwen3, got 2 others, which do not say"):
        HuggingFaceText.open(tmp_path)


@pytest.fixture(scope="module", params=["llama-models", "dashscope"])
def published(request, marin_mimi, qwen3x_mimi) -> HuggingFaceText:
    return (marin_mimi if request.param == "llama-models" else qwen3x_mimi).text


@given(any_text)
@example("e\u0301 \u212b it's 12345  \n\n x\r\n\r\n  y")
@pytest.mark.long
def test_published_texts_come_back_but_for_nfc(published, text):
    """Qwen's ids are made of the NFC form, as its tokenizer does; Llama's of the text as it is."""
    ids = published.encode(text)
    assert published.decode(ids) == (normalize("NFC", text) if published.normalizer == "NFC" else text)
    assert all(i < len(published.byte_pairs.tokens) for i in ids)


@given(any_text)
@example("Internationalization of électroencéphalographie, aaaaaaaaaaaaa 100000\t\t\t")
def test_published_ids_are_those_of_the_ranks(published, text):
    """By the definition of tiktoken: cut by the expression, then join the two neighbours of the lowest rank."""
    regex = pytest.importorskip("regex")
    text = normalize("NFC", text) if published.normalizer == "NFC" else text
    words = regex.findall(published.byte_pairs.pattern, text)
    assert "".join(words) == text
    assert published.encode(text) == [i for word in words for i in _by_rank(word.encode(), _ranks(published))]


_RANKS: dict[str, dict[bytes, int]] = {}


def _ranks(text: HuggingFaceText) -> dict[bytes, int]:
    if text.fingerprint not in _RANKS:
        characters = {spelled: byte for byte, spelled in enumerate(_spelled_bytes())}
        tokens = (bytes(characters[character] for character in token) for token in text.byte_pairs.tokens)
        _RANKS[text.fingerprint] = {token: rank for rank, token in enumerate(tokens)}
    return _RANKS[text.fingerprint]


def _spelled_bytes() -> list[str]:
    """GPT-2's table: printable bytes are themselves, the others take the characters from U+0100."""
    others = iter(range(0x100, 0x200))
    return [chr(b if 0x21 <= b <= 0x7E or (b >= 0xA1 and b != 0xAD) else next(others)) for b in range(256)]


def _by_rank(word: bytes, ranks: dict[bytes, int]) -> list[int]:
    parts = [word] if word in ranks else [bytes([byte]) for byte in word]
    while True:
        joined = [(ranks.get(left + right, len(ranks)), i) for i, (left, right) in enumerate(zip(parts, parts[1:]))]  # noqa: B905, RUF007
        rank, i = min(joined, default=(len(ranks), 0))
        if rank == len(ranks):
            return [ranks[part] for part in parts]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


@pytest.mark.parametrize(
    ("package", "variable"), [("llama-models", "LLAMA3_TOKENIZER_JSON"), ("dashscope", "QWEN3_TOKENIZER_JSON")]
)
def test_ranks_and_the_models_own_tokenizer_json_are_one_tokenizer(package, variable):
    path = os.environ.get(variable)
    if path is None:
        pytest.skip(f"needs a `tokenizer.json` of the model: set {variable} to its path")
    find_tokenizer(package)
    ranks, own = HuggingFaceText.open(package), HuggingFaceText.open(path)
    assert (ranks.fingerprint, ranks.num_ids, ranks.named) == (own.fingerprint, own.num_ids, own.named)
    assert own.byte_pairs.merges == ranks.byte_pairs.merges


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
    page = "be " * huggingface_text.MAX_TEXT_CHARACTERS
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
    endless = "x" * (huggingface_text.MAX_WORD_CHARACTERS + 1)
    memo.encode_batch([endless])
    tokenizer.asked.clear()
    assert memo.encode_batch([endless]) == [codes(endless)]
    assert tokenizer.asked == [endless]
