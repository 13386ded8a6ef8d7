import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from audio_model import Qwen3xConfig, initialize, parameter_axes

CONFIG = Qwen3xConfig(vocab_size=48, embed=16, mlp=32, layers=2, heads=4, kv_heads=2, head_dim=8)


def _is_axes(leaf):
    return isinstance(leaf, tuple)


@pytest.mark.parametrize("tied", [True, False])
def test_axes_name_every_dimension(tied):
    config = dataclasses.replace(CONFIG, tied=tied)
    sizes = {
        "layers": 2,
        "vocab": 48,
        "embed": 16,
        "heads": config.query_dim,
        "kv_heads": config.kv_dim,
        "head_dim": 8,
        "mlp": 32,
    }
    shapes = eqx.filter_eval_shape(initialize, config, jax.random.key(0))
    named = jax.tree.map(lambda axes: tuple(sizes[axis] for axis in axes), parameter_axes(config), is_leaf=_is_axes)
    assert [leaf.shape for leaf in jax.tree.leaves(shapes)] == jax.tree.leaves(named, is_leaf=_is_axes)


def test_a_sharded_model_computes_the_same(rng):
    rules = {"embed": "data", "heads": "model", "kv_heads": "model", "mlp": "model", "vocab": "model"}
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto, AxisType.Auto))
    model = initialize(CONFIG, jax.random.key(0))
    shardings = jax.tree.map(
        lambda axes: NamedSharding(mesh, PartitionSpec(*(rules.get(axis) for axis in axes))),
        parameter_axes(CONFIG),
        is_leaf=_is_axes,
    )
    tokens = rng.integers(0, 48, (4, 8)).astype(np.int32)
    positions = np.broadcast_to(np.arange(8, dtype=np.int32), (4, 8))
    rows = NamedSharding(mesh, PartitionSpec("data"))
    inputs = [jax.device_put(x, rows) for x in (tokens, np.ones_like(tokens), positions)]
    expected = model(*(jnp.asarray(x) for x in (tokens, np.ones_like(tokens), positions)))
    actual = jax.jit(lambda model, *inputs: model(*inputs))(jax.device_put(model, shardings), *inputs)
    np.testing.assert_allclose(actual, expected, atol=2e-6)
