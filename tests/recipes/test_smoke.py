"""Recipes run at smoke scale from the sample recordings to an exported model, by the commands a user would type.

`uv run pytest -m slow tests/recipes/test_smoke.py` runs every recipe; SMOKE_DATA names a folder to keep the data in.
"""

import datetime
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audio_train import STUDIES

pytestmark = pytest.mark.optimized

PROGRAM = str(Path(sys.executable).with_name("audio-train"))
NAMES = [name for study in STUDIES if study.vocabulary is not None for name in study.runs]
# Runs of less than a minute; every day another one stands for all.
SHORT = [name for name in NAMES if name.startswith("exp1.2-")]
DAY = datetime.date.today().toordinal()
TODAY = SHORT[DAY % len(SHORT)]
SECONDS = 180


def audio_train(*words: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run([PROGRAM, *words], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    kept = os.environ.get("SMOKE_DATA")
    return Path(kept) if kept else tmp_path_factory.mktemp("smoke")


def run_smoke(name: str, root: Path, out: Path) -> float:
    """Make the data, run the recipe; returns the seconds of the run."""
    audio_train("smoke-data", "--out", str(root), "--for", name)
    start = time.monotonic()
    audio_train("run", name, "--scale", "smoke", "--data", str(root), "--out", str(out))
    return time.monotonic() - start


def assert_trained(out: Path) -> None:
    """It learned something, was evaluated on what it had not seen, and was exported."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    last = losses[-max(1, len(losses) // 10) :]
    assert sum(last) / len(last) < losses[0]
    (evaluation,) = (line["evaluation"] for line in lines if "evaluation" in line)
    assert sum(evaluation["targets"].values()) > 1000
    assert (out / "export" / "model.safetensors").exists()


@pytest.mark.parametrize("name", [TODAY])
def test_a_recipe_runs_at_smoke_scale(name: str, root: Path, tmp_path: Path):
    run_smoke(name, root, tmp_path / "run")
    assert_trained(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_runs_at_smoke_scale(name: str, root: Path, tmp_path: Path):
    seconds = run_smoke(name, root, tmp_path / "run")
    assert_trained(tmp_path / "run")
    assert seconds < SECONDS
