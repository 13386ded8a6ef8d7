import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_data import Vocabulary
from audio_tokenize.documents.markers import IN_AUDIO, IN_TEXT, OUTSIDE, Markers, marker_patterns
from audio_tokenize.text.sentencepiece_text import SentencePieceText

names = st.lists(st.text("<ab|", min_size=1, max_size=4), min_size=1, max_size=6, unique=True)


def cut_naively(text: str, names: list[str]) -> list[str]:
    """Leftmost and longest, one character after the other; what is no marker comes by single characters."""
    found = []
    while text:
        longest = max((name for name in names if text.startswith(name)), key=len, default=text[0])
        found.append(longest)
        text = text[len(longest) :]
    return found


@given(names, st.text("<ab|", max_size=12))
def test_markers_are_found_leftmost_and_longest(names, text):
    one, run = marker_patterns(names)
    expected = [part for part in cut_naively(text, names) if part in names]
    assert [match[0] for match in one.finditer(text)] == expected
    cut = run.split(text)
    assert "".join(cut) == text
    assert [match[0] for part in cut[1::2] for match in one.finditer(part)] == expected
    assert not any(one.search(part) for part in cut[::2])


@pytest.fixture(scope="module")
def markers() -> Markers:
    text = SentencePieceText.train(["hello there"], 8)
    return Markers(Vocabulary.compact("small", text.num_ids, "mimi", 8, 2048, text.fingerprint), text)


def test_a_run_of_markers_leads_on_with_its_ids(markers):
    cut = markers.split("<|begin_of_text|><|text_start|>x<|text_end|><|audio_start|>")
    assert cut[::2] == ["", "x", ""]
    first = markers.walk(OUTSIDE, cut[1], True, False)
    second = markers.walk(first.state, cut[3], False, True)
    assert (first.state, second.state) == (IN_TEXT, IN_AUDIO)
    ids = markers.ids
    assert np.array_equal(first.ids, [ids["<|begin_of_text|>"], ids["<|text_start|>"]])
    assert np.array_equal(second.ids, [ids["<|text_end|>"], ids["<|audio_start|>"]])
    assert first.fault is second.fault is None


def test_the_first_marker_out_of_place_is_named(markers):
    run = "<|text_end|><|begin_of_text|><|text_start|>"
    fault = markers.walk(IN_TEXT, run, True, True).fault
    assert fault is not None
    assert fault.position == len("<|text_end|>")
    assert "<|audio_start|>" in fault.message
    assert "got <|begin_of_text|> outside every span" in fault.message
    assert markers.walk(IN_AUDIO, "<|end_of_text|>", False, True).fault.position == 0
