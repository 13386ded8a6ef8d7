import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from audio_model import (
    Qwen3xConfig,
    TokenSets,
    grammar_cross_entropy,
    initialize,
    linear_cross_entropy,
    parameter_axes,
)

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
    # Sums of up to 64 float32 products in another order; how they are ordered differs between processors.
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_losses_of_sharded_rows_are_the_same(rng):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    hidden = jnp.asarray(rng.normal(size=(64, 16)), jnp.float32)
    head = jnp.asarray(rng.normal(size=(48, 16)), jnp.float32)
    targets = jnp.asarray(rng.integers(0, 48, 64), jnp.int32)
    sets = TokenSets.build([[(0, 20)], [(20, 48)]])

    @jax.jit
    def gradients(hidden, head, targets):
        def total(hidden, head):
            grammar, _ = grammar_cross_entropy(hidden, head, targets, sets, block_rows=8)
            full, _ = linear_cross_entropy(hidden, head, targets, block_rows=16)
            return jnp.sum(grammar * full)

        return jax.grad(total, argnums=(0, 1))(hidden, head)

    rows, whole = (NamedSharding(mesh, PartitionSpec(axis)) for axis in ("data", None))
    sharded = gradients(*(jax.device_put(x, s) for x, s in ((hidden, rows), (head, whole), (targets, rows))))
    for left, right in zip(sharded, gradients(hidden, head, targets), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-3)
