"""A killed evaluation: `pytest -m slow packages/audio_eval/tests/test_resume.py`."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audio_eval import evaluate, make_tasks, read_evaluation
from audio_eval.journal import Journal

PROGRAM = Path(__file__).with_name("killed_run.py")
SETTINGS = {
    "nll": {"nll.tokens_per_batch": "128"},
    "asr": {"asr.batch_size": "1"},
    "tts": {"tts.batch_size": "1", "tts.num_items": "6", "tts.max_frames": "5"},
}


def killed(export, data, out, task, records):
    """Runs a task in a process of its own and kills it after so many notes."""
    command = [sys.executable, str(PROGRAM), *map(str, (export, data, out, task, records))]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while not (out / "waiting").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


@pytest.fixture
def same_transcriber(monkeypatch):
    class Echo:
        model_id = "echo:1"
        language = "en"

        def transcribe(self, clips, sample_rate_hz):
            return [f"the red cat is in room {len(clip) // 1_920}" for clip in clips]

    monkeypatch.setattr("audio_eval.run.find_transcriber", lambda name: Echo())


@pytest.mark.slow
@pytest.mark.parametrize(("task", "records"), [("nll", 5), ("asr", 2), ("asr", 5), ("tts", 1), ("tts", 2)])
def test_a_killed_run_ends_as_one_that_was_not(
    export, data, tmp_path, toy_codec, same_transcriber, monkeypatch, task, records
):
    arguments = (export, data, ["heldout"], make_tasks([task], SETTINGS[task]))
    whole = evaluate(*arguments, tmp_path / "whole").result(task)
    part = tmp_path / "part"
    killed(export, data, part, task, records)
    journal = part / "items" / f"{task}.partial.jsonl"
    known = [json.loads(line) for line in journal.read_text().splitlines()[:-1]]
    assert known
    assert not (part / "evaluation.json").exists()

    written = []
    record = Journal.record

    def noted(journal, step, results):
        written.extend((step, key) for key in results)
        record(journal, step, results)

    monkeypatch.setattr(Journal, "record", noted)
    resumed = evaluate(*arguments, part).result(task)
    assert resumed.items == whole.items
    assert resumed.scores == whole.scores
    lines = (part / "items" / f"{task}.jsonl").read_text().splitlines()
    assert len({json.loads(line)["id"] for line in lines}) == len(lines) == len(whole.items)
    # What was known is not found out again, and what was not is noted once.
    assert written
    assert len(written) == len(set(written))
    assert not set(written) & {(line["step"], line["key"]) for line in known}
    assert not journal.exists()


@pytest.mark.slow
def test_of_two_runs_in_one_folder_no_result_is_lost(export, data, test_sets, tmp_path):
    code = "import sys; from audio_eval.cli import main; main(sys.argv[1:])"
    shared = [str(export), "--transcriber", "none", "--speaker-encoder", "none", "--out", str(tmp_path / "out")]
    tasks = {
        "nll": ["--data", str(data), "--heldout", "heldout"],
        "twuggy": ["--data", str(data), "--heldout", "heldout", "--test-sets", str(test_sets)],
    }
    running = {
        task: subprocess.Popen([sys.executable, "-c", code, "run", *shared, "--tasks", task, *options], stderr=-1)
        for task, options in tasks.items()
    }
    errors = {task: process.communicate()[1].decode() for task, process in running.items()}
    finished = {task for task, process in running.items() if process.returncode == 0}
    assert finished
    for task in running.keys() - finished:
        assert running[task].returncode == 2
        assert f"Error: another process is writing in `{tmp_path / 'out'}`" in errors[task]
    assert {result.task for result in read_evaluation(tmp_path / "out").results} == finished
