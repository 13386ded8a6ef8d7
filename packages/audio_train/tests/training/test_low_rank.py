"""Low-rank runs: what is trained, what stays, and what is exported."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

from audio_data import InputError
from audio_model import InputError as ModelError
from audio_model import LowRank, load_model, merge, save_model
from audio_train import (
    InitSpec,
    Intervals,
    LowRankSpec,
    MeshConfig,
    OptimizerSpec,
    ResolvedRun,
    Trainer,
    read_metrics,
    resolve,
    run,
)
from audio_train.cli import main
from audio_train.overrides import override
from audio_train.run_folder.checkpoint import Checkpoints, flat_paths
from audio_train.state import TrainState
from audio_train.training.initialization import resolve_init
from audio_train.training.launch import export
from audio_train.training.step import objective

ALONE = MeshConfig(data=1)
LORA = LowRankSpec(2, 4.0, ("q_proj", "down_proj"))
DORA = replace(LORA, dora=True)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A model folder with random weights of the toy run's shape."""
    from audio_model import initialize

    folder = tmp_path_factory.mktemp("base") / "model"
    save_model(folder, initialize(request.getfixturevalue("toy").model, jax.random.key(7)))
    return folder


@pytest.fixture(scope="module")
def low_rank_run(request: pytest.FixtureRequest):
    """A run of four steps from the base, with some fields replaced."""
    toy = request.getfixturevalue("toy")

    def make(**changes) -> ResolvedRun:
        intervals = Intervals(checkpoint_steps=2, checkpoint_seconds=None, keep_last=3)
        fields = {"init": InitSpec("model", source="base"), "low_rank": DORA, "steps": 4, "intervals": intervals}
        return replace(resolve(replace(toy.run, **{**fields, **changes}), toy.vocabulary), datasets=toy.datasets)

    return make


def state_at(folder: Path, step: int, like: TrainState) -> TrainState:
    fingerprint = json.loads((folder / "resolved.json").read_text())["fingerprint"]
    with Checkpoints(folder, fingerprint) as checkpoints:
        return checkpoints.restore(step, like)


@pytest.fixture(scope="module")
def trained(
    low_rank_run, base: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, TrainState]:
    """A finished DoRA run and its last state."""
    resolved, folder = low_rank_run(), tmp_path_factory.mktemp("runs") / "undisturbed"
    data_root = request.getfixturevalue("data_root")
    assert run(resolved, data_root, folder, mesh_config=ALONE, init=base).finished
    return folder, state_at(folder, 4, Trainer(resolved, data_root, ALONE).abstract_state)


def test_only_adapters_are_trained_and_the_export_has_them_merged(trained, base: Path):
    (folder, state), weights = trained, load_model(base)
    for name, leaf in flat_paths(weights).items():
        np.testing.assert_array_equal(flat_paths(state.model)[name], leaf, err_msg=name)
    assert state.adapters is not None
    assert all(np.abs(adapter.b).max() > 0 for adapter in state.adapters.layers.values())
    exported = load_model(folder / "export")
    expected = merge(weights, state.adapters, LowRank(2, 4.0, LORA.targets, dora=True))
    for name, leaf in flat_paths(expected).items():
        np.testing.assert_allclose(flat_paths(exported)[name], leaf, rtol=1e-6, atol=1e-7, err_msg=name)
    assert np.abs(exported.layers.query - weights.layers.query).max() > 1e-3
    np.testing.assert_array_equal(exported.layers.key, weights.layers.key)


def test_moments_are_those_of_adapters(trained):
    _, state = trained
    adapters = sorted(leaf.shape for leaf in jax.tree.leaves(state.adapters))
    moments = sorted(leaf.shape for leaf in jax.tree.leaves(state.optimizer) if leaf.ndim)
    assert moments == sorted(adapters * 2)


def test_the_gradient_is_that_of_the_loss_of_merged_weights(trained, low_rank_run, base: Path, data_root: Path):
    """Its norm at the first step, by differentiating the whole loss with respect to the adapters."""
    folder, _ = trained
    trainer = Trainer(low_rank_run(), data_root, ALONE, resolve_init(low_rank_run(), base))
    state, loss = trainer.initial_state(), objective(trainer.resolved)
    spec = LowRank(2, 4.0, LORA.targets, dora=True)
    gradient = jax.jit(jax.grad(lambda adapters, batch: loss(merge(state.model, adapters, spec), batch)[0]))(
        state.adapters, next(trainer.batches(0))
    )
    expected = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(gradient)))
    np.testing.assert_allclose(next(iter(read_metrics(folder / "metrics.jsonl")))["grad_norm"], expected, rtol=1e-4)


