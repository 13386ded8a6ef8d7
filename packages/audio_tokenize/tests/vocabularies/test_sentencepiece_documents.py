"""The folder of a SentencePiece vocabulary as `transformers` reads it."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audio_data import InputError, Vocabulary
from audio_tokenize.corpora import open_corpus
from audio_tokenize.documents.strings import DocumentTranscoder
from audio_tokenize.documents.transcode import codes_to_characters
from audio_tokenize.text.sentencepiece_text import SentencePieceText, with_scores
from audio_tokenize.vocabularies.document_tokenizer import tokenizer_files
from audio_tokenize.vocabularies.folder import VocabularyFolder

transformers = pytest.importorskip("transformers")

LINES = sorted({u.text for u in open_corpus("sample-multilingual")})
# Mimi's codes have the comma of Chinese for a character, and this model has it for a piece.
COMMA = "\uff0c"
MORE = [f"<|x|> {COMMA} {COMMA} a{COMMA}b"] * 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    text = SentencePieceText.train(LINES + MORE, 300)
    assert COMMA in {piece.text for piece in text.unigram.pieces}
    vocabulary = Vocabulary.compact("small", text.num_ids, "mimi", 8, 2048, text.fingerprint)
    path = tmp_path_factory.mktemp("vocabulary")
    VocabularyFolder(vocabulary, text).save(path)
    return path


@pytest.fixture(scope="module")
def readers(folder):
    return transformers.AutoTokenizer.from_pretrained(folder), DocumentTranscoder(VocabularyFolder.load(folder))


def audio(seed: int) -> str:
    codes = np.random.default_rng(seed).integers(0, 2048, (3, 8))
    return f"<|audio_start|>{codes_to_characters(codes, 2048)}<|audio_end|>"


inside = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="|"))
transcript = st.one_of(inside, st.sampled_from(LINES), st.sampled_from(["<unk>", "<0x41> ", f"b{COMMA} c", " ", "a  "]))
span = st.one_of(
    transcript, transcript.map(lambda text: f"<|text_start|>{text}<|text_end|>"), st.integers(0, 9).map(audio)
)
documents = st.lists(span, max_size=6).map(lambda spans: f"<|begin_of_text|>{''.join(spans)}<|end_of_text|>")


@given(document=documents)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whole_documents_have_the_same_ids_and_come_back(readers, document):
    auto, transcoder = readers
    ids = transcoder.encode(document)
    assert auto(document)["input_ids"] == ids.tolist()
    assert auto.decode(ids.tolist()) == transcoder.decode(ids)


def test_every_shipped_transcript_has_the_same_ids_in_a_document(readers):
    auto, transcoder = readers
    lines = [f"<|text_start|>{u.text}<|text_end|>{audio(0)}" for u in open_corpus("sample-parallel")]
    assert auto(lines)["input_ids"] == [ids.tolist() for ids in transcoder.encode_batch(lines)]


def test_ids_have_the_roles_of_the_vocabulary(readers, folder):
    auto, _ = readers
    loaded = VocabularyFolder.load(folder)
    vocabulary = loaded.vocabulary
    assert (auto.bos_token_id, auto.eos_token_id) == (vocabulary.begin_of_text, vocabulary.end_of_text)
    assert len(auto) == vocabulary.size
    assert auto.convert_tokens_to_ids("\ue003") == vocabulary.audio_base + 3
    assert auto.convert_tokens_to_ids(COMMA) == vocabulary.audio_base + ord(COMMA) - 0xE000
    ids = loaded.text.encode(f"x{COMMA} y")
    assert auto.decode(ids) == f"x{COMMA} y", "the comma of a transcript that is no document string stays text"


def test_a_model_that_would_be_read_otherwise_is_refused(folder):
    loaded = VocabularyFolder.load(folder)
    assert isinstance(loaded.text, SentencePieceText)
    text = SentencePieceText(with_scores(loaded.text.model, lambda score: score * 1.001))
    with pytest.raises(InputError, match="must be a SentencePiece model that `tokenizers` reads alike, but its scores"):
        tokenizer_files(text, loaded.vocabulary)
