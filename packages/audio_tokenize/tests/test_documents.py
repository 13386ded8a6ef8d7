from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from audio_data import InputError, Vocabulary
from audio_tokenize.documents import LAYOUTS, Segment, layout

NUM_TEXT, NUM_CODEBOOKS, CODEBOOK_SIZE = 50, 8, 64
COMPACT = Vocabulary.compact("compact", NUM_TEXT, "test-codec", NUM_CODEBOOKS, CODEBOOK_SIZE, "test")
# As in Llama-3: begin and end of text lie among the text ids, and audio follows after a gap.
GAPPED = Vocabulary("gapped", NUM_TEXT, 40, 41, 60, 61, 62, 63, 100, NUM_CODEBOOKS, CODEBOOK_SIZE, "test-codec", "test")

segment = st.builds(
    Segment,
    hnp.arrays(np.int32, st.integers(0, 5), elements=st.integers(0, 39)),
    st.integers(1, 4).flatmap(lambda n: hnp.arrays(np.uint16, (n, NUM_CODEBOOKS), elements=st.integers(0, 63))),
)


@pytest.mark.parametrize("vocabulary", [COMPACT, GAPPED], ids=lambda v: v.name)
@pytest.mark.parametrize("name", LAYOUTS)
@given(st.data())
def test_parsing_gives_back_what_was_laid_out(vocabulary, name, data):
    chosen = LAYOUTS[name]
    num_codebooks = data.draw(st.integers(1, NUM_CODEBOOKS))
    num_groups = data.draw(st.integers(1, 3))
    size = num_groups * chosen.group_size
    segments = data.draw(st.lists(segment, min_size=size, max_size=size))
    ids = chosen.build(segments, vocabulary, num_codebooks)
    kept = min(num_codebooks, chosen.max_codebooks or num_codebooks)
    for told in (None, kept):
        parsed = chosen.parse(ids, vocabulary, told)
        assert len(parsed) == len(segments)
        for before, after in zip(segments, parsed, strict=True):
            assert np.array_equal(after.codes, before.codes[:, :kept])
            assert np.array_equal(after.text_ids, before.text_ids if chosen.has_text else [])


def test_templates_are_those_of_the_study():
    """Written out by hand for two utterances of one frame, 2 of 8 codebooks."""
    v = COMPACT
    first = Segment(np.array([7, 8]), np.array([[1, 2, 3, 4, 5, 6, 7, 8]]))
    second = Segment(np.array([9]), np.array([[9, 10, 11, 12, 13, 14, 15, 16]]))
    a1 = [v.audio_start, v.audio_base + 1, v.audio_base + 64 + 2, v.audio_end]
    a2 = [v.audio_start, v.audio_base + 9, v.audio_base + 64 + 10, v.audio_end]
    t1, t2 = [v.text_start, 7, 8, v.text_end], [v.text_start, 9, v.text_end]
    begin, end = [v.begin_of_text], [v.end_of_text]
    expected = {
        "audio_first": begin + a1 + t1 + a2 + t2 + end,
        "text_first": begin + t1 + a1 + t2 + a2 + end,
        "acoustic": begin + a1 + a2 + end,
        "semantic": begin + [i for i in a1 if i != a1[2]] + [i for i in a2 if i != a2[2]] + end,
        "tts0": begin + t1 + a1 + t2 + a2 + end,
        "conversational": begin + t1 + a1 + t2 + a2 + end,
        "asr_evaluation": a1 + t1 + a2 + t2,
        "tts_evaluation": t1 + a1 + t2 + a2,
        "speech_translation": begin + a1 + t1 + t2 + a2 + end,
    }
    built = {name: chosen.build([first, second], v, 2).tolist() for name, chosen in LAYOUTS.items()}
    assert built == expected


def test_transcripts_are_spelled_as_the_layout_says():
    assert layout("tts0").spell("hello {x}") == "[0]hello {x}"
    assert layout("conversational").spell("hello", speaker=2) == "[2]hello"
    assert layout("speech_translation").spell("hallo", language="de") == "<language>de</language>hallo"
    assert layout("audio_first").spell("hello") == "hello"


def test_a_prompt_is_the_document_up_to_what_is_asked_for():
    one = Segment(np.array([7, 8]), np.arange(16).reshape(2, 8))
    for name in ("audio_first", "text_first", "tts_evaluation"):
        chosen = layout(name)
        document, prompt = chosen.build([one, one], COMPACT, 3), chosen.prompt([one, one], COMPACT, 3)
        assert np.array_equal(prompt, document[: len(prompt)])
        assert prompt[-1] == (COMPACT.text_start if name == "audio_first" else COMPACT.audio_start)
        assert set(document[len(prompt) :].tolist()).isdisjoint({COMPACT.text_start, COMPACT.audio_start})


GOOD = layout("audio_first").build([Segment(np.array([7, 8]), np.arange(16).reshape(2, 8))], COMPACT)


@pytest.mark.parametrize(
    ("position", "wrong", "message"),
    [
        (0, COMPACT.end_of_text, r"`ids\[0\]` .* must be id 50, got 51"),
        (1, 3, r"`ids\[1\]` .* must be id 54, got 3"),
        (6, 3, r"audio from `ids\[2\]` on, .*position `4` of 16"),
        (18, COMPACT.text_start, r"`ids\[18\]` .* must be id 55, got 52"),
        (20, COMPACT.audio_base, r"`ids\[20\]` .* must be a text id in 0\.\.49, got 56"),
        (23, 3, r"`ids\[23\]` .* must be id 54, got 3"),
    ],
)
def test_the_first_wrong_position_is_named(position, wrong, message):
    ids = GOOD.copy()
    ids[position] = wrong
    with pytest.raises(InputError, match=message):
        layout("audio_first").parse(ids, COMPACT)


def test_documents_that_end_early_late_or_within_a_frame_are_refused():
    chosen = layout("audio_first")
    for stop in range(len(GOOD)):
        with pytest.raises(InputError, match=r"`ids\[\d+\]` of a document of layout `audio_first` must be"):
            chosen.parse(GOOD[:stop], COMPACT)
    with pytest.raises(InputError, match=r"`ids\[24\]` .* must be the end of the document, got 50"):
        chosen.parse(np.append(GOOD, COMPACT.begin_of_text), COMPACT)
    with pytest.raises(InputError, match="whole frames of 8 codes, got 15 ids"):
        chosen.parse(np.delete(GOOD, 17), COMPACT)


def test_what_cannot_be_laid_out_is_refused():
    one = Segment(np.array([7]), np.arange(16).reshape(2, 8))
    with pytest.raises(InputError, match=r"`layout` must be one of audio_first, .*, got 'audiofirst'"):
        layout("audiofirst")
    with pytest.raises(InputError, match="groups of 1, got 0"):
        layout("audio_first").build([], COMPACT)
    with pytest.raises(InputError, match="groups of 2, got 3"):
        layout("speech_translation").build([one] * 3, COMPACT)
    with pytest.raises(InputError, match=r"`num_codebooks` must be in 1\.\.8, .*, got 9"):
        layout("audio_first").build([one], COMPACT, 9)


def test_the_readme_lists_every_layout():
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert [name for name in LAYOUTS if f"`{name}`" not in readme] == []
