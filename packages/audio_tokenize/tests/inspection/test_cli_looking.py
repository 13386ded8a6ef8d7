import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from audio_tokenize import codecs
from audio_tokenize.cli import main
from audio_tokenize.corpora import open_corpus
from audio_tokenize.datasets.building import build_dataset
from audio_tokenize.encoding.encoded import EncodedCorpus
from audio_tokenize.encoding.jobs import encode_corpus
from audio_tokenize.inspection import pricing
from audio_tokenize.vocabularies.folder import VocabularyFolder


@pytest.fixture(scope="module")
def root(tmp_path_factory, corpus, codec) -> Path:
    root = tmp_path_factory.mktemp("looking")
    encode_corpus(corpus, codec, root / "codes")
    VocabularyFolder.train([EncodedCorpus.open(root / "codes")], codec).save(root / "data" / "vocabulary")
    build_dataset(root / "codes", root / "data" / "vocabulary", root / "data" / "asr", grouping="recording")
    return root


@pytest.fixture(autouse=True)
def _tiny_is_the_codec(monkeypatch, codec):
    monkeypatch.setattr(codecs, "load_codec", lambda spec: codec)


def run(*arguments: object, exit_code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == exit_code, (result.output, result.exception)
    return result.stdout if not exit_code else result.output


def test_a_document_is_decoded_whole_or_by_segment(root, tmp_path):
    run("decode", root / "data" / "asr", "--out", tmp_path / "all.wav")
    whole = soundfile.read(tmp_path / "all.wav")[0]
    parts = []
    for segment in range(3):
        run("decode", root / "data" / "asr", "--out", tmp_path / "part.wav", "--segment", segment)
        parts.append(soundfile.read(tmp_path / "part.wav")[0])
    assert np.array_equal(np.concatenate(parts), whole)


def test_ids_are_decoded_with_a_vocabulary(root, tmp_path):
    shown = json.loads(run("inspect", root / "data" / "asr", "--json"))
    ids = VocabularyFolder.load(root / "data" / "vocabulary").vocabulary.audio_ids(np.ones((5, 8), int))
    np.save(tmp_path / "ids.npy", np.concatenate([[shown_special(root, 4)], ids, [shown_special(root, 5)]]))
    options = ["--vocabulary", root / "data" / "vocabulary", "--codec", "tiny"]
    printed = run("decode", tmp_path / "ids.npy", "--out", tmp_path / "x.wav", *options)
    assert printed == f"{tmp_path / 'x.wav'}: 0.40 s at 8000 Hz\n"
    assert shown["passages"][0]["text"] == "<|begin_of_text|>"


def shown_special(root: Path, place: int) -> int:
    return VocabularyFolder.load(root / "data" / "vocabulary").vocabulary.special_ids[place]


def test_a_broken_document_is_shown_and_not_refused(tmp_path):
    (tmp_path / "x.txt").write_text("<|begin_of_text|><|text_start|>hello<|audio_end|>", encoding="utf-8")
    shown = run("inspect", tmp_path / "x.txt")
    assert "text                   hello" in shown
    assert "broken: `characters[36]` must be <|text_end|>, got <|audio_end|>" in shown
    assert json.loads(run("inspect", tmp_path / "x.txt", "--json"))["problem"].startswith("`characters[36]`")
    assert "is broken" in run("decode", tmp_path / "x.txt", "--out", tmp_path / "x.wav", exit_code=2)


def test_statistics_are_printed_and_written(root, tmp_path):
    outs = ["--out", tmp_path / "card.html", "--out", tmp_path / "README.md"]
    found = json.loads(run("statistics", root / "data" / "asr", "--json", *outs))
    assert found["num_utterances"] == 7
    assert (tmp_path / "card.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "# asr" in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "Use of the codebooks" in run("statistics", root / "codes")
    assert "must be a folder of codes" in run("statistics", tmp_path, exit_code=2)


def test_a_plan_prices_a_name_or_a_folder(speech, corpus, monkeypatch):
    monkeypatch.setattr(
        pricing, "open_corpus", lambda name, **rest: corpus if name == "sample" else open_corpus(name, **rest)
    )
    found = json.loads(run("plan", "yodas2", "--language", "en", "--speed", 100, "--workers", 10, "--json"))
    assert found["layouts"]["audio_first + text_first"]["audio"] == 118_800_000_000
    assert found["figures"]["elapsed_hours"]["value"] == 165
    assert "measured" in run("plan", speech, "--measure", "--codec", "tiny")
    assert "yodas2" in run("plan", "yodas3", exit_code=2)
