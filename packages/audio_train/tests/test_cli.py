"""The command line, in this process where that is enough, and in processes that are killed where it is not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import load_file

from audio_data import to_json
from audio_train import MeshConfig, Trainer, TrainRun, experiments, read_metrics
from audio_train.cli import main
from audio_train.recipes import table
from audio_train.training import launch

PROGRAM = [sys.executable, "-c", "from audio_train.cli import main; main()"]


@pytest.fixture
def invoke():
    def run(*words: object) -> Result:
        return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)

    return run


def toy_settings(toy_run: TrainRun, **changes: object) -> list[str]:
    """The toy run as overrides of a recipe, so that it can be named on a command line."""
    values = {**to_json(toy_run), **changes}
    return [word for name, value in values.items() for word in ("--set", f"{name}={json.dumps(value)}")]


def test_help_imports_no_jax():
    code = (
        "import sys; from audio_train.cli import main\ntry: main(['--help'])\nfinally: assert 'jax' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "quickstart" in done.stdout


def test_recipes_are_listed(invoke):
    listed = json.loads(invoke("recipes", "--json").stdout)
    by_name = {row["name"]: row for row in listed["recipes"]}
    assert set(by_name) == {name for study in experiments().values() for name in study.runs}
    cold = by_name["exp2.1-4b"]
    assert (cold["num_parameters"], cold["num_steps"], cold["mixture"]) == (4_374_089_216, 238_419, "soda")
    every = invoke("recipes", "--all").stdout.splitlines()
    (line,) = (line for line in every if line.split()[:1] == ["exp2.1-4b"])
    assert line.split()[1:7] == ["4.37B", "params", "500B", "tokens", "1.57e22", "FLOPs"]
    assert len(every) == len(by_name) + len(experiments())


def test_recipes_without_words_are_the_experiments_on_one_screen(invoke):
    lines = invoke("recipes").stdout.splitlines()
    assert len(lines) == len(experiments()) + 1
    assert len(lines) <= 24
    assert {line.split()[1]: int(line.split()[0]) for line in lines[:-1]} == {
        name: len(experiment.runs) for name, experiment in experiments().items()
    }


def test_recipes_are_filtered_by_words_in_their_names_model_and_mixture(invoke):
    rows = json.loads(invoke("recipes", "EXP1.2", "mls", "--json").stdout)["recipes"]
    every = json.loads(invoke("recipes", "--json").stdout)["recipes"]
    assert rows == [
        row for row in every if "exp1.2" in row["experiment"] and "mls" in f"{row['name']} {row['mixture']}"
    ]
    assert 0 < len(rows) < 17
    (heading, row) = invoke("recipes", "exp2.1-4b").stdout.splitlines()
    assert heading.startswith("exp2.1: ")
    assert row.startswith("  exp2.1-4b ")
    assert "did you mean exp1.2" in invoke("recipes", "exp1.22").stderr


def test_lines_of_recipes_are_cut_to_the_width_of_a_terminal():
    rows = list(table.rows(experiments().values()))
    assert max(map(len, table.lines(rows, 80))) == 80
    assert max(map(len, table.overview(experiments().values(), 60))) == 60
    assert table.shortened("abcdef", 4) == "abc…"
    assert table.shortened("abcd", 4) == "abcd"


def test_checkpoints_of_the_study_are_listed(invoke):
    listed = json.loads(invoke("soda", "checkpoints", "--json").stdout)
    assert {c["name"]: c["revision"] for c in listed["checkpoints"]}["soda-p"] == "9dc7905"
    assert [export["step"] for export in listed["exports"]] == [10_000, 210_000, 220_000, 230_000]


def test_show_prints_every_number_and_its_overrides(invoke):
    shown = json.loads(invoke("show", "exp2.1-0.6b", "--set", "data.batch_size=256", "--json").stdout)
    assert shown["derived"]["num_steps"] == 476_838
    assert shown["derived"]["peak_learning_rate"] == pytest.approx(0.003)
    lines = [line.partition("  #")[0] for line in invoke("show", "exp2.1-0.6b").stdout.splitlines()]
    assert "derived.num_parameters = 736698368" in lines
    assert "run.optimizer.beta1 = 0.98" in lines


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "exp2.1-4"], "there is no recipe `exp2.1-4`; did you mean"),
        (["show", "exp2.1-4b", "--set", "optimizer.beta_2=0.9"], "has no `beta_2`; did you mean beta2"),
        (["show", "exp1.6-9e18-d512", "--set", "data.batch_size=32"], "follows from the budget and the width"),
        (["show", "exp1.3-mls-en", "--set", "steps=1000"], "`steps` of `exp1.3-mls-en` follows from where the anneal"),
        (["isoflop", "fit", "nowhere.csv"], "must be a CSV file with the columns"),
        (["soda", "tokenization", "tokenize-emilia-fixed"], "did you mean tokenize-emilia-fix"),
        (["show", "quickstart"], "`--data` must be given for recipe `quickstart`"),
        (["resume", "nowhere"], "must hold a run, got no resolved.json"),
        (["export", "nowhere"], "must hold a run, got no resolved.json"),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_2(invoke, words: list[str], message: str):
    result = invoke(*words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_ctrl_c_saves_and_says_how_to_go_on(
    invoke, toy_run: TrainRun, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    take, taken = Trainer.step, iter(range(1, 100))

    def step(self, *arguments):
        if next(taken) == 4:
            signal.raise_signal(signal.SIGINT)
        return take(self, *arguments)

    monkeypatch.setattr(Trainer, "step", step)
    monkeypatch.setattr(launch.MeshConfig, "spread", lambda *_, **__: MeshConfig(data=1))
    settings = toy_settings(toy_run)
    stopped = invoke("run", "quickstart", "--data", data_root, "--out", tmp_path / "run", *settings)
    assert stopped.exit_code == 130
    assert f"saved step 4 of 12; continue with: audio-train resume {tmp_path / 'run'}" in stopped.stdout
    finished = invoke("resume", tmp_path / "run")
    assert finished.exit_code == 0
    assert "finished step 12" in finished.stdout
    again = invoke("export", tmp_path / "run", "--out", tmp_path / "model")
    assert again.stdout.strip() == str(tmp_path / "model")


class Runs:
    """Runs of the toy recipe in processes of their own, on one device each."""

    def __init__(self, data_root: Path, settings: list[str], environment: dict[str, str]):
        self._start = [*PROGRAM, "run", "quickstart", "--data", str(data_root), *settings]
        self.environment = environment

    def start(self, folder: Path) -> subprocess.Popen:
        command = [*self._start, "--out", str(folder)]
        return subprocess.Popen(
            command, env=self.environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def finish(self, folder: Path) -> None:
        process = self.start(folder)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors

    def interrupt(self, folder: Path, number: int, *, after_lines: int) -> int:
        """Send a signal once so many lines of metrics are there; returns the exit status."""
        process, metrics = self.start(folder), folder / "metrics.jsonl"
        while process.poll() is None and not (metrics.exists() and metrics.read_bytes().count(b"\n") >= after_lines):
            time.sleep(0.02)
        process.send_signal(number)
        _, errors = process.communicate(timeout=300)
        assert process.returncode in (0, -signal.SIGKILL), errors
        return process.returncode


@pytest.fixture
def runs(toy_run: TrainRun, data_root: Path) -> Runs:
    intervals = {"checkpoint_steps": 20, "checkpoint_seconds": None, "keep_last": 2}
    settings = toy_settings(toy_run, steps=160, intervals={**to_json(toy_run.intervals), **intervals})
    return Runs(data_root, settings, {**os.environ, "XLA_FLAGS": ""})


def assert_same(folder: Path, undisturbed: Path, num_steps: int) -> None:
    names = ("step", "loss", "nll", "grad_norm")
    ours, theirs = (
        [[line[n] for n in names] for line in read_metrics(f / "metrics.jsonl")] for f in (folder, undisturbed)
    )
    assert [line[0] for line in ours] == list(range(1, num_steps + 1))
    assert ours == theirs
    weights, expected = (load_file(f / "export" / "model.safetensors") for f in (folder, undisturbed))
    for name, array in expected.items():
        np.testing.assert_array_equal(weights[name], array, err_msg=name)


@pytest.mark.slow
def test_killed_and_terminated_runs_go_on_bit_for_bit(runs: Runs, tmp_path: Path):
    runs.finish(tmp_path / "undisturbed")
    killed = tmp_path / "killed"
    assert runs.interrupt(killed, signal.SIGKILL, after_lines=50) == -signal.SIGKILL
    assert runs.interrupt(killed, signal.SIGTERM, after_lines=100) == 0
    runs.finish(killed)
    assert_same(killed, tmp_path / "undisturbed", 160)


@pytest.mark.slow
def test_twenty_kills_at_any_moment_change_nothing(runs: Runs, tmp_path: Path):
    """SIGKILL at random times, during start, steps, saves and export; a compiled step is never shared."""
    for shortcut in ("JAX_COMPILATION_CACHE_DIR", "JAX_DISABLE_MOST_OPTIMIZATIONS"):
        runs.environment.pop(shortcut, None)
    runs.finish(tmp_path / "undisturbed")
    killed, rng = tmp_path / "killed", np.random.default_rng(0)
    for _ in range(20):
        process, metrics = runs.start(killed), killed / "metrics.jsonl"
        before = metrics.stat().st_mtime_ns if metrics.exists() else 0
        while process.poll() is None and not (metrics.exists() and metrics.stat().st_mtime_ns > before):
            time.sleep(0.02)
        time.sleep(rng.uniform(0.0, 0.4))
        process.kill()
        process.communicate()
    runs.finish(killed)
    assert_same(killed, tmp_path / "undisturbed", 160)
