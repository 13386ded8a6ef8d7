"""Documents that nobody wrote: the result is what they hold, or an `InputError` that names a position."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from audio_data import InputError, Vocabulary
from audio_tokenize.documents.layouts import LAYOUTS
from audio_tokenize.documents.passages import read_ids, read_string
from audio_tokenize.documents.strings import DocumentTranscoder
from audio_tokenize.documents.transcode import (
    characters_to_codes,
    characters_to_ids,
    codes_to_characters,
    ids_to_characters,
)
from audio_tokenize.text.sentencepiece_text import SentencePieceText
from audio_tokenize.vocabularies.folder import VocabularyFolder

# A longer search: FUZZ_EXAMPLES=10000 uv run pytest packages/audio_tokenize/tests/documents/test_fuzz.py
searched = settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", 60)))


@pytest.fixture(scope="module")
def folder() -> VocabularyFolder:
    text = SentencePieceText.train(["hello there, how are you", "open the door"], 16)
    return VocabularyFolder(Vocabulary.compact("small", text.num_ids, "mimi", 8, 2048, text.fingerprint), text)


def answer(function: Callable[..., Any], *arguments: Any) -> Any:
    """What it gives, or the message with which it refuses; any other exception fails the test."""
    try:
        return function(*arguments)
    except InputError as error:
        return error


MARKERS = st.sampled_from(
    [f"<|{name}|>" for name in ("begin_of_text", "end_of_text", "audio_start", "audio_end", "text_start", "text_end")]
)
CODES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 2047)), max_size=17).map(
    lambda codes: "".join(chr(0xE000 + 2048 * codebook + code) for codebook, code in codes)
)
FRAMES = st.integers(0, 2).map(lambda n: codes_to_characters(np.full((n, 8), 7)))
WORDS = st.text(st.characters(exclude_categories=()), max_size=6) | st.sampled_from(
    ["hello", "[0]", "<language>de", "<|"]
)
DOCUMENTS = st.lists(st.one_of(MARKERS, MARKERS, FRAMES, CODES, WORDS), max_size=14).map("".join)


@searched
@given(documents=st.lists(DOCUMENTS, min_size=1, max_size=4))
@example(documents=["\ud800"])
@example(documents=["<|audio_start|>"])
@example(documents=["<|audio_start|>\ue000\udfff<|audio_end|>"])
@example(documents=["<|text_start|>\U0001ffff\x00<|text_end|>", ""])
def test_any_strings_become_ids_or_are_refused(folder, documents: list[str]):
    strict, lenient = DocumentTranscoder(folder), DocumentTranscoder(folder, lenient=True)
    found = lenient.encode_batch(documents)
    for document, ids in zip(documents, found, strict=True):
        alone = answer(strict.encode, document)
        assert (ids is None) == isinstance(alone, InputError)
        if ids is not None:
            assert np.array_equal(ids, alone)
            assert isinstance(strict.decode(ids), str)
        read_string(document)
    assert len(lenient.dropped) == sum(ids is None for ids in found)


IDS = st.lists(
    st.integers(0, 2 * 10**4) | st.integers(-(2**31), 2**31 - 1) | st.sampled_from(range(-1, 8)), max_size=30
)


SMALL = Vocabulary.compact("small", 300, "mimi", 8, 2048, "text")
FRAME = [SMALL.audio_base + 2048 * codebook for codebook in range(8)]
PARTS = [[int(one)] for one in SMALL.special_ids] + [[0], [SMALL.num_text - 1], FRAME, FRAME, FRAME[:1], FRAME[1:2]]
NEAR_DOCUMENTS = st.lists(st.sampled_from(PARTS), max_size=14).map(
    lambda parts: [one for part in parts for one in part]
)


@searched
@given(ids=IDS | NEAR_DOCUMENTS, name=st.sampled_from(sorted(LAYOUTS)))
@example(ids=[], name="text")
@example(ids=[2**31 - 1, -(2**31)], name="audio_first")
def test_any_ids_are_segments_or_are_refused(ids: list[int], name: str):
    array = np.array(ids, np.int32)
    found = answer(LAYOUTS[name].parse, array, SMALL)
    if isinstance(found, list):
        assert all(segment.codes.ndim == 2 for segment in found)
    assert answer(read_ids, array, SMALL) is not None
    assert isinstance(answer(ids_to_characters, array, SMALL), str | InputError)


@searched
@given(ids=IDS)
def test_any_ids_are_a_string_or_are_refused(folder, ids: list[int]):
    array = np.array(ids, np.int32)
    assert isinstance(answer(DocumentTranscoder(folder).decode, array), str | InputError)
    assert isinstance(answer(DocumentTranscoder(folder, begin_of_text="double").decode, array), str | InputError)


@searched
@given(characters=CODES | WORDS, num_codebooks=st.integers(1, 8))
@example(characters="\ud800", num_codebooks=8)
def test_any_characters_are_codes_or_are_refused(characters: str, num_codebooks: int):
    codes = answer(characters_to_codes, characters, num_codebooks)
    assert isinstance(codes, InputError) or codes_to_characters(codes) == characters
    ids = answer(characters_to_ids, characters, SMALL)
    assert isinstance(ids, InputError) or ids_to_characters(ids, SMALL) == characters


@searched
@given(st.lists(st.lists(st.integers(-3, 2050) | st.integers(-(2**31), 2**31 - 1), min_size=2, max_size=2), max_size=3))
def test_any_codes_are_characters_or_are_refused(codes: list[list[int]]):
    array = np.array(codes, np.int32).reshape(-1, 2)
    characters = answer(codes_to_characters, array)
    assert isinstance(characters, InputError) or np.array_equal(characters_to_codes(characters, 2), array)
