import os
import signal
from pathlib import Path

import equinox as eqx
import pytest

from audio_train import DivergenceError, read_metrics, run, trainer
from audio_train.loop import StopRequest


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
