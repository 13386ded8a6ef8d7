from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from audio_data import InputError, Vocabulary
from audio_tokenize.documents.layout import Segment
from audio_tokenize.documents.layouts import LAYOUTS, layout

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
    num_groups = data.draw(st.integers(1, 3 if chosen.repeats else 1))
    size = num_groups * chosen.group_size
    segments = data.draw(st.lists(segment, min_size=size, max_size=size))
    beginning = data.draw(st.sampled_from(["single", "double"]))
    ids, loss_mask = chosen.document(segments, vocabulary, num_codebooks, begin_of_text=beginning)
    added = [vocabulary.begin_of_text] if beginning == "double" else []
    assert ids.tolist() == added + chosen.build(segments, vocabulary, num_codebooks).tolist()
    assert ids.dtype == np.int32
    assert (loss_mask is None) == (not chosen.num_prompt_spans)
    if loss_mask is not None:
        once = chosen.document(segments, vocabulary, num_codebooks)[1]
        assert loss_mask.tolist() == [False for _ in added] + once.tolist()
    holds = {(span.kind, span.segment) for span in chosen.pattern}
    kinds = {kind for kind, _ in holds}
    assert (chosen.has_text, chosen.has_audio) == ("text" in kinds, "audio" in kinds)
    kept = min(num_codebooks, chosen.max_codebooks or num_codebooks)
    for told in (None, kept):
        parsed = chosen.parse(ids, vocabulary, told)
        assert len(parsed) == len(segments)
        for i, (before, after) in enumerate(zip(segments, parsed, strict=True)):
            place = i % chosen.group_size
            assert np.array_equal(after.text_ids, before.text_ids if ("text", place) in holds else [])
            if ("audio", place) in holds:
                assert np.array_equal(after.codes, before.codes[:, :kept])
            else:
                assert after.codes.size == 0


# A vocabulary in which the id of a character is its number, and audio characters are those of published documents.
CHARACTERS = Vocabulary.compact("characters", 512, "mimi", NUM_CODEBOOKS, 2048, "characters")
FIRST_CHARACTER = 0xE000
MARKERS = ("begin_of_text", "end_of_text", "text_start", "text_end", "audio_start", "audio_end")


def ids_of(document: str) -> list[int]:
    """The ids of a published document string, one marker or character at a time."""
    ids = []
    while document:
        marker = next((name for name in MARKERS if document.startswith(f"<|{name}|>")), None)
        if marker is not None:
            ids.append(getattr(CHARACTERS, marker))
            document = document.removeprefix(f"<|{marker}|>")
        else:
            number = ord(document[0])
            audio = number >= FIRST_CHARACTER
            ids.append(number - FIRST_CHARACTER + CHARACTERS.audio_base if audio else number)
            document = document[1:]
    return ids


def a(codes) -> str:
    return f"<|audio_start|>{audio_characters(codes)}<|audio_end|>"


def audio_characters(codes) -> str:
    return "".join(chr(FIRST_CHARACTER + 2048 * k + int(frame[k])) for frame in codes for k in range(len(frame)))


def t(text: str) -> str:
    return f"<|text_start|>{text}<|text_end|>"


def bounded(content: str) -> str:
    return f"<|begin_of_text|>{content}<|end_of_text|>"


def translation(utterances) -> str:
    (one, source, first), (two, target, second) = utterances
    return bounded(
        a(one) + t(f"<language>{first}</language>{source}") + t(f"<language>{second}</language>{target}") + a(two)
    )


# Of (codes, text, language) for each utterance; the speakers alternate.
TEMPLATES = {
    "audio_first": lambda us: bounded("".join(a(codes) + t(text) for codes, text, _ in us)),
    "text_first": lambda us: bounded("".join(t(text) + a(codes) for codes, text, _ in us)),
    "acoustic": lambda us: bounded("".join(a(codes) for codes, _, _ in us)),
    "semantic": lambda us: bounded(
        "".join(f"<|audio_start|>{audio_characters(codes)[::8]}<|audio_end|>" for codes, _, _ in us)
    ),
    "text": lambda us: bounded(us[0][1]),
    "tts0": lambda us: bounded("".join(t(text) + a(codes) for codes, text, _ in us)).replace(
        "<|text_start|>", "<|text_start|>[0]"
    ),
    "conversational": lambda us: bounded(
        "".join(t(f"[{i % 2}]{text}") + a(codes) for i, (codes, text, _) in enumerate(us))
    ),
    "asr_evaluation": lambda us: "".join(a(codes) + t(text) for codes, text, _ in us),
    "tts_evaluation": lambda us: "".join(t(text) + a(codes) for codes, text, _ in us),
    "speech_translation": translation,
    "speech_translation_sft": translation,
    "direct_speech_translation": lambda us: bounded(a(us[0][0]) + t(f"<language>{us[1][2]}</language>") + a(us[1][0])),
}


