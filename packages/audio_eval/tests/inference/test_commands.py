"""`audio-eval transcribe`, `speak`, `continue` and `translate`: what they write, keep and refuse."""

import json
import shutil

import pytest
import soundfile
from click.testing import CliRunner

from audio_data import InputError
from audio_eval import load
from audio_eval.cli import main
from audio_eval.inference import commands


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False, standalone_mode=False)


@pytest.fixture
def folder(tmp_path, recording):
    """Two recordings, one in a folder of its own, a text beside them, and one that is no audio."""
    (tmp_path / "speech" / "more").mkdir(parents=True)
    shutil.copy(recording, tmp_path / "speech" / "a.wav")
    shutil.copy(recording, tmp_path / "speech" / "more" / "b.wav")
    (tmp_path / "speech" / "broken.wav").write_bytes(b"RIFF")
    (tmp_path / "speech" / "a.txt").write_text("the red cat")
    return tmp_path / "speech"


def test_transcripts_are_printed(speaker, recording):
    expected = load(speaker).transcribe(recording)
    assert run("transcribe", speaker, recording).stdout == f"{expected}\n"
    (line,) = run("transcribe", speaker, recording, "--json").stdout.splitlines()
    assert json.loads(line) == {"file": str(recording), "transcript": expected}


def test_a_file_that_is_no_audio_is_named_and_the_others_are_transcribed(speaker, folder, tmp_path, recording):
    out = tmp_path / "texts"
    with pytest.raises(InputError, match="1 of 3 files have no answer; their reasons are above"):
        run("transcribe", speaker, folder, "--out", out)
    expected = load(speaker).transcribe(recording)
    assert {path.name: path.read_text() for path in out.iterdir()} == {f"{n}.txt": f"{expected}\n" for n in "ab"}
    with pytest.raises(InputError, match=r"broken\.wav`: expected readable audio"):
        run("transcribe", speaker, folder / "broken.wav")


def test_what_is_there_is_kept_without_loading_the_model(speaker, folder, tmp_path, monkeypatch):
    (folder / "broken.wav").unlink()
    out = tmp_path / "texts"
    run("transcribe", speaker, folder, "--out", out)
    (out / "a.txt").write_text("mine")
    (out / "b.txt").unlink()
    run("transcribe", speaker, folder, "--out", out)
    assert (out / "a.txt").read_text() == "mine"
    assert (out / "b.txt").exists()
    monkeypatch.setattr(commands, "_load", lambda *given: pytest.fail("it was loaded"))
    said = run("transcribe", speaker, folder, "--out", out)
    assert f"{out / 'a.txt'} is there and kept; --overwrite replaces it" in said.stderr
    monkeypatch.undo()
    run("transcribe", speaker, folder, "--out", out, "--overwrite")
    assert (out / "a.txt").read_text() != "mine"


def test_texts_are_spoken(speaker, folder, tmp_path):
    out = tmp_path / "said.wav"
    said = run("speak", speaker, "--text", "the red cat", "--out", out, "--json")
    answer = json.loads(said.stdout)
    assert answer["seconds"] == pytest.approx(soundfile.info(out).duration)
    run("speak", speaker, folder / "a.txt", "--out", tmp_path / "sounds")
    assert (tmp_path / "sounds" / "a.wav").read_bytes() == out.read_bytes()
    run("speak", speaker, "--text", "one", "--text", "two", "--out", tmp_path / "both")
    assert {path.name for path in (tmp_path / "both").iterdir()} == {"speech-1.wav", "speech-2.wav"}


def test_recordings_are_continued_and_translated(speaker, recording, tmp_path):
    said = run("continue", speaker, recording, "--seconds", 0.4, "--seed", 2, "--out", tmp_path / "more.wav")
    assert said.stdout.startswith(f"{tmp_path / 'more.wav'}: ")
    assert soundfile.info(tmp_path / "more.wav").duration > 0.4
    words = ("translate", speaker, recording, "--from", "de", "--to", "en", "--out", tmp_path / "en.wav", "--json")
    assert {"transcript", "written", "ended"} <= set(json.loads(run(*words).stdout))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("transcribe", "{model}", "{folder}/none.wav"), r"none\.wav` must be a recording or a folder of them, got no"),
        (("transcribe", "{model}", "{folder}/empty"), r"must hold recordings, got no file that ends in .*\.wav"),
        (("continue", "{model}", "{folder}", "--out", "{folder}/x.wav"), r"`--out` must be a folder for 3 answers"),
        (("speak", "{model}", "--out", "x.wav"), r"expected files with texts, or `--text`, got both or neither"),
        (("speak", "{model}", "{folder}/a.wav", "--out", "x.wav"), r"a\.wav` must be a text in UTF-8"),
        (
            ("speak", "{model}", "{folder}/none.txt", "--out", "x.wav"),
            r"none\.txt` must be a text to speak, got No such",
        ),
        (("transcribe", "{folder}", "{folder}/a.wav"), r"must be an exported model or the folder of a finished run"),
        (
            ("continue", "{model}", "{folder}/a.wav", "{folder}/more/a.wav", "--out", "{folder}/out"),
            r"have the same name, so that both would be `.*a\.wav`: rename one",
        ),
    ],
)
def test_what_cannot_be_is_one_line(speaker, folder, words, message):
    (folder / "empty").mkdir()
    shutil.copy(folder / "a.wav", folder / "more" / "a.wav")
    if "x.wav" in str(words) and words[0] == "continue":
        (folder / "more" / "a.wav").unlink()
    with pytest.raises(InputError, match=message):
        run(*(str(word).format(model=speaker, folder=folder) for word in words))
