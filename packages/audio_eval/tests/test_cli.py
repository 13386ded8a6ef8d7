import importlib.util
import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from audio_eval.cli import main


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_help_needs_no_accelerator_library():
    code = "import sys, audio_eval.cli as c; c.main(['--help'], standalone_mode=False); print('jax' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "False"
    for command in ("run", "report", "compare"):
        assert command in found.stdout


def test_run_then_report_then_compare(export, data, tmp_path):
    arguments = ("run", export, "--data", data, "--heldout", "voice", "--tasks", "nll", "--transcriber", "none")
    ran = invoke(*arguments, "--out", tmp_path / "a", "--json")
    assert ran.exit_code == 0, ran.output
    summary = json.loads(ran.stdout)["summary"]["voice"]
    assert summary["text_nll_with_over_without_audio"]["num_items"] == 6
    again = invoke(*arguments, "--limit", 4, "--set", "nll.softmax=full", "--out", tmp_path / "b")
    assert again.exit_code == 0, again.output
    assert "text_nll_with_over_without_audio" in again.stdout
    reported = invoke("report", tmp_path / "a", "--run", export, "--out", tmp_path / "report.html", "--json")
    assert json.loads(reported.stdout)["html"] == str(tmp_path / "report.html")
    compared = invoke("compare", tmp_path / "a", tmp_path / "b", "--json")
    entries = {entry["name"]: entry for entry in json.loads(compared.stdout)}
    assert entries["text_nll_with_over_without_audio"]["num_items"] == 4
    assert "undecided" in invoke("compare", tmp_path / "a", tmp_path / "a").stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--set", "nll.softmax"), "must be TASK.SETTING=VALUE, such as tts.temperature=0, got 'nll.softmax'"),
        (("--set", "nll.softmax=half"), "must be one of allowed, full, as_trained, got 'half'"),
        (("--tasks", "nll,sing"), "got 'sing'"),
        (("--heldout", "nowhere"), "got 'nowhere'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(export, data, tmp_path, change, message):
    arguments = ("run", export, "--data", data, "--heldout", "voice", "--tasks", "nll", "--transcriber", "none")
    failed = invoke(*arguments, "--out", tmp_path, *change)
    assert failed.exit_code == 2
    (line,) = [line for line in failed.stderr.splitlines() if line.startswith("Error")]
    assert message in line


@pytest.mark.parametrize("task", ["tts", "s2st"])
@pytest.mark.parametrize(
    ("option", "name", "lacking", "way"),
    [
        ("transcriber", "whisper:tiny.en", "faster_whisper", "uv pip install 'faster-whisper>="),
        ("transcriber", "whisper:no/such/size", None, "give a local folder or a hub id"),
        ("transcriber", "whisper:.", None, "give a Whisper folder in CTranslate2 format"),
        ("speaker-encoder", "wavlm", "torch", "uv pip install torch transformers"),
        ("speaker-encoder", "wavlm:.", None, "give a folder of a WavLMForXVector"),
    ],
)
def test_a_model_that_was_asked_for_and_is_not_there_ends_it_before_the_work(
    export, data, test_sets, tmp_path, monkeypatch, task, option, name, lacking, way
):
    if lacking:
        monkeypatch.setitem(sys.modules, lacking, None)
    elif importlib.util.find_spec("faster_whisper" if option == "transcriber" else "transformers") is None:
        pytest.skip("needs the package of the model")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    where = ("--data", data, "--heldout", "voice", "--test-sets", test_sets)
    failed = invoke("run", export, *where, "--tasks", task, f"--{option}", name, "--out", tmp_path / "out")
    assert failed.exit_code == 2, failed.output
    (line,) = failed.stderr.splitlines()
    assert line.startswith(f"Error: `{option.replace('-', '_')}` must be one that is available, got {name!r}: ")
    assert way in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_named(export, data, tmp_path, seed):
    failed = invoke("run", export, "--data", data, "--heldout", "voice", "--seed", seed, "--out", tmp_path / "out")
    assert failed.exit_code == 2
    assert failed.stderr == f"Error: `seed` must lie in [0, 4294967296), got {seed}\n"
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_model_is_named(tmp_path, data):
    failed = invoke("run", tmp_path, "--data", data, "--heldout", "voice", "--out", tmp_path / "out")
    assert failed.exit_code == 2
    assert "must be an exported model or the folder of a finished run" in failed.stderr


def test_twins_are_written_and_measured(export, tmp_path, toy_codec):
    written = invoke("testset", "swuggy", tmp_path / "sets", "--items", 3)
    assert written.exit_code == 0, written.output
    arguments = ("run", export, "--tasks", "swuggy,twuggy", "--test-sets", tmp_path / "sets", "--transcriber", "none")
    ran = invoke(*arguments, "--compat", "soda", "--limit", 2, "--out", tmp_path / "out", "--json")
    assert ran.exit_code == 0, ran.output
    summary = json.loads(ran.stdout)["summary"]
    assert summary["swuggy"]["swuggy_accuracy"]["num_items"] == summary["twuggy"]["twuggy_accuracy"]["num_items"] == 2
    gold = (tmp_path / "sets" / "swuggy" / "gold.csv").read_bytes()
    failed = invoke("testset", "swuggy", tmp_path / "sets", "--items", 2)
    assert failed.exit_code == 2
    assert "must be an empty folder, got one with files" in failed.stderr
    assert (tmp_path / "sets" / "swuggy" / "gold.csv").read_bytes() == gold
    assert [path.name for path in (tmp_path / "sets").iterdir()] == ["swuggy"]
    failed = invoke("testset", "mmlu", tmp_path / "sets")
    assert failed.exit_code == 2
    assert "must be one of swuggy" in failed.stderr
