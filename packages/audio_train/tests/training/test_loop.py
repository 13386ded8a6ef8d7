import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
import pytest

from audio_data import InputError
from audio_train import DivergenceError, Intervals, read_metrics, run
from audio_train.training import launch, trainer
from audio_train.training.recorder import parse_profile
from audio_train.training.signals import StopRequest


def test_a_run_that_cannot_go_on_names_the_step_and_its_records(
    varied, data_root: Path, tmp_path: Path, one_device, monkeypatch: pytest.MonkeyPatch
):
    resolved = varied()
    good = trainer.objective
    monkeypatch.setattr(trainer, "objective", lambda run: _infinite(good(run)))
    with pytest.raises(DivergenceError, match=r"step 8: .*not finite for 8 steps in a row.*utterance-\d+"):
        run(resolved, data_root, tmp_path, mesh_config=one_device)
    lines = list(read_metrics(tmp_path / "metrics.jsonl"))
    assert [line["skipped"] for line in lines] == [True] * 8
    assert {line["loss"] for line in lines} == {None}
    assert all("utterance-" in line["records"][0] for line in lines)


def _infinite(objective):
    return eqx.tree_at(lambda o: o.weight_of_kind, objective, objective.weight_of_kind * float("inf"))


def test_the_first_signal_asks_and_the_second_is_left_to_the_system(capfd: pytest.CaptureFixture[str]):
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        assert stop.signal is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal is signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is before
    assert "send it again to quit at once" in capfd.readouterr().err


COMPILING = """
import ctypes, pathlib, sys
from audio_data import release_writer, sole_writer
from audio_train.training.signals import StopRequest
folder = pathlib.Path(sys.argv[1])
libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
libc.pthread_mutex_lock(mutex)
with sole_writer(folder), StopRequest() as stop:
    with stop.ending_at_once():
        pass
    assert stop.signal is None
    assert list(folder.iterdir()) == [folder / ".lock"]
    with stop.ending_at_once(lambda: release_writer(folder)):
        print("compiling", flush=True)
        libc.pthread_mutex_lock(mutex)  # never returns, and lets no Python run in this thread
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_while_there_is_nothing_to_save_ends_the_process_with_one_line(
    number: signal.Signals, status: int, tmp_path: Path
):
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", COMPILING, str(tmp_path)], text=True, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "compiling\n"
        process.send_signal(number)
        _, printed = process.communicate(timeout=60)
    assert process.returncode == status
    assert printed == f"\n{number.name}: stopped before a step was taken; run the same command again\n"
    assert not list(tmp_path.iterdir())


def test_a_signal_after_the_compilation_asks_as_before():
    with StopRequest() as stop:
        with stop.ending_at_once():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal is signal.SIGTERM


def test_a_pause_does_not_make_the_step_before_it_fast(
    varied, data_root: Path, tmp_path: Path, one_device, monkeypatch: pytest.MonkeyPatch
):
    """A device that has finished a step before the loop looks has taken its time all the same."""
    take, seconds = trainer.Trainer.step, 0.05

    def step(self, *arguments):
        taken = jax.block_until_ready(take(self, *arguments))
        time.sleep(seconds)
        if int(taken[0].step) == 7:
            signal.raise_signal(signal.SIGTERM)
        return taken

    monkeypatch.setattr(trainer.Trainer, "step", step)
    resolved = varied(intervals=Intervals(checkpoint_steps=4, checkpoint_seconds=None), steps=8)
    for reached in (7, 8):
        assert run(resolved, data_root, tmp_path, mesh_config=one_device).step == reached
    rates = [line["tokens_per_second"] for line in read_metrics(tmp_path / "metrics.jsonl")]
    assert len(rates) == 8
    assert max(rates) <= 2 * resolved.run.data.tokens_per_step / seconds


def test_a_loss_out_of_the_ordinary_is_reported_with_its_records(
    varied, data_root: Path, tmp_path: Path, one_device, monkeypatch: pytest.MonkeyPatch
):
    take = trainer.Trainer.step

    def step(self, state, batch, request=0):
        state, metrics = take(self, state, batch, request)
        return state, metrics._replace(loss=metrics.loss + (5.0 if int(state.step) == 20 else 0.0))

    monkeypatch.setattr(trainer.Trainer, "step", step)
    resolved = varied(steps=22, optimizer=replace(varied().run.optimizer, learning_rate=1e-6))
    run(resolved, data_root, tmp_path, mesh_config=one_device)
    (spike,) = (line for line in read_metrics(tmp_path / "metrics.jsonl") if "spike" in line)
    assert spike["step"] == 20
    assert spike["loss"] - spike["spike"]["usual_loss"] == pytest.approx(5.0, abs=0.5)
    assert len(spike["records"]) == resolved.run.data.batch_size


NOTHING, SAVE, STOP = 0, 1, 2


@pytest.mark.parametrize(
    ("asked", "signalled", "seconds", "saved"),
    [
        ({}, None, None, [7]),
        ({3: STOP}, None, None, [4]),
        ({3: SAVE}, None, None, [4, 7]),
        ({2: SAVE, 3: STOP}, None, None, [3, 5]),
        ({}, 3, None, [5]),
        ({}, None, 1e-9, [2, 4, 6, 7]),
    ],
)
def test_processes_do_together_what_one_of_them_asks_for(
    asked: dict[int, int],
    signalled: int | None,
    seconds: float | None,
    saved: list[int],
    varied,
    data_root: Path,
    tmp_path: Path,
    one_device,
    monkeypatch: pytest.MonkeyPatch,
):
    """What comes back with a step is done after the next: by then all have it. With a pause a request is made anew.

    Args:
        asked: what another process asks for, by step; it asks to stop until it is heard.
        signalled: the step during which this process receives SIGTERM.
        seconds: after which this process asks to save.
        saved: the steps at which all save; the last is the end.
    """
    take, train = trainer.Trainer.step, launch.train

    def step(self, state, batch, request=NOTHING):
        state, metrics = take(self, state, batch, request)
        number = int(state.step)
        if number == signalled:
            signal.raise_signal(signal.SIGTERM)
        others = [what for when, what in asked.items() if when == number or (when < number and what == STOP)]
        return state, metrics._replace(request=np.int32(max([request, *others])))

    monkeypatch.setattr(trainer.Trainer, "step", step)
    monkeypatch.setattr(launch, "train", lambda *words, **options: train(*words, **options | {"single_process": False}))
    resolved = varied(intervals=Intervals(checkpoint_steps=None, checkpoint_seconds=seconds, keep_last=9), steps=7)
    outcome = run(resolved, data_root, tmp_path, mesh_config=one_device)
    assert launch.checkpoint_steps(tmp_path, resolved) == saved
    assert (outcome.step, outcome.finished) == (saved[-1], saved[-1] == 7)
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == list(range(1, saved[-1] + 1))


@pytest.mark.parametrize("text", ["5", "5:", "0:3", "7:6", "a:b"])
def test_steps_to_trace_are_a_first_and_a_last(text: str):
    with pytest.raises(InputError, match="`--profile` must be FIRST:LAST"):
        parse_profile(text)
