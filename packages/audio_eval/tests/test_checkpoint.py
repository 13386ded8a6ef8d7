import hashlib
import json
import shutil

import jax
import pytest
import safetensors.numpy

from audio_data import InputError
from audio_eval import load_checkpoint
from audio_eval.checkpoint import find_export
from audio_model import Qwen3xConfig, initialize, save_model
from audio_tokenize import VocabularyFolder


def test_a_run_and_its_export_load_alike(export, model, vocabulary):
    of_run, of_export = load_checkpoint(export), load_checkpoint(export / "export")
    assert of_run.folder == of_export.folder == export / "export"
    assert of_run.vocabulary == vocabulary
    assert of_run.grammar_loss
    assert (of_run.model.embedding == model.embedding).all()
    assert of_run.weights_sha256 == hashlib.sha256((export / "export" / "model.safetensors").read_bytes()).hexdigest()


def test_an_export_without_provenance_is_taken_as_trained_on_the_full_vocabulary(export, tmp_path):
    shutil.copytree(export / "export", tmp_path / "model")
    (tmp_path / "model" / "provenance.json").unlink()
    assert not load_checkpoint(tmp_path / "model").grammar_loss


def test_missing_parts_are_named(export, tmp_path):
    with pytest.raises(InputError, match="audio-train export"):
        find_export(tmp_path)
    shutil.copytree(export / "export", tmp_path / "model")
    shutil.rmtree(tmp_path / "model" / "vocabulary")
    with pytest.raises(InputError, match="no vocabulary at"):
        load_checkpoint(tmp_path / "model")


def test_weights_in_several_files_load_and_have_one_hash(export, model, tmp_path):
    folder = shutil.copytree(export / "export", tmp_path / "model")
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[:5], "model-00002-of-00002.safetensors": names[5:]}
    for file, some in parts.items():
        safetensors.numpy.save_file({name: tensors[name] for name in some}, folder / file)
    index = {"weight_map": {name: file for file, some in parts.items() for name in some}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    loaded = load_checkpoint(folder)
    assert (loaded.model.embedding == model.embedding).all()
    assert len(loaded.weights_sha256) == 64
    assert loaded.weights_sha256 != load_checkpoint(export).weights_sha256


@pytest.mark.parametrize("size", [144_644, 168_059])
def test_a_published_model_has_the_vocabulary_of_its_size(tmp_path, size, monkeypatch, vocabulary, text):
    config = Qwen3xConfig(
        vocab_size=size, embed=4, mlp=8, layers=1, heads=1, kv_heads=1, head_dim=4, tied=True, max_seq_len=64
    )
    save_model(tmp_path, initialize(config, jax.random.key(0)))
    (tmp_path / "tokenizer.json").write_text("{}")
    asked = []
    monkeypatch.setattr(
        "audio_eval.checkpoint.VocabularyFolder.published",
        lambda name, source: asked.append((name, source)) or VocabularyFolder(vocabulary, text),
    )
    assert load_checkpoint(tmp_path).model.config.vocab_size == size
    assert asked == [({144_644: "marin-mimi", 168_059: "qwen3x-mimi"}[size], tmp_path / "tokenizer.json")]


def test_a_published_model_of_another_size_says_what_it_lacks(tmp_path, model):
    save_model(tmp_path, model)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"144,644 or 168,059 ids as the published SODA models, got \d+ ids"):
        load_checkpoint(tmp_path)
