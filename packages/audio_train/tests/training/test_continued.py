"""Runs that go on with the whole training state of another, under a rule, a schedule and data of their own."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from audio_data import BatchLoader, Mixture, open_root
from audio_train import (
    InitSpec,
    Intervals,
    MeshConfig,
    MixtureStage,
    OptimizerSpec,
    ResolvedRun,
    ScheduleSpec,
    Trainer,
    read_metrics,
    run,
)
from audio_train.optimization.optimizers import decay_mask
from audio_train.run_folder.checkpoint import Checkpoints, flat_paths
from audio_train.state import TrainState
from audio_train.training.initialization import resolve_init
from audio_train.training.step import Batch, loss_and_gradient, objective

ALONE = MeshConfig(data=1)
FIRST, LAST = 3, 6
RULES = {
    "cautious_adamc": OptimizerSpec("cautious_adamc", 1e-2, 0.95, 0.98, 1e-12, weight_decay=0.1),
    "adamw": OptimizerSpec("adamw", 2e-2, 0.9, 0.95, weight_decay=0.3),
    "muon": OptimizerSpec("muon", 1e-3, weight_decay=0.1),
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """The folder of a run of six steps under a rule, which keeps the checkpoint of the third; each trained once."""
    toy, data_root = request.getfixturevalue("toy"), request.getfixturevalue("data_root")
    folders: dict[str, Path] = {}

    def base(rule: str) -> Path:
        if rule not in folders:
            folders[rule] = tmp_path_factory.mktemp("runs") / rule
            intervals = Intervals(checkpoint_steps=FIRST, checkpoint_seconds=None, keep_last=3)
            whole = replace(toy, run=replace(toy.run, intervals=intervals, optimizer=RULES[rule])).with_steps(LAST)
            assert run(whole, data_root, folders[rule], mesh_config=ALONE).finished
        return folders[rule]

    return base


@pytest.fixture
def continued(varied) -> Callable[..., ResolvedRun]:
    """A run that goes on from the third step, with some fields replaced."""
    init = InitSpec(kind="checkpoint", source=f"toy@{FIRST}", state="continue")
    intervals = Intervals(checkpoint_seconds=None)
    return lambda **changes: varied(**{"name": "continued", "init": init, "intervals": intervals, **changes})


def state_at(folder: Path, step: int, like: TrainState) -> TrainState:
    fingerprint = json.loads((folder / "resolved.json").read_text())["fingerprint"]
    with Checkpoints(folder, fingerprint) as checkpoints:
        return checkpoints.restore(step, like)


def assert_same_state(found: TrainState, expected: TrainState) -> None:
    for name, leaf in flat_paths(expected).items():
        np.testing.assert_array_equal(flat_paths(found)[name], leaf, err_msg=name)


@pytest.mark.parametrize("rule", ["cautious_adamc", pytest.param("muon", marks=pytest.mark.slow)])
def test_it_is_the_run_in_one_piece(rule: str, bases, continued, data_root: Path, tmp_path: Path):
    """Under the same rule, schedule and stages of the mixture; the second of these begins with the fourth step."""
    resolved = continued(optimizer=RULES[rule], steps=LAST - FIRST)
    run(resolved, data_root, tmp_path, mesh_config=ALONE, init=bases(rule))
    ours, whole = (list(read_metrics(folder / "metrics.jsonl")) for folder in (tmp_path, bases(rule)))
    same = ("step", "tokens", "loss", "learning_rate", "grad_norm", "nll", "targets")
    assert [{name: line[name] for name in same} for line in ours] == [
        {name: line[name] for name in same} for line in whole[FIRST:]
    ]
    like = Trainer(resolved, data_root, ALONE).abstract_state
    assert_same_state(state_at(tmp_path, LAST, like), state_at(bases(rule), LAST, like))


@pytest.mark.parametrize(
    ("before", "after"),
    [("cautious_adamc", "adamw"), pytest.param("adamw", "cautious_adamc", marks=pytest.mark.slow)],
)
def test_a_rule_goes_on_with_the_moments_of_another_at_that_batch_of_new_data(
    before: str, after: str, bases, continued, data_root: Path, tmp_path: Path
):
    """Against the rules' equations over optax's Adam, the line of an anneal, and batches of a loader of the test's."""
    spec, steps = RULES[after], 2
    peak = 1e-2 * (FIRST + steps) / steps
    resolved = continued(
        optimizer=replace(spec, learning_rate=peak),
        schedule=ScheduleSpec(warmup=0.0, decay=None),
        data=replace(continued().run.data, mixture=(MixtureStage(0.0, {"long": 1.0}),)),
        steps=steps,
    )
    run(resolved, data_root, tmp_path, mesh_config=ALONE, init=bases(before))
    like = Trainer(resolved, data_root, ALONE).abstract_state
    # Adam's state lies at the same place under both rules; what else they hold counts updates.
    old = Trainer(continued(optimizer=RULES[before]), data_root, ALONE).abstract_state
    state = state_at(bases(before), FIRST, old)
    params, (count, mu, nu) = state.model, _adam(state)
    assert int(count) == FIRST

    data = resolved.run.data
    loader = BatchLoader(
        open_root(data_root),
        replace(Mixture.constant("any name", {"long": 1.0}), block_size=data.mixture_block, reshuffle_each_epoch=True),
        seq_len=data.seq_len,
        batch_size=data.batch_size,
        seed=resolved.run.seed,
        packing=resolved.packing,
    )
    lines = list(read_metrics(tmp_path / "metrics.jsonl"))
    assert [line["step"] for line in lines] == [FIRST + 1, FIRST + 2]
    np.testing.assert_allclose([line["learning_rate"] for line in lines], [1e-2, 0.5e-2], rtol=1e-6)
    adam = optax.scale_by_adam(spec.beta1, spec.beta2, spec.epsilon)
    moments = optax.ScaleByAdamState(count, mu, nu)
    differentiate = jax.jit(loss_and_gradient)
    for taken, line in enumerate(lines):
        rows = loader.batch(FIRST + taken)
        batch = Batch(*map(jnp.asarray, (rows.tokens, rows.segment_ids, rows.positions, rows.loss_mask)))
        loss, _, gradient, weight = differentiate(params, batch, objective(resolved))
        np.testing.assert_allclose(loss, line["loss"], rtol=1e-6)
        gradient = jax.tree.map(lambda leaf, weight=weight: leaf / weight, gradient)
        gradient, _ = optax.clip_by_global_norm(spec.max_grad_norm).update(gradient, optax.EmptyState())
        with jax.numpy_dtype_promotion("standard"):
            direction, moments = adam.update(gradient, moments)
        params = _updated(params, gradient, direction, spec, rate=line["learning_rate"], peak=peak)
    found = state_at(tmp_path, FIRST + steps, like)
    assert int(found.step) == FIRST + steps
    for name, leaf in flat_paths(params).items():
        np.testing.assert_allclose(flat_paths(found.model)[name], leaf, rtol=2e-5, atol=1e-7, err_msg=name)


