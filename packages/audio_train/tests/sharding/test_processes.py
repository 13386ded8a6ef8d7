"""Two processes of two devices each: the same run as one process of four, stopped and taken up again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from audio_data import InputError, to_json
from audio_train import TrainRun, read_metrics
from audio_train.sharding.processes import join

PROGRAM = [sys.executable, "-c", "from audio_train.cli import main; main()"]


@pytest.fixture
def start(toy_run: TrainRun, data_root: Path):
    """Start the toy recipe in some processes of so many devices each."""

    def started(folder: Path, processes: int, devices: int, *words: str) -> subprocess.Popen:
        run = {**to_json(toy_run), "optimizer": {**to_json(toy_run.optimizer), "name": "adamw"}}
        settings = [word for name, value in run.items() for word in ("--set", f"{name}={json.dumps(value)}")]
        flags = f"--xla_force_host_platform_device_count={devices}"
        environment = {**os.environ, "XLA_FLAGS": flags}
        command = [*PROGRAM, "run", "quickstart", "--data", str(data_root), "--out", str(folder), *settings, *words]
        command += ["--processes", str(processes)] if processes > 1 else []
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    return started


def finish(process: subprocess.Popen) -> str:
    output, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors
    return output


def losses(folder: Path) -> np.ndarray:
    return np.array([[line["loss"], line["grad_norm"]] for line in read_metrics(folder / "metrics.jsonl")])


def wait_for_lines(process: subprocess.Popen, metrics: Path, count: int) -> None:
    while process.poll() is None and not (metrics.exists() and metrics.read_bytes().count(b"\n") >= count):
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()


def workers_of(launcher: subprocess.Popen) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()]


@pytest.mark.long
def test_two_processes_train_as_one_and_go_on_where_a_signal_stopped_them(start, tmp_path: Path):
    together, folder, length = tmp_path / "one", tmp_path / "two", ["--set", "steps=24"]
    one = start(together, 1, 4, "--mesh", "data=2,fsdp=2", *length)
    two = start(folder, 2, 2, "--mesh", "data=2,fsdp=2", "--set", "intervals.checkpoint_steps=6", *length)
    metrics = folder / "metrics.jsonl"
    wait_for_lines(two, metrics, 4)
    # Stopped while the signal is sent, so that neither can come to the end before it arrives.
    for pid in workers_of(two):
        os.kill(pid, signal.SIGSTOP)
    two.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    for pid in workers_of(two):
        os.kill(pid, signal.SIGCONT)
    output = finish(two)
    finish(one)
    stopped = [line["step"] for line in read_metrics(metrics)][-1]
    assert 4 <= stopped < 24
    assert f"SIGTERM: saved step {stopped} of 24" in output
    assert "finished step 24" in finish(start(folder, 2, 2, "--mesh", "data=2,fsdp=2", *length))
    assert [line["step"] for line in read_metrics(metrics)] == list(range(1, 25))
    np.testing.assert_allclose(losses(folder)[:12], losses(together)[:12], rtol=2e-4)
    np.testing.assert_allclose(losses(folder), losses(together), rtol=1e-2)
    launch = json.loads((folder / "launches.jsonl").read_text().splitlines()[0])
    assert (launch["devices"]["processes"], launch["devices"]["count"]) == (2, 4)


@pytest.mark.slow
def test_processes_of_a_run_end_with_the_one_that_started_them(start, tmp_path: Path, wait_for_end):
    """One of them waits in a collective for the other, which is stopped: neither could run a handler."""
    launcher = start(tmp_path / "run", 2, 1, "--mesh", "data=2", "--set", "steps=100000")
    wait_for_lines(launcher, tmp_path / "run" / "metrics.jsonl", 4)
    workers = workers_of(launcher)
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGSTOP)
    launcher.kill()
    wait_for_end(workers)
    launcher.communicate()


@pytest.mark.long
def test_where_a_process_fails_the_others_do_not_wait(start, tmp_path: Path):
    process = start(tmp_path / "run", 2, 1, "--mesh", "fsdp=3")
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 2
    assert "divides the 2 devices" in errors


@pytest.mark.parametrize("where", ["here", "localhost:1,2", "localhost,2,0", "localhost:1,two,0"])
def test_a_place_among_processes_is_spelled_out(where: str):
    with pytest.raises(InputError, match="is auto or HOST:PORT,NUM,INDEX"):
        join(where)
