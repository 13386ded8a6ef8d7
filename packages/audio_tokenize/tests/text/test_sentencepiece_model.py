import io
import json
from dataclasses import replace

import numpy as np
import pytest
import sentencepiece
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st

from audio_tokenize.corpora import open_corpus
from audio_tokenize.text import sentencepiece_text
from audio_tokenize.text.sentencepiece_model import (
    SCORE_STEP,
    PieceType,
    Unigram,
    read_pieces,
    with_scores,
    without_training_option,
)
from audio_tokenize.text.sentencepiece_text import SentencePieceText

MODEL = SentencePieceText.train(["open the door", "öffne die Tür"], 24).model
READER = sentencepiece.SentencePieceProcessor(model_proto=MODEL)


def test_pieces_are_those_that_sentencepiece_reads():
    pieces = read_pieces(MODEL)
    ids = range(READER.get_piece_size())
    assert [piece.text for piece in pieces] == [READER.id_to_piece(i) for i in ids]
    assert [piece.score for piece in pieces] == [READER.get_score(i) for i in ids]
    assert [piece.type == PieceType.BYTE for piece in pieces] == [READER.is_byte(i) for i in ids]
    assert [i for i in ids if pieces[i].type == PieceType.UNKNOWN] == [READER.unk_id()]


def test_scores_change_and_nothing_else():
    changed = with_scores(MODEL, lambda score: score / 2)
    reader = sentencepiece.SentencePieceProcessor(model_proto=changed)
    for i in range(READER.get_piece_size()):
        assert (reader.id_to_piece(i), reader.get_score(i)) == (READER.id_to_piece(i), READER.get_score(i) / 2)
    assert with_scores(changed, lambda score: score * 2) == MODEL


def test_a_training_option_can_be_left_out():
    assert without_training_option(MODEL, b"no such value") == MODEL


SHIPPED = {
    name: sorted({u.text for u in open_corpus(name)}) for name in ("sample", "sample-multilingual", "sample-parallel")
}
# Pieces `00` and `0`, of which an odd run of zeros can be made in several equally likely ways.
TIES = ["aa bb aab", "b00 a00 00 c00 d0"]
RESERVED = ["<unk> <0x41> <unclear> <0>"] * 20 + ["a▁b\0 <|text_start|> tab\t, and\nline"] * 9
MODELS = [
    SentencePieceText.train(lines, num_pieces)
    for lines, num_pieces in (
        (SHIPPED["sample"], 128),
        (SHIPPED["sample-multilingual"], 64),
        (SHIPPED["sample-multilingual"], 512),
        (SHIPPED["sample-parallel"] + RESERVED, 256),
        (TIES, 12),
        (["a"], 8),
    )
]

any_text = st.text(st.characters(exclude_categories=["Cs"]))
spoken = st.sampled_from([line for lines in SHIPPED.values() for line in lines])
fragment = st.sampled_from(
    ["<", "unk", ">", "<unk>", "<0x41>", "<<0x", "FF>", " ", "  ", "▁", "0", "00", "a", "\0", "é"]
)
texts = st.one_of(any_text, spoken, st.lists(st.one_of(fragment, spoken, any_text), max_size=12).map("".join))


def in_tokenizers(text: SentencePieceText) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_str(json.dumps(text.unigram.to_json()))


READERS = [(model, in_tokenizers(model)) for model in MODELS]


@given(texts)
@example("<unk> <0x41>")
@example("000")
@example(" ")
@example("▁")
def test_tokenizers_cuts_and_joins_every_text_alike(text):
    for model, reader in READERS:
        ids = model.encode(text)
        assert reader.encode(text).ids == ids
        assert reader.decode(ids) == model.decode(ids)


def test_tokenizers_cuts_all_shipped_transcripts_alike():
    for model, reader in READERS:
        for lines in SHIPPED.values():
            assert [found.ids for found in reader.encode_batch(lines)] == model.encode_batch(lines)


