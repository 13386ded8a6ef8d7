import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_data import Vocabulary
from audio_tokenize.documents.layout import Segment
from audio_tokenize.documents.layouts import LAYOUTS
from audio_tokenize.documents.passages import read_ids, read_string
from audio_tokenize.documents.transcode import codes_to_characters

VOCABULARY = Vocabulary.compact("v", 50, "tiny-v1", 4, 16, "t")
BOS, EOS, TEXT, TEXT_END, AUDIO, AUDIO_END = VOCABULARY.special_ids


def segments(number: int, num_codebooks: int = 4) -> list[Segment]:
    random = np.random.default_rng(number)
    return [
        Segment(random.integers(0, 50, 5), random.integers(0, 16, (frames, num_codebooks)))
        for frames in range(3, 3 + number)
    ]


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=lambda layout: layout.name)
def test_every_layout_is_read_without_being_named(layout):
    content = segments(layout.group_size * (2 if layout.repeats else 1))
    ids = layout.build(content, VOCABULARY)
    found = read_ids(ids, VOCABULARY)
    assert found.problem is None
    assert [p.start for p in found.passages] == [0, *(p.stop for p in found.passages[:-1])]
    assert found.passages[-1].stop == len(ids) == found.num_tokens
    expected = layout.parse(ids, VOCABULARY, layout.kept_codebooks(4))
    if layout.group_size == 1:
        texts = [p.text for p in found.passages if p.kind == "text"]
        assert texts == [" ".join(map(str, s.text_ids)) for s in expected if len(s.text_ids)]
    audio = [p.codes for p in found.passages if p.codes is not None]
    assert len(audio) == sum(p.kind == "audio" for p in found.passages)
    assert all(np.array_equal(a, s.codes) for a, s in zip(audio, [s for s in expected if len(s.codes)], strict=True))


def test_a_published_string_gives_the_same_as_its_ids():
    vocabulary = Vocabulary.compact("v", 300, "mimi", 8, 2048, "bytes")
    codes = np.random.default_rng(0).integers(0, 2048, (5, 8))
    text = "caf\N{LATIN SMALL LETTER E WITH ACUTE}\nau lait"
    document = (
        f"<|begin_of_text|><|audio_start|>{codes_to_characters(codes)}<|audio_end|>"
        f"<|text_start|>{text}<|text_end|><|end_of_text|>"
    )
    ids = LAYOUTS["audio_first"].build([Segment(np.frombuffer(text.encode(), np.uint8), codes)], vocabulary)
    from_string = read_string(document)
    from_ids = read_ids(ids, vocabulary, lambda ids: bytes(ids).decode())
    assert from_string.problem is from_ids.problem is None
    for one, other in zip(from_string.passages, from_ids.passages, strict=True):
        assert (one.kind, one.text) == (other.kind, other.text)
        assert (one.codes is None) == (other.codes is None)
        assert one.codes is None or other.codes is None or np.array_equal(one.codes, other.codes)


def letters(ids: np.ndarray) -> str:
    """A document with one letter a token: marks, `x` for text, the codebook for audio, `?` for what is no id."""
    marks = dict(zip(VOCABULARY.special_ids, "BETtAa", strict=True))
    return "".join(
        marks.get(i) or ("x" if 0 <= i < 50 else str((i - 56) // 16) if 56 <= i < 120 else "?") for i in ids.tolist()
    )


def first_wrong(written: str) -> int | None:
    """The first token after which no document can be, by trying every way to go on; `None` of a whole document."""

    def whole(text: str) -> bool:
        frames = ("".join(map(str, range(k))) for k in range(1, 5))
        spans = "|".join(f"(?:A(?:{frame})*a|Tx*t)+E?" for frame in frames)
        return bool(re.fullmatch(f"B*(?:{spans})|B*x+E?|B+E", text))

    ways = ["", "E", "t", "xE", *(f"{'0123'[i:k]}a" for k in range(1, 5) for i in range(k)), "a"]
    for position in range(len(written)):
        if not any(whole(written[: position + 1] + way) for way in ways):
            return position
    return None if whole(written) else len(written)


@given(
    st.integers(0, 10_000),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(-1, 125)), max_size=2),
    st.integers(0, 40),
)
def test_the_first_wrong_token_is_named(seed, changes, cut):
    random = np.random.default_rng(seed)
    layout = LAYOUTS[("audio_first", "text_first", "acoustic", "semantic", "text", "asr_evaluation")[seed % 6]]
    content = [
        Segment(random.integers(0, 50, random.integers(1, 4)), random.integers(0, 16, (random.integers(1, 4), 4)))
        for _ in range(2 if layout.repeats else 1)
    ]
    ids = layout.build(content, VOCABULARY)
    ids = ids[: max(1, len(ids) - cut)]
    for place, value in changes:
        ids[place % len(ids)] = value
    found, wrong = read_ids(ids, VOCABULARY), first_wrong(letters(ids))
    if wrong is None:
        assert found.problem is None
    else:
        assert found.problem is not None
        assert found.problem.startswith(f"`ids[{wrong}]` must be "), (letters(ids), found.problem)
        assert all(passage.stop <= wrong for passage in found.passages)


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ("<|audio_start|>\ue000\ue801", r"`characters\[17\]` must be <\|audio_end\|>, got the end of the document"),
        ("<|text_start|>a<|audio_end|>", r"`characters\[15\]` must be <\|text_end\|>, got <\|audio_end\|>"),
        (
            "<|audio_start|>\ue000\ue801x<|audio_end|>",
            r"`characters\[17\]` must be a code of codebook 2 of 3, got U\+0078",
        ),
        (
            "<|audio_start|>\ue000\ue800\ue001<|audio_end|>",
            r"`characters\[18\]` must be a code of codebook 1 of 2, got <\|",
        ),
        (
            "<|end_of_text|>",
            r"`characters\[0\]` must be <\|begin_of_text\|> or <\|audio_start\|> or .*got <\|end_of_text",
        ),
        ("<|audio_start|>\ud800<|audio_end|>", r"`characters\[15\]` must be a code of codebook 0 of 1, got U\+D800"),
    ],
)
def test_a_broken_string_is_read_up_to_its_first_wrong_character(document, problem):
    found = read_string(document)
    assert found.problem is not None
    assert re.match(problem, found.problem)
