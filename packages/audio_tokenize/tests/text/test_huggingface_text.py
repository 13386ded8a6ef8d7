import os
import pickle
from functools import lru_cache
from pathlib import Path
from unicodedata import normalize

import pytest
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st

from audio_data import InputError
from audio_tokenize.text.huggingface_text import HuggingFaceText
from audio_tokenize.text.sentencepiece_text import TextTokenizer
from audio_tokenize.text.tokenizer_files import read_tokens
from audio_tokenize.text.tokenizer_sources import find_tokenizer

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
