import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from audio_data import InputError
from audio_tokenize.encoding.encoded import EncodedCorpus
from audio_tokenize.encoding.jobs import encode_corpus
from audio_tokenize.text.sentencepiece_text import SentencePieceText, with_scores
from audio_tokenize.vocabularies.document_tokenizer import FILE_NAMES
from audio_tokenize.vocabularies.folder import VocabularyFolder


@pytest.fixture(scope="module")
def encoded(tmp_path_factory, corpus, codec) -> EncodedCorpus:
    folder = tmp_path_factory.mktemp("codes")
    encode_corpus(corpus, codec, folder, num_frame_offsets=2)
    return EncodedCorpus.open(folder)


@pytest.fixture(scope="module")
def made(encoded, codec) -> VocabularyFolder:
    return VocabularyFolder.train([encoded], codec, num_pieces=64)


def test_ids_are_text_then_specials_then_codes(made, codec):
    vocabulary = made.vocabulary
    assert vocabulary.num_text == made.text.num_ids == vocabulary.begin_of_text
    assert vocabulary.audio_base == vocabulary.num_text + 6
    assert vocabulary.size == vocabulary.audio_base + 8 * 16
    assert (vocabulary.codec_id, vocabulary.text_tokenizer) == ("tiny-v1", made.text.fingerprint)


def test_pieces_come_from_the_train_split_once_a_phase(made, corpus):
    lines = [u.text for u in corpus if u.split == "train"]
    assert made.text.fingerprint == SentencePieceText.train(lines, 64).fingerprint
    assert len(made.text.encode("green")) == 1
    assert len(made.text.encode("close")) > 1, "said in the held-out split only"


def test_a_corpus_without_a_train_split_teaches_all_it_has(tmp_path: Path, corpus, codec):
    encode_corpus(corpus, codec, tmp_path, splits=["heldout"])
    made = VocabularyFolder.train([EncodedCorpus.open(tmp_path)], codec)
    assert len(made.text.encode("close it")) == 2


def test_a_saved_folder_comes_back(tmp_path: Path, made, codec):
    made.save(tmp_path / "vocabulary")
    assert {p.name for p in (tmp_path / "vocabulary").iterdir()} == {
        "vocabulary.json",
        "text.model",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "codebooks.safetensors",
    }
    loaded = VocabularyFolder.load(tmp_path / "vocabulary")
    assert loaded.vocabulary == made.vocabulary
    assert isinstance(loaded.text, SentencePieceText)
    assert loaded.text.model == made.text.model
    assert loaded.codebooks is not None
    assert loaded.codebooks.dtype == np.float32
    assert np.array_equal(loaded.codebooks, codec.codebook_vectors())
    made.save(tmp_path / "vocabulary")


def test_what_it_is_shown_as_leaves_the_files_out(made):
    assert len(repr(made)) < 4000


def test_a_folder_of_before_the_tokenizer_files_loads_and_gets_them(tmp_path: Path, made):
    made.save(tmp_path)
    expected = {name: (tmp_path / name).read_bytes() for name in FILE_NAMES}
    for name in FILE_NAMES:
        (tmp_path / name).unlink()
    loaded = VocabularyFolder.load(tmp_path)
    loaded.save(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in FILE_NAMES} == expected


def test_a_model_whose_scores_are_not_rounded_gets_no_tokenizer_files(tmp_path: Path, made):
    """As those that were trained before scores were rounded."""
    text = SentencePieceText(with_scores(made.text.model, lambda score: score * 1.001))
    old = replace(made, text=text, vocabulary=replace(made.vocabulary, text_tokenizer=text.fingerprint))
    old.save(tmp_path)
    assert not any((tmp_path / name).exists() for name in FILE_NAMES)
    loaded = VocabularyFolder.load(tmp_path).text
    assert isinstance(loaded, SentencePieceText)
    assert loaded.model == text.model


def test_a_different_vocabulary_is_refused(tmp_path: Path, made, encoded, codec):
    made.save(tmp_path)
    other = VocabularyFolder.train([encoded], codec, num_pieces=8)
    with pytest.raises(InputError, match="already holds another vocabulary: its `num_text` is"):
        other.save(tmp_path)


