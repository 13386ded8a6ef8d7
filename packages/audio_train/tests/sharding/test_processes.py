"""Two processes of four devices each: the same run as one process of eight, stopped and taken up again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from audio_data import InputError, to_json
from audio_train import TrainRun, read_metrics
from audio_train.sharding.processes import join, without_option

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


def test_two_processes_train_as_one_and_go_on_where_a_signal_stopped_them(start, tmp_path: Path):
    together, folder = tmp_path / "one", tmp_path / "two"
    one = start(together, 1, 8, "--mesh", "data=2,fsdp=4")
    two = start(folder, 2, 4, "--mesh", "data=2,fsdp=4", "--set", "cadence.checkpoint_steps=3")
    metrics = folder / "metrics.jsonl"
    while two.poll() is None and not (metrics.exists() and metrics.read_bytes().count(b"\n") >= 4):
        time.sleep(0.02)
    two.send_signal(signal.SIGTERM)
    output = finish(two)
    finish(one)
    stopped = [line["step"] for line in read_metrics(metrics)][-1]
    if stopped < 12:
        assert f"SIGTERM: saved step {stopped} of 12" in output
        assert "finished step 12" in finish(start(folder, 2, 4, "--mesh", "data=2,fsdp=4"))
    assert [line["step"] for line in read_metrics(metrics)] == list(range(1, 13))
    np.testing.assert_allclose(losses(folder), losses(together), rtol=2e-4)
    launch = json.loads((folder / "launches.jsonl").read_text().splitlines()[0])
    assert (launch["devices"]["processes"], launch["devices"]["count"]) == (2, 8)
    ours, theirs = (load_file(f / "export" / "model.safetensors") for f in (folder, together))
    for name, array in theirs.items():
        np.testing.assert_allclose(ours[name], array, atol=2e-3, err_msg=name)


def test_where_a_process_fails_the_others_do_not_wait(start, tmp_path: Path):
    process = start(tmp_path / "run", 2, 1, "--mesh", "fsdp=3")
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 2
    assert "divides the 2 devices" in errors


@pytest.mark.parametrize("where", ["here", "localhost:1,2", "localhost,2,0", "localhost:1,two,0"])
def test_a_place_among_processes_is_spelled_out(where: str):
    with pytest.raises(InputError, match="is auto or HOST:PORT,NUM,INDEX"):
        join(where)


def test_an_option_is_left_out_in_either_spelling():
    assert without_option(["run", "--processes", "2", "x"], "--processes") == ["run", "x"]
    assert without_option(["run", "--processes=2", "x"], "--processes") == ["run", "x"]
