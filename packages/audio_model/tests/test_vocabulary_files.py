import json

import pytest

from audio_model import InputError, SpecialIds, save_model
from audio_model.vocabulary_files import (
    check_vocabulary,
    copy_vocabulary,
    count_ids,
    special_ids_of_model,
    special_ids_of_vocabulary,
)

# As audio-data writes it: 40 text ids, six specials, two codebooks of 16.
VOCABULARY = {
    "name": "small",
    "num_text": 40,
    "begin_of_text": 40,
    "end_of_text": 41,
    "text_start": 42,
    "text_end": 43,
    "audio_start": 44,
    "audio_end": 45,
    "audio_base": 46,
    "num_codebooks": 2,
    "codebook_size": 16,
}
TOKENIZER = {
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []},
    "added_tokens": [{"id": 9, "content": "<s>"}, {"id": 5, "content": "</s>"}, {"id": 7, "content": "<pad>"}],
}
ROLES = {"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": False}, "pad_token": None}


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "vocabulary-of-data"
    path.mkdir()
    (path / "vocabulary.json").write_text(json.dumps(VOCABULARY))
    (path / "text.model").write_bytes(b"pieces")
    return path


@pytest.fixture
def tokenizer(tmp_path):
    path = tmp_path / "tokenizer"
    path.mkdir()
    (path / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    (path / "tokenizer_config.json").write_text(json.dumps(ROLES))
    return path


def test_ids_of_a_vocabulary(folder):
    assert count_ids(folder) == 46 + 32
    assert special_ids_of_vocabulary(folder) == SpecialIds(begin=40, end=41)


def test_ids_of_a_tokenizer(tokenizer):
    assert count_ids(tokenizer) == 10
    assert special_ids_of_vocabulary(tokenizer) == SpecialIds(begin=9, end=5, padding=None)
    pieces = {"model": {"type": "Unigram", "vocab": [["x", -1.0], ["y", -2.0]]}, "added_tokens": []}
    (tokenizer / "tokenizer.json").write_text(json.dumps(pieces))
    assert count_ids(tokenizer) == 2


def test_ids_of_a_model(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}))
    assert special_ids_of_model(tmp_path) == SpecialIds(begin=1, end=2)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 3], "pad_token_id": 4}))
    assert special_ids_of_model(tmp_path) == SpecialIds(begin=1, end=(2, 3), padding=4)


def test_a_vocabulary_travels_with_the_weights(tiny, folder, tmp_path):
    save_model(tmp_path / "model", tiny, vocabulary=folder)
    for name in ("vocabulary.json", "text.model"):
        assert (tmp_path / "model/vocabulary" / name).read_bytes() == (folder / name).read_bytes()
    assert special_ids_of_model(tmp_path / "model") == SpecialIds(begin=40, end=41)


def test_of_a_bare_tokenizer_only_its_files_are_copied(tokenizer, tmp_path):
    (tokenizer / "README.md").write_text("not a tokenizer's")
    (tmp_path / "out").mkdir()
    copy_vocabulary(tokenizer, tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["tokenizer.json", "tokenizer_config.json"]


def test_a_vocabulary_of_other_weights_is_refused(tiny, folder, tmp_path):
    (folder / "vocabulary.json").write_text(json.dumps(VOCABULARY | {"codebook_size": 26}))
    with pytest.raises(InputError, match="needs 98 embedding rows, but the weights have 97"):
        save_model(tmp_path / "model", tiny, vocabulary=folder)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"name": "small"},
            "must be a vocabulary of audio-data; it lacks a whole number of at least 0 for num_text, begin_of_text, ",
        ),
        (["small"], "must hold a JSON object"),
        (None, "must hold vocabulary.json or tokenizer.json; it holds neither"),
    ],
)
def test_what_is_no_vocabulary_is_refused(folder, content, message):
    if content is None:
        (folder / "vocabulary.json").unlink()
    else:
        (folder / "vocabulary.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        check_vocabulary(folder, 97)


def test_what_is_no_tokenizer_is_refused(tokenizer):
    (tokenizer / "tokenizer.json").write_text(json.dumps({"version": "1.0"}))
    with pytest.raises(InputError, match=r"must be a tokenizer of the tokenizers library: `model\.vocab` must give"):
        count_ids(tokenizer)


def test_padding_that_ends_texts_stays_out_of_the_model():
    assert SpecialIds(begin=1, end=2, padding=2).to_model_json() == {"bos_token_id": 1, "eos_token_id": 2}
    assert SpecialIds(begin=1, end=2, padding=2).to_json()["pad_token_id"] == 2