def _adam(state: TrainState) -> tuple[Any, Any, Any]:
    def is_adam(node: Any) -> bool:
        return isinstance(node, optax.ScaleByAdamState)

    (found,) = filter(is_adam, jax.tree.leaves(state.optimizer, is_leaf=is_adam))
    return found.count, found.mu, found.nu


def _updated(params, gradient, direction, spec: OptimizerSpec, *, rate: float, peak: float):
    def one(p, g, u, decays: bool):
        decay = spec.weight_decay if decays else 0.0
        if spec.name == "cautious_adamc":
            mask = (g * u > 0).astype(jnp.float32)
            u = u * mask / (mask.mean(axis=tuple(range(1, p.ndim)) if stacked(p) else None, keepdims=True) + 1e-12)
            decay *= rate / peak
        return p - rate * (u + decay * p)

    def stacked(p) -> bool:
        return spec.cautious_mean == "layer" and p.shape[0] == params.config.layers

    return jax.tree.map(one, params, gradient, direction, decay_mask(params))


def test_steps_that_were_skipped_are_no_updates(bases, continued, data_root: Path, tmp_path: Path):
    """The step, which is the position in the data, counts them; moments and schedule do not."""
    folder = tmp_path / "base"
    shutil.copytree(bases("adamw"), folder)
    resolved = continued(
        optimizer=RULES["cautious_adamc"],
        init=InitSpec(kind="checkpoint", source="toy@7", state="continue"),
        schedule=ScheduleSpec(warmup=0.0, decay=None),
        steps=1,
    )
    like = Trainer(continued(optimizer=RULES["adamw"]), data_root, ALONE).abstract_state
    after = state_at(folder, LAST, like)
    skipped = TrainState(
        after.step + 1, after.skipped + 1, after.consecutive_nonfinite + 1, after.model, after.optimizer
    )
    fingerprint = json.loads((folder / "resolved.json").read_text())["fingerprint"]
    with Checkpoints(folder, fingerprint, keep_last=9) as checkpoints:
        checkpoints.save(skipped, 7)
    trainer = Trainer(resolved, data_root, ALONE, resolve_init(resolved, folder))
    state = trainer.initial_state()
    counts = {name: int(leaf) for name, leaf in flat_paths(state.optimizer).items() if leaf.dtype == jnp.int32}
    assert len(counts) == 3
    assert set(counts.values()) == {6}
    assert (int(state.step), int(state.skipped)) == (7, 1)
    run(resolved, data_root, tmp_path / "run", mesh_config=ALONE, init=folder)
    (line,) = read_metrics(tmp_path / "run" / "metrics.jsonl")
    np.testing.assert_allclose(line["learning_rate"], 1e-2 * (1 - 6 / 8), rtol=1e-6)


