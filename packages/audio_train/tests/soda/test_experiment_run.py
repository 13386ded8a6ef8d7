"""A study's report from the folders of its runs, and how it goes on with what is finished."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from audio_data import InputError
from audio_train import EvaluationSpec, MeshConfig, ResolvedRun, find_experiment
from audio_train.command_lines import Command
from audio_train.isoflop.report import measurement_of, read_measurements, write_measurements
from audio_train.run_folder.summary import mean_by_group, summarize_run
from audio_train.soda import experiment_run
from audio_train.soda.experiment_run import SeededRun, run_experiment, write_report
from audio_train.training import launch


def test_losses_of_kinds_are_weighted_by_their_targets():
    nll = {"text": 2.0, "codebook_0": 4.0, "codebook_1": 6.0, "codebook_7": 8.0}
    targets = {"text": 10, "codebook_0": 20, "codebook_1": 30, "codebook_7": 10, "special": 0}
    found = mean_by_group(nll, targets)
    assert found == pytest.approx({"text": 2.0, "semantic": 4.0, "acoustic": 6.5, "all": (20 + 80 + 180 + 80) / 70})


@pytest.fixture
def finished(toy: ResolvedRun, data_root: Path, tmp_path: Path, one_device: MeshConfig) -> Path:
    """A folder in which one run of a study is finished, under the name of one of its recipes."""
    launch.run(toy, data_root, tmp_path / "runs" / "exp1.7-semantic", mesh_config=one_device)
    return tmp_path


@pytest.mark.long
def test_a_report_holds_every_run_with_what_it_came_to(finished: Path, toy: ResolvedRun):
    study = find_experiment("exp1.7")
    outcome = summarize_run(finished / "runs" / "exp1.7-semantic", "exp1.7-semantic")
    assert (outcome.num_steps, outcome.num_parameters) == (toy.num_steps, toy.model.num_parameters)
    assert 0 < outcome.training_loss < 10
    report = write_report(study, finished, [outcome], "smoke")
    assert json.loads((finished / "report.json").read_text()) == json.loads(json.dumps(report))
    page = (finished / "report.md").read_text()
    assert "| exp1.7-semantic |" in page
    assert "best on sBLIMP" in page


@pytest.mark.long
def test_losses_of_runs_become_measurements(toy: ResolvedRun, data_root: Path, tmp_path: Path, one_device: MeshConfig):
    intervals = replace(toy.run.intervals, evaluation=EvaluationSpec(("short",), every_steps=6, num_batches=2))
    launch.run(
        replace(toy, run=replace(toy.run, intervals=intervals)), data_root, tmp_path / "run", mesh_config=one_device
    )
    found = measurement_of(tmp_path / "run")
    assert found.budget_flops == pytest.approx(toy.training_flops, rel=0.05)
    assert found.num_tokens == toy.num_tokens
    assert 0 < found.loss < 6
    write_measurements(tmp_path / "losses.csv", {"run": found})
    assert read_measurements(tmp_path / "losses.csv") == [found]
    write_measurements(tmp_path / "losses.csv", {"run": found})
    (tmp_path / "losses.csv").write_text("mine,too\n1,2\n")
    with pytest.raises(InputError, match="exists and was not written by this command"):
        write_measurements(tmp_path / "losses.csv", {"run": found})


def test_a_run_without_held_out_loss_is_no_measurement(finished: Path):
    with pytest.raises(InputError, match="must have a held-out loss"):
        measurement_of(finished / "runs" / "exp1.7-semantic")


def test_finished_runs_are_kept_and_said_to_be(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    commands: list[list[str]] = []

    def stop(command: Command, program: str, *, to_stderr: bool, name: str) -> None:
        commands.append([program, *command.words[1:]])
        raise SystemExit(130)

    monkeypatch.setattr(experiment_run, "run_command", stop)
    monkeypatch.setattr(experiment_run, "generate", lambda root, names, at_hand, to_stderr: 0)
    with pytest.raises(SystemExit):
        run_experiment("exp1.7", finished / "data", finished, scale="smoke")
    assert "1 of 3 runs are finished" in capsys.readouterr().err
    assert [words[2] for words in commands] == ["exp1.7-semantic-acoustic"]
    report = run_experiment("exp1.7", finished / "data", finished, scale="smoke", only=("exp1.7-semantic",))
    assert [run["name"] for run in report["runs"]] == ["exp1.7-semantic"]


def test_seeds_lie_side_by_side_and_a_run_begins_with_the_checkpoint_of_its_own_seed(tmp_path: Path):
    before, after = SeededRun("grammar-loss-factored", 1), SeededRun("grammar-loss-finish", 1)
    assert before.folder(tmp_path) == tmp_path / "runs" / "grammar-loss-factored-seed1"
    assert "--start" not in after.words(tmp_path, tmp_path, "smoke")
    checkpoint = before.folder(tmp_path) / "checkpoints" / "320"
    checkpoint.mkdir(parents=True)
    words = after.words(tmp_path, tmp_path, "smoke")
    assert words[-4:] == ("--set", "seed=1", "--start", str(checkpoint))
    assert SeededRun("grammar-loss-finish").words(tmp_path, tmp_path, "smoke")[-2:] == (
        "--out",
        str(tmp_path / "runs" / "grammar-loss-finish"),
    )


def test_unknown_names_are_answered_with_their_neighbours(tmp_path: Path):
    with pytest.raises(InputError, match=r"no experiment `exp1\.8`; did you mean"):
        run_experiment("exp1.8", tmp_path, tmp_path, scale="smoke")
    with pytest.raises(InputError, match=r"has no run 'exp1\.7-text'; it has exp1\.7-semantic"):
        run_experiment("exp1.7", tmp_path, tmp_path, scale="smoke", only=("exp1.7-text",))


def test_a_command_reads_as_it_would_be_typed():
    assert str(Command("what for", ("audio-train", "run", "a b"))) == "audio-train run 'a b'"