def test_scores_as_they_are_trained_would_break_ties_otherwise(monkeypatch):
    """Which is why they are rounded: this test has the power to see it."""
    runs = ["0" * length for length in range(1, 60)]
    monkeypatch.setattr(sentencepiece_text, "round_score", float)
    trained = SentencePieceText.train(TIES, 12)
    read = [found.ids for found in in_tokenizers(trained).encode_batch(runs)]
    assert sum(ids != other for ids, other in zip(trained.encode_batch(runs), read, strict=True)) > 9
    assert "scores are not all multiples" in trained.unigram.obstacle


def test_rounding_changes_no_cut_of_a_shipped_transcript(monkeypatch):
    monkeypatch.setattr(sentencepiece_text, "round_score", float)
    for (lines, num_pieces), rounded in zip(
        ((SHIPPED["sample"], 128), (SHIPPED["sample-multilingual"], 64)), MODELS, strict=False
    ):
        assert SentencePieceText.train(lines, num_pieces).encode_batch(lines) == rounded.encode_batch(lines)


def test_sums_of_the_longest_exact_texts_are_exact_in_single_precision():
    for model in MODELS:
        scores = [piece.score for piece in model.unigram.pieces]
        unknown = min(scores) - 10
        sums = np.float32(unknown) * np.arange(model.unigram.max_exact_characters + 2, dtype=np.float32)
        assert len(sums) > 12_000
        assert (np.spacing(np.abs(sums)) <= SCORE_STEP).all(), "single precision tells every multiple from the next"


@given(texts, st.integers(1, 6))
@example("a  b ", 1)
@example(" a b", 1)
@example("  ", 1)
def test_long_texts_are_encoded_in_parts_that_make_up_the_whole(text, longest):
    for model in MODELS:
        parts = SentencePieceText(model.model)
        parts.unigram = replace(model.unigram)
        parts.unigram.__dict__["max_exact_characters"] = longest
        assert parts.encode(text) == sentencepiece.SentencePieceProcessor(model_proto=model.model).encode(text)


def test_a_long_text_has_the_ids_of_tokenizers():
    model, reader = READERS[4]
    text = "0 00 000é " * 9000 + "0" * 9999
    assert model.encode(text) == reader.encode(text).ids


def sentencepiece_model(**options) -> Unigram:
    model = io.BytesIO()
    options = {
        "vocab_size": 400,
        "hard_vocab_limit": False,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "unk_id": 0,
        "bos_id": -1,
        "eos_id": -1,
    } | options
    lines = iter(SHIPPED["sample-parallel"])
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=lines, model_writer=model, minloglevel=2, **options)
    return Unigram.read(model.getvalue())


@pytest.mark.parametrize(
    ("options", "obstacle"),
    [
        ({}, "scores are not all multiples"),
        ({"model_type": "bpe"}, "no unigram model"),
        ({"normalization_rule_name": "nmt_nfkc"}, "changes texts"),
        ({"add_dummy_prefix": False}, "changes texts"),
        ({"remove_extra_whitespaces": True}, "changes texts"),
        ({"bos_id": 1}, "not learned must be <unk> and 256 bytes"),
        ({"byte_fallback": False}, "not learned must be <unk> and 256 bytes"),
        ({"user_defined_symbols": ["<laugh>"]}, "not learned must be <unk> and 256 bytes"),
        ({"unk_piece": "<?>"}, "not learned must be <unk> and 256 bytes"),
        ({"split_by_whitespace": False}, "holds a space inside"),
    ],
)
def test_models_that_would_be_read_otherwise_are_told_apart(options, obstacle):
    model = sentencepiece_model(**options)
    assert obstacle in model.obstacle
    assert model.max_exact_characters == float("inf")


def test_a_piece_that_crosses_a_reserved_one_is_told():
    unigram = MODELS[0].unigram
    pieces = (*unigram.pieces, unigram.pieces[-1]._replace(text="a<u"))
    assert "'a<u' holds" in replace(unigram, pieces=pieces).obstacle
