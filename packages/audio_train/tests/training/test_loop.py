import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import equinox as eqx
import jax
import pytest

from audio_data import InputError
from audio_train import Cadence, DivergenceError, read_metrics, run
from audio_train.training import trainer
from audio_train.training.loop import StopRequest, parse_profile


def test_a_run_that_cannot_go_on_names_the_step_and_its_records(
    varied, data_root: Path, tmp_path: Path, one_device, monkeypatch: pytest.MonkeyPatch
):
    resolved = varied()
    good = trainer.objective
    monkeypatch.setattr(trainer, "objective", lambda run: _infinite(good(run)))
    with pytest.raises(DivergenceError, match=r"step 8: .*not finite for 8 steps in a row.*utterance-\d+"):
        run(resolved, data_root, tmp_path, placement=one_device)
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
    resolved = varied(cadence=Cadence(checkpoint_steps=4, checkpoint_seconds=None), steps=8)
    for reached in (7, 8):
        assert run(resolved, data_root, tmp_path, placement=one_device).step == reached
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
    run(resolved, data_root, tmp_path, placement=one_device)
    (spike,) = (line for line in read_metrics(tmp_path / "metrics.jsonl") if "spike" in line)
    assert spike["step"] == 20
    assert spike["loss"] - spike["spike"]["usual_loss"] == pytest.approx(5.0, abs=0.5)
    assert len(spike["records"]) == resolved.run.data.batch_size


@pytest.mark.parametrize("text", ["5", "5:", "0:3", "7:6", "a:b"])
def test_steps_to_trace_are_a_first_and_a_last(text: str):
    with pytest.raises(InputError, match="`--profile` takes FIRST:LAST"):
        parse_profile(text)
