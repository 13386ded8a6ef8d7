import sys

import numpy as np
import pytest

from audio_data import InputError
from audio_data.text_decoders import find_tokenizer, open_text_decoder

TEXT = "a window of text: naïve, and 日本"


@pytest.fixture(scope="module")
def tokenizer_json(tmp_path_factory):
    tokenizers = pytest.importorskip("tokenizers", reason="text is decoded by the extra `text`")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator([TEXT], tokenizers.trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
    file = tmp_path_factory.mktemp("vocabulary") / "tokenizer.json"
    tokenizer.save(str(file))
    return file, np.array(tokenizer.encode(TEXT).ids)


@pytest.fixture(scope="module")
def sentencepiece_model(tmp_path_factory):
    sentencepiece = pytest.importorskip("sentencepiece", reason="text is decoded by the extra `text`")
    file = tmp_path_factory.mktemp("vocabulary") / "text.model"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([TEXT]),
        model_prefix=str(file.with_suffix("")),
        vocab_size=280,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return file, np.array(sentencepiece.SentencePieceProcessor(model_file=str(file)).encode(TEXT))


@pytest.mark.parametrize("kind", ["tokenizer_json", "sentencepiece_model"])
def test_ids_become_the_text_they_were(kind, request):
    file, ids = request.getfixturevalue(kind)
    assert open_text_decoder(file)(ids) == TEXT


def test_the_tokenizer_lies_beside_the_datasets(tmp_path):
    for name in ("corpus/en", "vocabulary"):
        (tmp_path / name).mkdir(parents=True)
    assert find_tokenizer(tmp_path / "corpus/en") is None
    (tmp_path / "vocabulary" / "text.model").write_bytes(b"")
    assert find_tokenizer(tmp_path / "corpus/en") == tmp_path / "vocabulary" / "text.model"
    assert find_tokenizer(tmp_path) == tmp_path / "vocabulary" / "text.model"


@pytest.mark.parametrize(("name", "kind"), [("tokenizer.json", "tokenizer.json"), ("x.model", "SentencePiece model")])
def test_a_file_that_is_no_tokenizer_is_named(tmp_path, name, kind):
    for library in ("tokenizers", "sentencepiece"):
        pytest.importorskip(library, reason="text is decoded by the extra `text`")
    (tmp_path / name).write_bytes(b"{")
    with pytest.raises(InputError, match=rf"{name}`: expected a {kind}"):
        open_text_decoder(tmp_path / name)


def test_a_missing_library_is_named_with_the_extra(tmp_path, monkeypatch):
    (tmp_path / "tokenizer.json").write_bytes(b"{}")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(InputError, match=r"uv pip install 'sentencepiece>=[0-9.]+' 'tokenizers>=[0-9.]+'"):
        open_text_decoder(tmp_path / "tokenizer.json")
