import io
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from audio_data import InputError
from audio_tokenize.text.sentencepiece_text import SentencePieceText, TextTokenizer

LINES = [
    f"{verb} the {colour} {thing} in the {room}"
    for verb in ("open", "close", "paint")
    for colour in ("red", "green", "purple", "yellow")
    for thing in ("window", "door", "box")
    for room in ("kitchen", "bedroom", "garden", "office")
]
TOKENIZER = SentencePieceText.train(LINES, 64)

# U+2581 is SentencePiece's own space; surrogates are no text.
any_text = st.text(st.characters(exclude_characters="\u2581", exclude_categories=["Cs"]))


@given(any_text)
def test_any_text_comes_back(text):
    ids = TOKENIZER.encode(text)
    assert TOKENIZER.decode(ids) == text
    assert all(1 <= i < TOKENIZER.num_ids for i in ids), "0 is the unknown piece, which bytes make unnecessary"


@given(st.lists(any_text, max_size=4))
def test_a_batch_is_its_texts_one_by_one(texts):
    assert TOKENIZER.encode_batch(texts) == [TOKENIZER.encode(text) for text in texts]


def test_the_words_of_a_small_domain_become_single_pieces():
    words = {word for line in LINES for word in line.split()}
    assert {word for word in words if len(TOKENIZER.encode(word)) != 1} == set()
    assert len(TOKENIZER.encode(LINES[0])) == len(LINES[0].split())


def test_markers_typed_in_a_transcript_stay_text():
    text = "<|audio_start|> <0x41> <unk> </s>"
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_training_twice_gives_the_same_bytes():
    again = SentencePieceText.train(list(LINES), 64)
    assert again.model == TOKENIZER.model
    assert again.fingerprint == TOKENIZER.fingerprint
    assert SentencePieceText.train(LINES[:40], 64).fingerprint != TOKENIZER.fingerprint


def test_more_characters_than_pieces_are_spelled_in_bytes():
    lines = ["".join(chr(0x4E00 + (7 * i + j) % 300) for j in range(20)) for i in range(50)]
    tokenizer = SentencePieceText.train(lines, 32)
    assert tokenizer.num_ids <= 257 + 32
    assert tokenizer.decode(tokenizer.encode(lines[3])) == lines[3]


@pytest.mark.parametrize("lines", [["a"], ["go"], ["yes", "no"], ["tab\tand\nnewline", "\x00"]])
def test_the_smallest_corpora_train(lines):
    tokenizer = SentencePieceText.train(lines, 128)
    assert [tokenizer.decode(tokenizer.encode(line)) for line in lines] == lines


def test_saving_and_loading_keeps_everything(tmp_path: Path):
    path = TOKENIZER.save(tmp_path)
    for place in (tmp_path, path):
        loaded = SentencePieceText.load(place)
        assert loaded.fingerprint == TOKENIZER.fingerprint
        assert loaded.encode(LINES[5]) == TOKENIZER.encode(LINES[5])
    assert isinstance(TOKENIZER, TextTokenizer)


def test_sentencepiece_itself_reads_the_file_alike(tmp_path: Path):
    reader = sentencepiece.SentencePieceProcessor(model_file=str(TOKENIZER.save(tmp_path)))
    assert reader.encode(LINES[7]) == TOKENIZER.encode(LINES[7])


def test_what_is_wrong_with_a_model_file_is_said(tmp_path: Path):
    with pytest.raises(InputError, match=r"no SentencePiece model at .*text\.model"):
        SentencePieceText.load(tmp_path / "text.model")
    (tmp_path / "text.model").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="is no SentencePiece model"):
        SentencePieceText.load(tmp_path)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=model, vocab_size=60, hard_vocab_limit=False, minloglevel=2
    )
    (tmp_path / "text.model").write_bytes(model.getvalue())
    with pytest.raises(InputError, match="no byte fallback"):
        SentencePieceText.load(tmp_path)


def test_wrong_arguments_are_refused():
    with pytest.raises(InputError, match="no transcript holds any text"):
        SentencePieceText.train(["", "  "])
    with pytest.raises(InputError, match="`num_pieces` must be at least 8, got 4"):
        SentencePieceText.train(LINES, 4)
    with pytest.raises(InputError, match=r"`ids\[1\]` must be a text id in 0\.\."):
        TOKENIZER.decode([1, TOKENIZER.num_ids])