@pytest.mark.parametrize("name", LAYOUTS)
@given(st.data())
def test_documents_are_the_published_strings(name, data):
    chosen = LAYOUTS[name]
    num_utterances = 2 if chosen.group_size == 2 else data.draw(st.integers(1, 3 if chosen.repeats else 1))
    texts = st.text(st.characters(max_codepoint=255, exclude_characters="<"), max_size=8)
    frames = st.integers(1, 3).flatmap(lambda n: hnp.arrays(np.uint16, (n, 8), elements=st.integers(0, 2047)))
    utterances = [
        (data.draw(frames), data.draw(texts), data.draw(st.sampled_from(["de", "en", "fr"])))
        for _ in range(num_utterances)
    ]
    segments = [
        Segment(np.array([ord(c) for c in chosen.render(text, speaker=i % 2, language=language)], np.int32), codes)
        for i, (codes, text, language) in enumerate(utterances)
    ]
    assert chosen.build(segments, CHARACTERS).tolist() == ids_of(TEMPLATES[name](utterances))


@pytest.mark.parametrize("name", LAYOUTS)
@given(text=st.text(max_size=20), speaker=st.integers(0, 12), language=st.sampled_from(["de", "sv-SE"]))
def test_a_spelled_transcript_is_read_back(name, text, speaker, language):
    said = {"text": text, "speaker": str(speaker), "language": language}
    read = layout(name).parse_rendered(layout(name).render(text, speaker=speaker, language=language))
    assert read == {field: said[field] for field in read}
    assert all(field in read for field in said if f"{{{field}}}" in layout(name).transcript)


def test_a_text_in_another_form_is_refused():
    with pytest.raises(InputError, match=r"layout `tts0` must have the form '\[0\]\{text\}', got '\[1\]hello'"):
        layout("tts0").parse_rendered("[1]hello")


@pytest.mark.parametrize(
    ("name", "first_taught"),
    [("speech_translation_sft", COMPACT.text_start), ("direct_speech_translation", COMPACT.audio_start)],
)
def test_loss_is_on_the_response_and_the_end_of_text(name, first_taught):
    one = Segment(np.array([7, 8]), np.arange(16).reshape(2, 8))
    other = Segment(np.array([9]), np.arange(24).reshape(3, 8))
    ids, loss_mask = layout(name).document([one, other], COMPACT)
    assert loss_mask is not None
    in_loss = int(np.flatnonzero(loss_mask)[0])
    assert ids[in_loss] == first_taught
    assert not loss_mask[:in_loss].any()
    assert loss_mask[in_loss:].all()
    prompt = [COMPACT.begin_of_text, COMPACT.audio_start, *COMPACT.audio_ids(one.codes.astype(np.int32))]
    assert ids[: len(prompt)].tolist() == prompt
    instruction_text = 0 if name == "speech_translation_sft" else 3  # text_start, 9, text_end
    assert in_loss == len(prompt) + 1 + instruction_text


def test_a_prompt_is_the_document_up_to_what_is_asked_for():
    one = Segment(np.array([7, 8]), np.arange(16).reshape(2, 8))
    for name in ("audio_first", "text_first", "tts_evaluation"):
        chosen = layout(name)
        document, prompt = chosen.build([one, one], COMPACT, 3), chosen.prompt([one, one], COMPACT, 3)
        assert np.array_equal(prompt, document[: len(prompt)])
        assert prompt[-1] == (COMPACT.text_start if name == "audio_first" else COMPACT.audio_start)
        assert set(document[len(prompt) :].tolist()).isdisjoint({COMPACT.text_start, COMPACT.audio_start})
    assert layout("text").prompt([one], COMPACT).tolist() == [COMPACT.begin_of_text]


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


def test_a_third_begin_of_text_is_refused():
    chosen, begin = layout("audio_first"), [COMPACT.begin_of_text]
    assert len(chosen.parse(np.concatenate([begin, GOOD]), COMPACT)) == 1
    with pytest.raises(InputError, match=r"`ids\[2\]` .* must be id 54, got 50"):
        chosen.parse(np.concatenate([begin, begin, GOOD]), COMPACT)


def test_plain_text_ends_with_end_of_text_and_nothing_else():
    begin, end = COMPACT.begin_of_text, COMPACT.end_of_text
    [one] = layout("text").parse(np.array([begin, 7, 8, end]), COMPACT)
    assert one.text_ids.tolist() == [7, 8]
    with pytest.raises(InputError, match=r"`ids\[3\]` .* must be id 51, got the end of the document"):
        layout("text").parse(np.array([begin, 7, 8]), COMPACT)
    with pytest.raises(InputError, match=r"`ids\[2\]` .* must be id 51, got 52"):
        layout("text").parse(np.array([begin, 7, COMPACT.text_start, end]), COMPACT)


def test_what_cannot_be_laid_out_is_refused():
    one = Segment(np.array([7]), np.arange(16).reshape(2, 8))
    with pytest.raises(InputError, match=r"`layout` must be one of audio_first, .*, got 'audiofirst'"):
        layout("audiofirst")
    with pytest.raises(InputError, match="groups of 1, got 0"):
        layout("audio_first").build([], COMPACT)
    with pytest.raises(InputError, match="groups of 2, got 3"):
        layout("speech_translation").build([one] * 3, COMPACT)
    with pytest.raises(InputError, match="one group of 1, got 2"):
        layout("text").build([one] * 2, COMPACT)
    with pytest.raises(InputError, match=r"`num_codebooks` must be in 1\.\.8, .*, got 9"):
        layout("audio_first").build([one], COMPACT, 9)


def test_the_readme_lists_every_layout():
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert [name for name in LAYOUTS if f"`{name}`" not in readme] == []
