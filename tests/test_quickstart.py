"""The quickstart's chain of commands, from a folder of recordings to a report, in processes of their own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile

from audio_tokenize import load_audio, open_corpus
from audio_train.quickstart import STEPS_PER_MINUTE, _closing, commands

pytestmark = pytest.mark.optimized

NUM_RECORDINGS = 60
STEPS = 8


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: one voice's sentences as wav files with a transcript beside each, and one without."""
    folder = tmp_path_factory.mktemp("speech")
    chosen = open_corpus("sample").select(split="train", speaker="slt").utterances[:NUM_RECORDINGS]
    for utterance in chosen:
        samples = load_audio(utterance.audio, start_seconds=utterance.start_seconds, end_seconds=utterance.end_seconds)
        soundfile.write(folder / f"{utterance.id}.wav", samples, 24_000)
        (folder / f"{utterance.id}.txt").write_text(utterance.text)
    soundfile.write(folder / "unlabelled.wav", samples, 24_000)
    return folder


def user_environment() -> dict[str, str]:
    """A user's: without the several CPU devices that the tests of this process may have asked for."""
    return {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}


def quickstart_words(audio: Path, out: Path) -> list[str]:
    program = str(Path(sys.executable).with_name("audio-train"))
    minutes = str(STEPS / STEPS_PER_MINUTE)
    return [program, "quickstart", "--audio", str(audio), "--out", str(out), "--minutes", minutes, "--json"]


def quickstart(audio: Path, out: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(quickstart_words(audio, out), capture_output=True, text=True, env=user_environment())


def stop_when_training_begins(audio: Path, out: Path) -> tuple[int, str]:
    """Run the quickstart, send SIGTERM as soon as the training step is compiled; returns exit code and messages."""
    process = subprocess.Popen(
        quickstart_words(audio, out),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=user_environment(),
    )
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if "compiled in" in line:
            process.send_signal(signal.SIGTERM)
    process.communicate()
    return process.returncode, said


@pytest.fixture(scope="module")
def finished(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, dict[str, Any]]:
    """The folder, what a stopped run said, and what the same command came to after it."""
    out = tmp_path_factory.mktemp("quickstart") / "work"
    code, said = stop_when_training_begins(recordings, out)
    assert code == 0, said
    assert not (out / "evaluation").exists()
    process = quickstart(recordings, out)
    assert process.returncode == 0, process.stderr
    return out, said, json.loads(process.stdout)


def test_own_recordings_reach_the_report_across_a_stop(finished: tuple[Path, str, dict[str, Any]]) -> None:
    out, said, outcome = finished
    assert "run the same command again to continue" in said
    assert "1 without transcript" in said
    lines = [json.loads(line) for line in (out / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, STEPS + 1))
    assert [line["step"] for line in lines if "evaluation" in line][-1] == STEPS
    # So few steps teach nothing: the model hears no more than it would in another utterance.
    assert outcome["asr_wer"] > 0.5
    assert outcome["asr_wer_mismatched_audio"] > 0.5
    low, high = outcome["asr_wer_reduction_over_mismatched_audio_interval"]
    assert low <= outcome["asr_wer_reduction_over_mismatched_audio"] <= high
    assert outcome["nll"]["codebook_0"] > 0
    assert "</html>" in Path(outcome["report"]).read_text()


@pytest.mark.slow
def test_a_repeat_changes_nothing(recordings: Path, finished: tuple[Path, str, dict[str, Any]]) -> None:
    out, _, outcome = finished
    weights = (Path(outcome["checkpoint"]) / "model.safetensors").read_bytes()
    again = json.loads(quickstart(recordings, out).stdout)
    assert {**again, "seconds": 0} == {**outcome, "seconds": 0}
    assert (Path(outcome["checkpoint"]) / "model.safetensors").read_bytes() == weights


def test_a_folder_without_audio_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "speech").mkdir()
    finished = quickstart(tmp_path / "speech", tmp_path / "work")
    assert finished.returncode == 2
    assert "metadata.csv" in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    ("interval", "told"), [([0.1, 0.3], "0.2 [0.1, 0.3]"), (None, "0.2 (too few utterances for an interval)")]
)
def test_few_recordings_have_no_interval(interval: list[float] | None, told: str, tmp_path: Path) -> None:
    """Where fewer utterances are held out than an interval needs."""
    names = ("asr_wer", "asr_wer_mismatched_audio", "asr_wer_untrained")
    outcome = {**dict.fromkeys(names, 0.9), "seconds": 60.0, "asr_wer_unseen_speakers": {}}
    gain = {
        "asr_wer_reduction_over_mismatched_audio": 0.2,
        "asr_wer_reduction_over_mismatched_audio_interval": interval,
    }
    assert f"WER reduction over mismatched     {told}\n" in _closing(tmp_path, outcome | gain)


def test_the_commands_are_those_of_the_siblings(tmp_path: Path) -> None:
    """Every command line parses: its command exists and knows its options."""
    import importlib

    for command in commands(tmp_path, None, 2.0, 0) + commands(tmp_path, tmp_path, None, 1):
        program, name, *rest = command.words
        main = importlib.import_module(f"{program.replace('-', '_')}.cli").main
        parameters = {option for parameter in main.commands[name].params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= parameters
