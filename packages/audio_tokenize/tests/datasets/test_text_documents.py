import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_data import InputError, Vocabulary
from audio_tokenize.corpora.text_files import TextDocument
from audio_tokenize.datasets.text_documents import base_id, count_frames, recognize_layout, text_encoder
from audio_tokenize.documents.layout import Segment
from audio_tokenize.documents.layouts import LAYOUTS
from audio_tokenize.documents.strings import DocumentTranscoder
from audio_tokenize.text.sentencepiece_text import SentencePieceText
from audio_tokenize.vocabularies.folder import VocabularyFolder


@pytest.fixture(scope="module")
def folder() -> VocabularyFolder:
    text = SentencePieceText.train(["hello there, how are you", "open the door"], 16)
    return VocabularyFolder(Vocabulary.compact("small", text.num_ids, "mimi", 8, 2048, text.fingerprint), text)


def segments(folder, layout, texts):
    random = np.random.default_rng(0)
    return [
        Segment(
            np.array(folder.text.encode(layout.render(text, speaker=i % 3, language="en")), np.int32),
            random.integers(0, 2048, (2 + i, 8)).astype(np.int32),
        )
        for i, text in enumerate(texts)
    ]


RECOGNIZABLE = sorted(set(LAYOUTS) - {"text", "speech_translation_sft", "direct_speech_translation"})


@pytest.mark.parametrize("name", RECOGNIZABLE)
def test_strings_and_layouts_agree(folder, name):
    """A document as `documents` lays it out, spelled as a string, comes back: ids, layout, frames and codebooks."""
    layout = LAYOUTS[name]
    num_texts = {"asr_evaluation": 1, "tts_evaluation": 1}.get(name, 4)
    parts = segments(folder, layout, ["hello", "open the door", "you", "how"][:num_texts])
    ids = layout.build(parts, folder.vocabulary)
    document = DocumentTranscoder(folder).decode(ids)
    assert np.array_equal(DocumentTranscoder(folder).encode(document), ids)
    num_codebooks = 1 if name == "semantic" else 8
    assert count_frames(ids, folder.vocabulary) == (sum(len(part.codes) for part in parts), num_codebooks)
    assert recognize_layout(document, num_codebooks) == name


def test_a_layout_that_is_none_is_not_recognized():
    audio, text, begin = "<|audio_start|><|audio_end|>", "<|text_start|>x<|text_end|>", "<|begin_of_text|>"
    assert recognize_layout("just text", 0) == "text"
    assert recognize_layout(begin + audio + text + text, 8) is None
    assert recognize_layout(begin + text + audio + text, 8) is None
    assert recognize_layout(begin + audio + text + text + audio, 8) is None
    assert recognize_layout(audio + text + audio + text, 8) is None


@given(st.integers(0, 3), st.integers(1, 8), st.text(max_size=5))
def test_frames_are_counted_whatever_the_text_holds(folder, num_frames, num_codebooks, text):
    codes = np.random.default_rng(0).integers(0, 2048, (num_frames, num_codebooks))
    vocabulary = folder.vocabulary
    edges = [[vocabulary.audio_start], [vocabulary.audio_end]]
    ids = np.concatenate([edges[0], edges[1], edges[0], vocabulary.audio_ids(codes), edges[1]]).astype(np.int32)
    stray = DocumentTranscoder(folder).encode(text)
    expected = (num_frames, num_codebooks) if num_frames else (0, 0)
    assert count_frames(np.concatenate([stray, ids, stray]), vocabulary) == expected


@pytest.mark.parametrize(
    ("document_id", "expected"),
    [
        ("y9xAbC_-012_type1", "y9xAbC_-012"),
        ("y9xAbC_-012_type2", "y9xAbC_-012"),
        ("common_voice_en_1.mp3_type2", "common_voice_en_1.mp3"),
        ("EN_B00000_S00000_type1", "EN_B00000_S00000"),
        ("a_typewriter", "a_typewriter"),
        ("_type1", "_type1"),
        ("84_121123_000007_000001#84_121123_000008_000000", "84_121123"),
        ("84_121123_000008_000000#84_121123_000008_000001", "84_121123"),
        ("84_121123_1#85_121123_1", "84_121123_1#85_121123_1"),
        ("https://a.example/x#y", "https://a.example/x#y"),
        ("dev-clean/84/121123/84-121123-0000", "dev-clean/84/121123/84-121123-0000"),
    ],
)
def test_what_renderings_share_is_read_off_the_id(document_id, expected):
    assert base_id(document_id) == expected


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=4))
def test_a_plain_text_stands_between_begin_and_end_and_a_marker_in_it_is_text(folder, texts):
    texts = [f"{text}<|end_of_text|>\uff0c\ue000" for text in texts]
    encoder = text_encoder("text", folder)
    documents = encoder.encode(encoder.prepare([TextDocument(str(i), text, {}) for i, text in enumerate(texts)]))
    for text, document in zip(texts, documents, strict=True):
        begin, *ids, end = document.ids.tolist()
        assert (begin, end) == (folder.vocabulary.begin_of_text, folder.vocabulary.end_of_text)
        assert ids == folder.text.encode(text)
        assert max(ids) < folder.vocabulary.num_text
        assert document.metadata["layout"] == "text"


def test_texts_that_cannot_be_encoded_are_refused_or_counted(folder):
    records = [
        TextDocument(*record, {"lang": "de"}) for record in (("a", "x"), ("b", ""), ("c", "y\udc00"), ("d", "z"))
    ]
    for bad, message in ((1, r"`b`: expected text, got none"), (2, r"`c`: character 1: .* got U\+DC00, half a pair")):
        with pytest.raises(InputError, match=message):
            text_encoder("text", folder).prepare([records[0], records[bad]])
    encoder = text_encoder("text", folder, lenient=True)
    found = encoder.encode(encoder.prepare(records))
    assert [document.metadata["id"] for document in found] == ["a", "d"]
    assert {document.metadata["language"] for document in found} == {"de"}
    assert encoder.counts == {"documents": 4, "dropped_empty": 1, "dropped_characters": 1}
    with pytest.raises(InputError, match=r"`b`: expected text, got none"):
        text_encoder("document", folder).prepare(records[:2])
    encoder = text_encoder("document", folder, lenient=True)
    assert [record.id for record, _ in encoder.prepare(records)] == ["a", "d"]
    dropped = {"dropped_empty": 1, "dropped_characters": 1, "audio_characters_in_text": 0}
    assert encoder.counts == {"documents": 4, **dropped}


def test_arguments_out_of_range_are_named(folder):
    with pytest.raises(InputError, match=r"`frame_rate_hz` must be above 0, got 0"):
        text_encoder("document", folder, frame_rate_hz=0)
    with pytest.raises(InputError, match="`begin_of_text` of plain texts must be 'single', got 'double'"):
        text_encoder("text", folder, begin_of_text="double")
    with pytest.raises(InputError, match="`text_spaces` is of plain texts, got 'after' for documents"):
        text_encoder("document", folder, text_spaces="after")
