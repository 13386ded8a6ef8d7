from dataclasses import replace

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from audio_data import InputError
from audio_train import MeshConfig, OptimizerSpec, ResolvedRun, Trainer
from audio_train.sharding.mesh import batch_sharding, make_mesh, model_sharding
from audio_train.state import TrainState


def losses_on(
    mesh_config: MeshConfig, resolved: ResolvedRun, data_root, num_steps: int = 4
) -> tuple[list[float], TrainState]:
    trainer = Trainer(resolved, data_root, mesh_config)
    trainer.compile()
    state = trainer.initial_state()
    losses = []
    for _, batch in zip(range(num_steps), trainer.batches(0), strict=False):
        state, metrics = trainer.step(state, batch)
        losses.append(float(metrics.loss))
    return losses, state


@pytest.mark.parametrize(
    "mesh_config", [pytest.param(MeshConfig(), marks=pytest.mark.slow), MeshConfig(data=2, fsdp=2, tensor=2)]
)
@pytest.mark.slow
def test_losses_do_not_depend_on_the_placement(mesh_config: MeshConfig, varied, data_root, one_device):
    resolved = varied(
        optimizer=OptimizerSpec("cautious_adamc", 1e-2, weight_decay=0.1),
        model=replace(varied().run.model, kv_heads=2),
    )
    alone, _ = losses_on(one_device, resolved, data_root)
    together, state = losses_on(mesh_config, resolved, data_root)
    np.testing.assert_allclose(together, alone, rtol=2e-5)
    query = state.model.layers.query
    first_moment = next(
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(state.optimizer)
        if ".mu" in jax.tree_util.keystr(path) and "query" in jax.tree_util.keystr(path)
    )
    parts = mesh_config.fsdp * mesh_config.tensor
    assert query.addressable_shards[0].data.size == query.size // parts
    assert first_moment.addressable_shards[0].data.size == query.size // parts


def test_parameters_are_cut_by_the_names_of_their_axes(toy: ResolvedRun):
    mesh_config = MeshConfig(fsdp=2, tensor=1)
    sharding = model_sharding(toy.model, make_mesh(mesh_config), mesh_config.rules)
    specs = jax.tree.map(lambda place: place.spec, sharding)
    assert specs.embedding == PartitionSpec("tensor", "fsdp")
    assert specs.layers.down == PartitionSpec(None, "tensor", "fsdp")
    assert specs.layers.query_norm == PartitionSpec(None, None)


def test_a_mesh_takes_the_first_devices_it_needs():
    assert dict(make_mesh(MeshConfig()).shape) == {"replica": 1, "data": 8, "fsdp": 1, "tensor": 1}
    assert make_mesh(MeshConfig(data=1, fsdp=2)).devices.ravel().tolist() == jax.devices()[:2]


@pytest.mark.parametrize(
    ("mesh_config", "message"),
    [
        (MeshConfig(fsdp=3), r"divides the 8 devices, got 1 x 3 x 1"),
        (MeshConfig(data=4, fsdp=4), r"at most the 8 devices there are, got \(1, 4, 4, 1\)"),
    ],
)
def test_a_placement_that_does_not_fit_is_refused(mesh_config: MeshConfig, message: str):
    with pytest.raises(InputError, match=message):
        make_mesh(mesh_config)


def test_a_batch_or_model_that_does_not_divide_is_refused(toy: ResolvedRun):
    with pytest.raises(InputError, match="`batch_size` is a multiple of the 8 devices that share a batch, got 12"):
        batch_sharding(make_mesh(MeshConfig()), 12)
    mesh_config = MeshConfig(data=1, tensor=4)
    with pytest.raises(InputError, match="`vocab` of the model is 50, which the 4 devices of mesh axis `tensor`"):
        model_sharding(toy.model, make_mesh(mesh_config), mesh_config.rules)


@pytest.mark.parametrize("text", ["fsp=2", "fsdp", "fsdp=two", "fsdp=2,fsdp=4"])
def test_a_mesh_names_each_axis_once_with_its_size(text: str):
    assert MeshConfig.parse("fsdp=2,tensor=4", microbatches=3) == MeshConfig(fsdp=2, tensor=4, microbatches=3)
    with pytest.raises(InputError, match=f"`--mesh` takes axes of replica, data.*got '{text.split(',')[-1]}'"):
        MeshConfig.parse(text)
