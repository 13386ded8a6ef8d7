"""Validation during training: where held-out data exist, at no change of what is trained, and the best checkpoint."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import pytest
from click.testing import CliRunner

from audio_data import InputError, open_root
from audio_train import Checkpoints, EvaluationSpec, Intervals, ResolvedRun, Trainer, export, read_metrics, resolve, run
from audio_train.cli import main
from audio_train.run_folder.folder import read_best
from audio_train.training.step import LossSums
from audio_train.training.trainer import default_evaluation


@pytest.fixture(scope="module")
def with_heldout(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder with a held-out dataset; what it holds does not matter here."""
    root = tmp_path_factory.mktemp("validated") / "data"
    shutil.copytree(data_root, root)
    shutil.copytree(root / "short", root / "heldout-short")
    return root


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[int, float]], None]:
    """Let evaluations find losses by step."""

    def arrange(losses: dict[int, float]) -> None:
        def evaluation(self: Trainer) -> Callable:
            def evaluate(state) -> LossSums:
                num_targets = jnp.ones(len(self.resolved.vocabulary.kinds))
                return LossSums(losses[int(state.step)] * num_targets, num_targets)

            return evaluate

        monkeypatch.setattr(Trainer, "evaluation", evaluation)

    return arrange


def evaluations(folder: Path) -> list[tuple[int, dict]]:
    return [
        (line["step"], line["evaluation"]) for line in read_metrics(folder / "metrics.jsonl") if "evaluation" in line
    ]


def kept(folder: Path, resolved: ResolvedRun) -> list[int]:
    with Checkpoints(folder, resolved.fingerprint) as checkpoints:
        return checkpoints.steps()


def test_a_run_is_validated_on_held_out_datasets_and_trains_the_same(
    toy: ResolvedRun, data_root: Path, with_heldout: Path, tmp_path: Path, one_device
):
    run(toy, with_heldout, tmp_path / "validated", mesh_config=one_device)
    run(toy, with_heldout, tmp_path / "without", mesh_config=one_device, validate=False)
    assert evaluations(tmp_path / "without") == []
    assert read_best(tmp_path / "without") is None
    trained = [
        [line["loss"] for line in read_metrics(tmp_path / name / "metrics.jsonl") if "loss" in line]
        for name in ("validated", "without")
    ]
    assert trained[0] == trained[1]
    ((step, found),) = evaluations(tmp_path / "validated")
    assert step == 12  # 12 steps leave no time for another
    # The loss is weighted by kind as the recipe says: text counts four times.
    weight = {kind: n * (4.0 if kind == "text" else 1.0) for kind, n in found["targets"].items()}
    mean = sum(weight[kind] * found["nll"][kind] for kind in weight) / sum(weight.values())
    assert found["loss"] == pytest.approx(mean, rel=1e-5)
    best = read_best(tmp_path / "validated")
    assert best is not None
    assert (best.step, best.loss) == (12, found["loss"])


def test_held_out_datasets_are_those_of_that_name_that_are_not_trained_on(
    toy: ResolvedRun, data_root: Path, with_heldout: Path
):
    datasets = open_root(with_heldout)
    assert default_evaluation(toy, open_root(data_root)) is None
    assert default_evaluation(toy, datasets) == EvaluationSpec(("heldout-short",), 17, 1)
    data = replace(toy.run.data, mixture=(replace(toy.run.data.mixture[0], weights={"heldout-short": 1.0}),))
    assert default_evaluation(resolve(replace(toy.run, data=data), toy.vocabulary), datasets) is None
    # 20 times, and no more batches than hold the 60 documents of 14 tokens: 840 tokens, 256 of them in a batch.
    assert default_evaluation(toy.with_steps(10_000), datasets) == EvaluationSpec(("heldout-short",), 500, 4)
    # At most 2 % of the time, as a batch costs a third of a step: 40 steps allow 2.4 of them.
    assert default_evaluation(toy.with_steps(800), datasets) == EvaluationSpec(("heldout-short",), 40, 2)


def test_the_best_checkpoint_is_kept_besides_the_newest(
    varied, data_root: Path, tmp_path: Path, one_device, scripted, capfd: pytest.CaptureFixture[str]
):
    scripted({2: 3.0, 4: 1.0, 6: 2.0, 8: 1.5})
    intervals = Intervals(checkpoint_steps=1, keep_last=1, evaluation=EvaluationSpec(("long",), 2, 1))
    resolved = varied(intervals=intervals, steps=8)
    assert run(resolved, data_root, tmp_path, mesh_config=one_device, until=3).stopped_by == "--until"
    assert kept(tmp_path, resolved) == [2, 3]
    run(resolved, data_root, tmp_path, mesh_config=one_device)
    assert kept(tmp_path, resolved) == [4, 8]
    assert json.loads((tmp_path / "best.json").read_text()) == {"step": 4, "loss": 1.0}
    words = ["export", str(tmp_path), "--best", "--out", str(tmp_path / "model")]
    assert CliRunner().invoke(main, words, catch_exceptions=False).exit_code == 0
    assert json.loads((tmp_path / "model" / "provenance.json").read_text())["step"] == 4
    assert "name two checkpoints" in CliRunner().invoke(main, [*words, "--step", "8"]).output


def test_an_improvement_is_saved_between_checkpoints(varied, data_root: Path, tmp_path: Path, one_device, scripted):
    scripted({2: 3.0, 4: float("nan"), 6: 2.0, 8: 2.0})
    intervals = Intervals(checkpoint_seconds=None, keep_last=1, evaluation=EvaluationSpec(("long",), 2, 1))
    resolved = varied(intervals=intervals, steps=8)
    run(resolved, data_root, tmp_path, mesh_config=one_device)
    assert kept(tmp_path, resolved) == [6, 8]


def test_a_run_that_was_killed_while_it_saved_its_best_checkpoint_finds_it_again(
    varied, data_root: Path, tmp_path: Path, one_device, scripted
):
    scripted({2: 3.0, 4: 2.5, 6: 2.0, 8: 2.2})
    intervals = Intervals(checkpoint_seconds=None, keep_last=1, evaluation=EvaluationSpec(("long",), 2, 1))
    resolved = varied(intervals=intervals, steps=8)
    run(resolved, data_root, tmp_path / "straight", mesh_config=one_device)
    killed = tmp_path / "killed"
    run(resolved, data_root, killed, mesh_config=one_device, until=5)
    # As a kill during the save at step 6 leaves it: the file and the line are there, the checkpoint is not.
    (killed / "best.json").write_text('{"step": 6, "loss": 2.0}')
    with (killed / "metrics.jsonl").open("a") as lines:
        lines.write('{"step":6,"evaluation":{"loss":2.0,"nll":{},"targets":{}}}\n')
    with pytest.raises(InputError, match=r"must be one of the checkpoints \[4, 5\]"):
        export(killed, step="best", out_dir=tmp_path / "model")
    run(resolved, data_root, killed, mesh_config=one_device)
    assert kept(killed, resolved) == kept(tmp_path / "straight", resolved) == [6, 8]
    assert read_best(killed) == read_best(tmp_path / "straight")
    assert evaluations(killed) == evaluations(tmp_path / "straight")


def test_a_run_without_validation_has_no_best_checkpoint(toy, data_root: Path, tmp_path: Path, one_device):
    run(toy, data_root, tmp_path, mesh_config=one_device, until=1)
    with pytest.raises(InputError, match="must have been validated to have a best checkpoint"):
        export(tmp_path, step="best")
