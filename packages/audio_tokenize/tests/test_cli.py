import json
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from click.testing import CliRunner

import audio_tokenize
from audio_data import TokenDataset
from audio_tokenize import codecs
from audio_tokenize.cli import main


@pytest.fixture(autouse=True)
def _tiny_is_the_codec(monkeypatch, codec):
    for module in (audio_tokenize, codecs):
        monkeypatch.setattr(module, "load_codec", lambda spec: codec, raising=False)


def run(*arguments: object, exit_code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == exit_code, (result.output, result.exception)
    return result.output


def test_from_a_folder_of_speech_to_sound(tmp_path: Path, speech):
    """The commands a person types, one after the other."""
    codes, data = tmp_path / "codes", tmp_path / "data"
    printed = run("encode", speech, "--out", codes, "--frame-offsets", 2)
    assert f"{codes}: encoded: 13 records of 7 utterances of speech" in printed
    assert "already encoded, nothing to do: 13 records" in run("encode", speech, "--out", codes, "--frame-offsets", 2)
    assert "of them text; fingerprint" in run("vocabulary", codes, "--out", data / "vocabulary", "--pieces", 64)
    build = [
        "build",
        codes,
        "--vocabulary",
        data / "vocabulary",
        "--split",
        "train",
        "--frame-offset",
        0,
        "--speaker",
        "ann",
    ]
    assert "asr: 3 documents" in run(*build, "--out", data / "asr")
    assert "tts: 1 documents" in run(
        *build, "--out", data / "tts", "--layout", "text_first", "--codebooks", 2, "--grouping", "recording"
    )
    assert TokenDataset.open(data / "tts").manifest.provenance["num_codebooks"] == 2
    run("decode", data / "asr", "--index", 1, "--out", tmp_path / "one.wav")
    assert soundfile.info(tmp_path / "one.wav").samplerate == 8000
    shown = run("inspect", data / "asr", "--index", 1)
    assert "open the blue door" in shown
    described = json.loads(run("inspect", codes, "--index", 12, "--json"))
    assert described["metadata"]["id"] == "c"
    assert described["passages"][0]["text"] == "close it"


def test_corpora_are_listed_and_described(speech):
    names = [entry["name"] for entry in json.loads(run("corpora", "--json"))]
    assert "sample" in names
    assert "sample" in run("corpora")
    described = json.loads(run("corpora", speech, "--json"))
    assert described["num_utterances"] == 7
    assert described["splits"] == ["heldout", "train"]
    assert "speakers: ('ann', 'bob', 'eve')" in run("corpora", speech)


def test_a_mistake_is_one_line_and_exit_status_2(tmp_path: Path, speech):
    run("encode", speech, "--out", tmp_path / "codes")
    for arguments, message in [
        (["encode", tmp_path / "none", "--out", tmp_path / "x"], "got neither"),
        (
            ["encode", speech, "--out", tmp_path / "codes", "--frame-offsets", 3],
            "was begun with `num_frame_offsets` 1, now it is 3",
        ),
        (["encode", speech, "--out", tmp_path / "codes" / "codes.json" / "x"], "choose another folder"),
        (["vocabulary", tmp_path, "--out", tmp_path / "v"], "make them with `audio-tokenize encode`"),
        (["build", tmp_path / "codes", "--vocabulary", tmp_path, "--out", tmp_path / "d"], "no vocabulary at"),
        (
            ["train-codec", speech, "--out", tmp_path / "c.safetensors", "--set", "step=1"],
            "has no `step`; did you mean",
        ),
    ]:
        printed = run(*arguments, exit_code=2)
        assert printed.startswith("Error: "), printed
        assert message in printed
        assert len(printed.splitlines()) == 1


def test_an_interrupted_encode_says_how_to_go_on(tmp_path: Path, speech, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(audio_tokenize, "encode_corpus", interrupted, raising=False)
    assert "run the same command again to go on" in run("encode", speech, "--out", tmp_path, exit_code=130)


def test_help_names_the_commands_and_needs_no_jax():
    code = "import sys, audio_tokenize.cli as c\ntry: c.main(['--help'])\nfinally: assert 'jax' not in sys.modules"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    commands = "corpora encode vocabulary build decode inspect statistics plan train-codec"
    for command in commands.split():
        assert f"\n  {command} " in printed