def test_files_of_different_vocabularies_do_not_mix(tmp_path: Path, made, encoded, codec):
    made.save(tmp_path)
    other = VocabularyFolder.train([encoded], codec, num_pieces=8)
    assert isinstance(other.text, SentencePieceText)
    other.text.save(tmp_path)
    with pytest.raises(InputError, match=r"text\.model` must have the SHA-256 .* got .*: it is damaged, so restore it"):
        VocabularyFolder.load(tmp_path)
    # As an older version wrote it, without checksums.
    made.vocabulary.write(tmp_path / "vocabulary.json")
    with pytest.raises(InputError, match=r"text\.model` must be sentencepiece:.* it belongs to another vocabulary"):
        VocabularyFolder.load(tmp_path)
    made.text.save(tmp_path)
    codebooks = tmp_path / "codebooks.safetensors"
    codebooks.write_bytes(safetensors.numpy.save({"codebooks": made.codebooks[:4]}))
    with pytest.raises(InputError, match=r"must hold 8 codebooks of 16, got \(4, 16, 1\)"):
        VocabularyFolder.load(tmp_path)
    for content in (b"nonsense", safetensors.numpy.save({"other": made.codebooks})):
        codebooks.write_bytes(content)
        with pytest.raises(InputError, match=r"codebooks\.safetensors`: expected "):
            VocabularyFolder.load(tmp_path)


@pytest.mark.parametrize("name", ["vocabulary.json", "text.model"])
def test_a_missing_file_is_named(tmp_path: Path, made, name):
    made.save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=rf"{name}`.* make .* `audio-tokenize vocabulary`"):
        VocabularyFolder.load(tmp_path)


def test_codebooks_may_be_absent_and_come_later(tmp_path: Path, made):
    replace(made, codebooks=None).save(tmp_path)
    assert VocabularyFolder.load(tmp_path).codebooks is None
    made.save(tmp_path)
    restored = VocabularyFolder.load(tmp_path).codebooks
    assert restored is not None
    assert np.array_equal(restored, made.codebooks)


def test_an_unfinished_folder_is_finished_and_files_of_a_user_survive(tmp_path: Path, made):
    made.save(tmp_path)
    (tmp_path / "vocabulary.json").unlink()
    (tmp_path / "tokenizer.json").unlink()
    made.save(tmp_path)
    assert VocabularyFolder.load(tmp_path).text.fingerprint == made.text.fingerprint
    (tmp_path / "vocabulary.json").unlink()
    (tmp_path / "text.model").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"text\.model` exists and belongs to no vocabulary of this folder: move it"):
        made.save(tmp_path)
    assert (tmp_path / "text.model").read_bytes() == b"mine"


def test_a_text_tokenizer_of_no_known_kind_is_refused(tmp_path: Path, made):
    made.save(tmp_path)
    replace(made.vocabulary, text_tokenizer="wordpiece:01").write(tmp_path / "vocabulary.json")
    with pytest.raises(InputError, match="must begin with `sentencepiece:` or `huggingface:`, got 'wordpiece:01'"):
        VocabularyFolder.load(tmp_path)


def test_codes_of_another_codec_are_refused(encoded, codec):
    manifest = replace(encoded.manifest, codec={**encoded.manifest.codec, "id": "mimi"})
    with pytest.raises(InputError, match="must be of codec 'tiny-v1', got 'mimi'"):
        VocabularyFolder.train([EncodedCorpus(encoded.path, manifest)], codec)


def test_a_vocabulary_that_is_no_json_is_refused(tmp_path: Path, made):
    made.save(tmp_path)
    (tmp_path / "vocabulary.json").write_text("{")
    with pytest.raises(InputError, match=r"vocabulary\.json`: expected JSON"):
        VocabularyFolder.load(tmp_path)
    (tmp_path / "vocabulary.json").write_text(json.dumps({"name": "x"}))
    with pytest.raises(InputError):
        VocabularyFolder.load(tmp_path)


def test_ids_that_collide_are_refused(tmp_path: Path, made):
    made.save(tmp_path)
    described = made.vocabulary.to_json()
    for changed, message in [
        ({"text_start": described["text_end"]}, "expected 6 different special ids"),
        ({"text_start": described["audio_base"] + 3}, r"\['text_start'\] lie inside the audio ids"),
        ({"audio_base": described["num_text"] - 1}, "expected `audio_base` >= "),
    ]:
        (tmp_path / "vocabulary.json").write_text(json.dumps(described | changed))
        with pytest.raises(InputError, match=message):
            VocabularyFolder.load(tmp_path)