def test_a_stopped_run_goes_on_bit_for_bit_without_its_start(
    trained, low_rank_run, base: Path, data_root: Path, tmp_path: Path
):
    _, expected = trained
    resolved, folder, start = low_rank_run(), tmp_path / "stopped", tmp_path / "start"
    start.symlink_to(base)
    assert not run(resolved, data_root, folder, mesh_config=ALONE, init=start, until=2).finished
    start.unlink()
    result = CliRunner().invoke(main, ["resume", str(folder), "--mesh", "data=1"])
    assert result.exit_code == 0, result.output
    found = flat_paths(state_at(folder, 4, expected))
    for name, leaf in flat_paths(expected).items():
        np.testing.assert_array_equal(found[name], leaf, err_msg=name)


def test_adapters_alone_are_exported(trained, data_root: Path, tmp_path: Path):
    folder, state = trained
    out = tmp_path / "adapter"
    result = CliRunner().invoke(main, ["export", str(folder), "--adapter", "--out", str(out)])
    assert result.exit_code == 0, result.output
    config = json.loads((out / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["use_dora"]) == (2, 4.0, True)
    tensors = load_file(out / "adapter_model.safetensors")
    assert len(tensors) == 2 * 2 * 3
    name = "base_model.model.model.layers.1.mlp.down_proj"
    np.testing.assert_array_equal(tensors[f"{name}.lora_B.weight"], state.adapters.layers["down_proj"].b[1].T)
    with pytest.raises(InputError, match="`--out` must name a new or empty folder"):
        export(folder, data_root, out_dir=out, adapter=True)


@pytest.mark.slow
def test_steps_are_the_same_on_four_devices_and_in_parts(low_rank_run, base: Path, data_root: Path):
    mesh = MeshConfig(data=2, fsdp=2, microbatches=2)
    resolved = low_rank_run(optimizer=OptimizerSpec("adamw", 1e-2, epsilon=1e-3))
    states = []
    for config in (ALONE, mesh):
        trainer = Trainer(resolved, data_root, config, resolve_init(resolved, base))
        trainer.compile()
        state = trainer.initial_state()
        for batch, _ in zip(trainer.batches(0), range(2), strict=False):
            state, _ = trainer.step(state, batch)
        states.append(flat_paths(state.adapters))
    for name, leaf in states[0].items():
        np.testing.assert_allclose(states[1][name], leaf, rtol=1e-3, atol=1e-5, err_msg=name)


def test_a_run_without_adapters_has_the_json_of_before(toy: ResolvedRun, low_rank_run):
    assert "low_rank" not in toy.to_json()["run"]
    resolved = low_rank_run()
    assert ResolvedRun.from_json(json.loads(json.dumps(resolved.to_json()))).run == resolved.run
    assert len({low_rank_run(low_rank=spec).fingerprint for spec in (None, LORA, DORA)}) == 3
    assert override(low_rank_run(low_rank=None).run, 'low_rank={"rank": 4}').low_rank == LowRankSpec(4)


def test_what_cannot_be_adapted_is_refused(
    toy: ResolvedRun, trained, low_rank_run, data_root: Path, tmp_path: Path, vocabulary
):
    with pytest.raises(InputError, match="`low_rank` adapts weights that the run starts from"):
        resolve(replace(toy.run, low_rank=LORA), vocabulary)
    with pytest.raises(ModelError, match="`rank` must be at most 16, the width of `q_proj`, got 17"):
        low_rank_run(low_rank=replace(LORA, rank=17))
    with pytest.raises(ModelError, match="got 'lm_head'"):
        low_rank_run(low_rank=replace(LORA, targets=("lm_head",)))
    with pytest.raises(InputError, match=r"low_rank.rank"):
        replace(LORA, rank=0)
    folder, _ = trained
    for init in (InitSpec("checkpoint", source="toy@2"), InitSpec("checkpoint", source="toy@2", state="continue")):
        with pytest.raises(InputError, match=r"start from its export with init\.kind=model"):
            resolve_init(low_rank_run(low_rank=None, init=init), folder)
    with pytest.raises(InputError, match="holds the weights before training"):
        resolve_init(low_rank_run(init=InitSpec("checkpoint", source="toy@2")), folder)