@pytest.mark.long
def test_it_is_resumed_where_it_stopped(bases, continued, data_root: Path, tmp_path: Path):
    intervals = Intervals(checkpoint_steps=1, checkpoint_seconds=None, keep_last=3)
    resolved = continued(optimizer=RULES["adamw"], steps=LAST - FIRST, intervals=intervals)
    whole = tmp_path / "whole"
    outcome = run(resolved, data_root, whole, mesh_config=ALONE, init=bases("cautious_adamc"))
    assert (outcome.first_step, outcome.step, outcome.last_step) == (FIRST, LAST, LAST)
    stopped = tmp_path / "stopped"
    shutil.copytree(whole, stopped)
    for gone in ("export", f"checkpoints/{LAST}", f"checkpoints/{LAST - 1}"):
        shutil.rmtree(stopped / gone)
    assert run(resolved, data_root, stopped, mesh_config=ALONE).finished
    like = Trainer(resolved, data_root, ALONE).abstract_state
    assert_same_state(state_at(stopped, LAST, like), state_at(whole, LAST, like))
    steps = [[line["step"] for line in read_metrics(folder / "metrics.jsonl")] for folder in (whole, stopped)]
    assert steps == [[4, 5, 6], [4, 5, 6]]


def test_its_time_is_measured_on_the_batches_that_it_reads(
    bases, continued, data_root: Path, monkeypatch: pytest.MonkeyPatch
):
    """Stages that lie behind are left out, and the one under way is read from where the run begins."""
    stages = tuple(MixtureStage(fraction, {"long": 1.0 + fraction}) for fraction in (0.0, 0.1, 0.6))
    resolved = continued(data=replace(continued().run.data, mixture=stages), optimizer=RULES["adamw"], steps=7)
    trainer = Trainer(resolved, data_root, ALONE, resolve_init(resolved, bases("adamw")))
    trainer.compile()
    begins: list[int] = []
    batches = trainer.batches
    monkeypatch.setattr(trainer, "batches", lambda step: begins.append(step) or batches(step))
    assert trainer.seconds_per_step() > 0
    assert begins == [FIRST, 6]
