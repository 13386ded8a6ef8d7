"""Recipes run at smoke scale from the sample recordings to an exported model, by the commands a user would type.

A warm start runs by default, as does `exp2.1-135m` in `test_published_forms.py`; `uv run pytest -m slow
tests/recipes/test_smoke.py` runs every recipe. SMOKE_DATA names a folder to keep the data in.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audio_data import Vocabulary
from audio_train import ModelShape, experiments
from audio_train.recipes.targets import find_target

pytestmark = pytest.mark.optimized

PROGRAM = str(Path(sys.executable).with_name("audio-train"))
NAMES = [name for study in experiments().values() if study.vocabulary is not None for name in study.runs]
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
    audio_train("soda", "make-smoke-data", "--out", str(root), "--for", name)
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


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_runs_at_smoke_scale(name: str, root: Path, tmp_path: Path):
    seconds = run_smoke(name, root, tmp_path / "run")
    assert_trained(tmp_path / "run")
    assert seconds < SECONDS


def published_folder(folder: Path, shape: ModelShape, vocab_size: int) -> None:
    """Random weights as the library of the hub's models writes them: bfloat16, in shards, with Qwen3's function."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config = transformers.Qwen3Config(
        vocab_size=vocab_size,
        hidden_size=shape.embed,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=32_768,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=shape.tied,
    )
    model = transformers.Qwen3ForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="3MB")
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 1


@pytest.mark.slow
@pytest.mark.parametrize(("name", "theta"), [("exp2.2-0.6b", 5e5), ("exp2.2-weights-function-0.6b", 1e6)])
def test_a_warm_start_begins_with_a_folder_as_published(name: str, theta: float, root: Path, tmp_path: Path):
    audio_train("soda", "make-smoke-data", "--out", str(root), "--for", "exp1.4-text-5")
    vocabulary = Vocabulary.read(root / "vocabulary" / "vocabulary.json")
    shape = find_target(name).at_scale("smoke").model
    assert isinstance(shape, ModelShape)
    published_folder(tmp_path / "hub", shape, vocabulary.size)
    weights = {"yodas2/en": 0.95, "nemotron_cc/hq_actual": 0.05}
    mixture = json.dumps([{"start_fraction": 0.0, "weights": weights}])
    changes = [f"--set={change}" for change in (f"data.mixture={mixture}", "intervals.evaluation=null", "steps=8")]
    where = ("--data", str(root), "--out", str(tmp_path / "run"), "--init", str(tmp_path / "hub"))
    audio_train("run", name, "--scale", "smoke", *where, *changes)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 8
    assert losses[-1] < losses[0]
    exported = json.loads((tmp_path / "run" / "export" / "config.json").read_text())
    assert (exported["rope_theta"], exported["rope_scaling"] is None) == (theta, theta == 1e6)
