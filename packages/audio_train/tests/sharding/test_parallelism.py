"""One step over a mesh against the same step on one device: loss, sums and every gradient, and what it moves."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audio_data import Vocabulary
from audio_model import Qwen3x, Qwen3xConfig
from audio_train import LossSpec, MeshConfig, ResolvedRun, objective
from audio_train.sharding.collectives import fsdp_bytes, moved_bytes
from audio_train.sharding.mesh import batch_sharding, make_mesh, model_sharding, replicated
from audio_train.sharding.parallelism import on_mesh, parallelism_of
from audio_train.state import TrainState
from audio_train.training.step import Batch, loss_and_gradient
from audio_train.training.step import objective as objective_of

ROWS, SEQ = 8, 32


@pytest.fixture
def cut(varied) -> ResolvedRun:
    """A model whose every axis can be cut in two, and a loss with every term."""
    loss = LossSpec(kind="full", z_loss_weight=0.01, kind_weights={"text": 4.0})
    return varied(model=replace(varied().run.model, kv_heads=2, tied=False), loss=loss)


def random_batch(vocabulary: Vocabulary) -> Batch:
    """Several documents a row, and a mask that leaves rows with very different numbers of targets."""
    rng = np.random.default_rng(0)
    share = rng.random((ROWS, 1))
    return Batch(
        jnp.asarray(rng.integers(0, vocabulary.size, (ROWS, SEQ)), jnp.int32),
        jnp.asarray(np.sort(rng.integers(1, 4, (ROWS, SEQ))), jnp.int32),
        jnp.broadcast_to(jnp.arange(SEQ, dtype=jnp.int32), (ROWS, SEQ)),
        jnp.asarray((rng.random((ROWS, SEQ)) < share) & (np.arange(SEQ) < SEQ - 1)),
    )


def laid_out(resolved: ResolvedRun, mesh_config: MeshConfig) -> tuple[jax.stages.Wrapped, Callable]:
    """`loss_and_gradient` on a mesh, and what places its arguments there."""
    mesh = make_mesh(mesh_config)
    parallelism = parallelism_of(resolved.model, mesh, mesh_config.rules)
    model, rows = model_sharding(resolved.model, mesh, mesh_config.rules), batch_sharding(mesh, ROWS)
    whole = replicated(mesh)
    gradient = partial(loss_and_gradient, microbatches=mesh_config.microbatches, parallelism=parallelism)
    function = jax.jit(on_mesh(gradient, parallelism, mesh, (model, rows, whole), (whole, whole, model, whole)))

    def place(weights: Qwen3x, batch: Batch, loss) -> tuple:
        return jax.device_put(weights, model), jax.device_put(batch, rows), jax.device_put(loss, whole)

    return function, place


def uneven(state: TrainState) -> Qwen3x:
    """Weights with norms that are not all one."""
    keys = iter(jax.random.split(jax.random.key(1), 32))
    return jax.tree.map(lambda x: x + 0.05 * jax.random.normal(next(keys), x.shape), state.model)


@pytest.mark.parametrize(
    ("mesh_config", "remat", "kind"),
    [
        pytest.param(MeshConfig(data=1, microbatches=4), "dots", "full", marks=pytest.mark.slow),
        pytest.param(MeshConfig(data=1, fsdp=8), "none", "full", marks=pytest.mark.slow),
        (MeshConfig(data=2, fsdp=2, tensor=2), "dots", "grammar"),
        pytest.param(
            MeshConfig(replica=2, data=1, fsdp=2, tensor=2, microbatches=2), "full", "full", marks=pytest.mark.slow
        ),
    ],
)
def test_gradients_do_not_depend_on_the_placement(
    mesh_config: MeshConfig, remat: str, kind: str, cut: ResolvedRun, fresh_state, vocabulary: Vocabulary
):
    resolved = replace(cut, run=replace(cut.run, loss=replace(cut.run.loss, kind=kind)))
    loss_of, batch, weights = objective(resolved), random_batch(vocabulary), uneven(fresh_state(resolved))
    loss, sums, gradient, weight = jax.jit(loss_and_gradient)(weights, batch, loss_of)
    again = replace(resolved, model=replace(resolved.model, remat=remat))
    function, place = laid_out(again, mesh_config)
    theirs = replace(weights, config=again.model)
    other_loss, other_sums, other, other_weight = function(*place(theirs, batch, loss_of))
    np.testing.assert_allclose(other_loss, loss, rtol=1e-6)
    assert float(other_weight) == float(weight)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), other_sums, sums)
    for (path, ours), found in zip(jax.tree_util.tree_leaves_with_path(gradient), jax.tree.leaves(other), strict=True):
        scale = float(np.abs(ours).max())
        np.testing.assert_allclose(found, ours, atol=2e-5 * scale, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize("num_devices", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_a_step_moves_no_more_than_cut_weights_have_to(
    num_devices: int, cut: ResolvedRun, fresh_state, vocabulary: Vocabulary
):
    function, place = laid_out(cut, MeshConfig(data=1, fsdp=num_devices))
    arguments = place(fresh_state(cut).model, random_batch(vocabulary), objective_of(cut))
    module = function.lower(*arguments).compile().as_text()
    assert module is not None
    moved = moved_bytes(module)
    necessary = fsdp_bytes(cut.model, itemsize=4, num_devices=num_devices)
    assert moved["all-gather"] + moved["reduce-scatter"] == necessary
    norms = 4 * sum(leaf.size for leaf in jax.tree.leaves(arguments[0]) if leaf.size < 100)
    assert moved["all-reduce"] < 2 * norms + 100  # and some scalars
    assert set(moved) == {"all-gather", "reduce-scatter", "all-reduce"}


def test_bytes_are_counted_as_often_as_loops_run():
    module = """HloModule m
%body (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %g = f32[64,2]{1,0} all-gather(%x), replica_groups=[1,8]<=[8], dimensions={0}
}

%cond (p: (s32[], f32[4])) -> pred[] {
}

ENTRY %main (a: f32[4]) -> f32[4] {
  %w = (s32[], f32[4]) while(%t), condition=%cond, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  %r = (f32[10]{0}, bf16[4,5]{1,0}) all-reduce(%w, %b), replica_groups={{0,1},{2,3}}, to_apply=%add
  %s = f32[16]{0} reduce-scatter(%a), replica_groups={{0,1,2,3}}, dimensions={0}, to_apply=%add
}
"""
    assert moved_bytes(module) == {"all-gather": 3 * 512 * 7 / 8, "all-reduce": 40 + 40, "reduce-scatter": 64 * 3}


def test_the_necessary_bytes_are_three_times_the_matrices_less_what_is_gathered_once():
    config = Qwen3xConfig(vocab_size=100, embed=8, mlp=16, layers=3, heads=2, kv_heads=2, head_dim=4)
    norms = 3 * (2 * 8 + 2 * 4) + 8
    matrices, once = config.num_parameters - norms, 2 * config.embedding_parameters
    assert fsdp_bytes(config, 2, 4) == 2 * (3 * matrices - once) * 3 / 4
