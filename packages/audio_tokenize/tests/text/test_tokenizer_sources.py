import importlib.util
import sys
from pathlib import Path

import pytest

from audio_data import InputError
from audio_tokenize.text import tokenizer_sources
from audio_tokenize.text.tokenizer_sources import find_tokenizer


def test_a_file_is_itself_and_a_folder_is_searched(tmp_path: Path, tokenizer_file: Path):
    assert find_tokenizer(tokenizer_file) == tokenizer_file
    assert find_tokenizer(str(tokenizer_file.parent)) == tokenizer_file
    with pytest.raises(InputError, match=r"must hold a tokenizer file, one of \['tokenizer\.json', "):
        find_tokenizer(tmp_path)


def test_a_package_is_looked_into_and_not_imported(tmp_path: Path, monkeypatch):
    folder = tmp_path / "llama_models"
    (folder / "llama3").mkdir(parents=True)
    (folder / "llama3" / "tokenizer.model").write_bytes(b"IQ== 0\n")
    (folder / "__init__.py").write_text("raise ImportError('needs torch')")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    assert find_tokenizer("llama-models") == folder / "llama3" / "tokenizer.model"
    assert "llama_models" not in sys.modules


def test_a_package_that_is_absent_is_named(monkeypatch):
    monkeypatch.setitem(tokenizer_sources.PACKAGES, "llama-models", ("no_such_module_anywhere", "tokenizer.model"))
    with pytest.raises(InputError, match=r"`llama-models` is not installed.*`pip install --no-deps llama-models`"):
        find_tokenizer("llama-models")


def test_what_is_nowhere_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"one of the packages \['dashscope', 'llama-models'\] or a hub id"):
        find_tokenizer(tmp_path / "tokenizer.json")


def test_the_hub_is_asked_for_the_revision(monkeypatch, tokenizer_file: Path):
    hub = pytest.importorskip("huggingface_hub")
    asked = []
    monkeypatch.setattr(hub, "hf_hub_download", lambda *a, **options: asked.append((a, options)) or str(tokenizer_file))
    assert find_tokenizer("soda/marin", revision="v1") == tokenizer_file
    assert asked == [(("soda/marin", "tokenizer.json"), {"revision": "v1", "repo_type": "model"})]


def test_a_hub_that_cannot_be_reached_says_what_to_get_and_where_to_put_it(monkeypatch, tmp_path: Path):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    by_hand = r"hf download soda/marin tokenizer\.json --revision v1 --local-dir DIR.*give DIR as the tokenizer"
    with pytest.raises(InputError, match=by_hand):
        find_tokenizer("soda/marin", revision="v1")
    with pytest.raises(InputError, match="expected a hub id OWNER/NAME, got 'a--b/c'"):
        find_tokenizer("a--b/c")


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'audio-data\[hub\]'.*hf download soda/marin"):
        find_tokenizer("soda/marin")


def test_a_connection_that_is_lost_says_what_to_download(monkeypatch):
    hub = pytest.importorskip("huggingface_hub")

    def hf_hub_download(*_, **__):
        raise hub.errors.HTTPError("the connection was closed")

    monkeypatch.setattr(hub, "hf_hub_download", hf_hub_download)
    with pytest.raises(InputError, match=r"the connection was closed.*hf download somebody/tokens tokenizer.json"):
        find_tokenizer("somebody/tokens")
