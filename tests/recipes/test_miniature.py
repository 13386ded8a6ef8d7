"""The page of what the miniature shows is the one that its numbers give, and the sweep behind it can be run again.

`uv run pytest -m slow tests/recipes/test_miniature.py` trains the sweep; SMOKE_DATA names a folder to keep the data in.
`audio-train soda miniature --data DATA --out RUNS --docs docs` trains everything and writes the page anew.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from audio_data import Vocabulary
from audio_train import find_experiment
from audio_train.soda.catalogue import SMALL
from audio_train.soda.comparisons import COMPARISONS
from audio_train.soda.miniature import SWEEP, fit_lines
from audio_train.soda.miniature_page import figures, page, sweep_fit

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
RESULTS = json.loads((DOCS / "miniature" / "results.json").read_text(encoding="utf-8"))
PROGRAM = str(Path(sys.executable).with_name("audio-train"))
SECONDS = 3600


def test_the_page_and_its_figures_are_those_of_its_numbers():
    assert (DOCS / "miniature.md").read_text(encoding="utf-8") == page(RESULTS)
    drawn = figures(RESULTS)
    assert {path.name for path in (DOCS / "miniature").iterdir()} == {"results.json", *drawn}
    for name, svg in drawn.items():
        assert (DOCS / "miniature" / name).read_text(encoding="utf-8") == svg


def test_the_numbers_are_of_the_runs_that_are_compared_now():
    compared = {comparison.name: comparison for comparison in COMPARISONS}
    for name, rows in RESULTS["comparisons"].items():
        assert list(rows) == list(compared[name].runs)
        seeds = {len(values) for row in rows.values() for values in row["scores"].values()}
        assert len(seeds) == 1, name
        for row in rows.values():
            assert set(row["scores"]) == {column.label for column in compared[name].columns}
    assert len(RESULTS["sweep"]) == len(find_experiment(SWEEP).runs)


def test_every_budget_of_the_sweep_has_its_minimum_inside():
    fit = sweep_fit(RESULTS)
    assert RESULTS["fit"] == fit_lines(fit.measurements)
    assert len(fit.optima) >= 3
    for optimum in fit.optima:
        sizes = [m.num_parameters for m in fit.measurements if m.budget_flops == optimum.budget_flops]
        assert min(sizes) < optimum.num_parameters < max(sizes)


@pytest.mark.slow
def test_the_sweep_runs_again_and_goes_on_where_it_was(tmp_path: Path):
    """Train it in two goes, and fit its losses by the commands of the page."""
    data = Path(os.environ.get("SMOKE_DATA", tmp_path / "data"))
    start, runs = time.monotonic(), list(find_experiment(SWEEP).runs)
    study = ("soda", "run", SWEEP, "--data", str(data), "--out", str(tmp_path / "sweep"))
    _run(*study, "--only", runs[0])
    assert f"{SWEEP}: 1 of {len(runs)} runs are finished" in _run(*study).stderr
    assert time.monotonic() - start < SECONDS
    vocabulary = Vocabulary.read(data / "vocabulary" / "vocabulary.json")
    assert replace(vocabulary, text_tokenizer=SMALL.text_tokenizer) == SMALL
    folders = [str(tmp_path / "sweep" / "runs" / name) for name in runs]
    _run("isoflop", "losses", *folders, "--out", str(tmp_path / "losses.csv"))
    fit = json.loads(_run("isoflop", "fit", str(tmp_path / "losses.csv"), "--no-parametric", "--json").stdout)
    assert len(fit["optima"]) == 3
    for found, published in zip(fit["optima"], sweep_fit(RESULTS).optima, strict=True):
        assert found["loss"] == pytest.approx(published.loss, abs=0.1)


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run([PROGRAM, *words], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done
