import hashlib
import shutil

import pytest

from audio_data import InputError
from audio_eval import load_checkpoint
from audio_eval.checkpoint import find_export


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
