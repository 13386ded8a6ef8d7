"""The update rules against optax where they coincide, and part by part; `test_traces.py` has their equations."""

from dataclasses import replace
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from audio_train import OptimizerSpec, ScheduleSpec, add_adamc_decay, decay_mask, find_recipe, optimizer, schedule
from audio_train.optimization.optimizers import initial_moments, parameter_kinds, update

NUM_STEPS = 20
PEAK = 0.02
SHAPES = {
    "embedding": (7, 4),
    "layers": {"query": (3, 4, 6), "mlp_norm": (3, 4)},
    "final_norm": (4,),
    "head": (7, 4),
}
IS_SHAPE = {"is_leaf": lambda node: isinstance(node, tuple)}


def draw(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda shape: rng.normal(size=shape).astype(np.float32), SHAPES, **IS_SHAPE)


def gradients() -> list[dict]:
    # A third of the elements is exactly zero, as embedding rows of unseen tokens are.
    return [jax.tree.map(lambda g: np.where(np.abs(g) < 0.43, 0, g), draw(seed)) for seed in range(1, NUM_STEPS + 1)]


def train(spec: OptimizerSpec, shape: ScheduleSpec) -> dict:
    rate = schedule(shape, PEAK, NUM_STEPS)
    params = jax.tree.map(jnp.asarray, draw(0))
    state = initial_moments(spec, rate, params)
    step = jax.jit(lambda gradient, state, params: update(spec, rate, gradient, state, params))
    for gradient in gradients():
        params, state = step(gradient, state, params)
    return params


def test_the_two_means_differ_in_stacked_layers_only():
    shape = ScheduleSpec(warmup=0.0, decay=0.0)
    layer = train(OptimizerSpec("cautious_adamc", PEAK), shape)
    stacked = train(OptimizerSpec("cautious_adamc", PEAK, cautious_mean="stacked"), shape)
    np.testing.assert_array_equal(layer["embedding"], stacked["embedding"])
    assert not np.allclose(layer["layers"]["query"], stacked["layers"]["query"])


@pytest.mark.parametrize("name", ["exp2.1-0.6b", "exp1.6-9e18-d768", "sft-cvss-method1-scratch"])
def test_the_rule_of_the_study_averages_the_mask_over_all_layers_at_once(name: str):
    """Its twenty first updates against a loop over layers and elements in float64, one mean a kind of weight."""
    spec = replace(find_recipe(name)[1].optimizer, learning_rate=PEAK)
    shape = ScheduleSpec(warmup=0.0, decay=0.0)
    expected, found = naive_updates(spec), by_layer(jax.tree.map(np.asarray, train(spec, shape)))
    for kind, layers in expected.items():
        np.testing.assert_allclose(found[kind], layers, rtol=2e-4, atol=2e-5, err_msg=kind)
    query, apart, start = (
        np.array(tree["query"]) for tree in (expected, naive_updates(spec, layer_by_layer=True), by_layer(draw(0)))
    )
    assert 0.01 < np.abs(apart - query).max() / np.abs(query - start).max() < 0.2


def naive_updates(spec: OptimizerSpec, *, layer_by_layer: bool = False) -> dict:
    """Parameters after all updates at a constant rate; a kind of weight is a list of layers, one where it has none."""
    params = by_layer(draw(0))
    first, second = ({kind: [0.0] * len(layers) for kind, layers in params.items()} for _ in range(2))
    for t, gradient in enumerate(map(by_layer, gradients()), start=1):
        norm = np.sqrt(sum(np.sum(layer**2) for layers in gradient.values() for layer in layers))
        for kind, layers in gradient.items():
            updates, masks = [], []
            for i, g in enumerate(layer * min(1.0, spec.max_grad_norm / norm) for layer in layers):
                first[kind][i] = spec.beta1 * first[kind][i] + (1 - spec.beta1) * g
                second[kind][i] = spec.beta2 * second[kind][i] + (1 - spec.beta2) * g**2
                root = np.sqrt(second[kind][i] / (1 - spec.beta2**t))
                updates.append(first[kind][i] / (1 - spec.beta1**t) / (root + spec.epsilon))
                masks.append([float(a * b > 0) for a, b in zip(g, updates[-1], strict=True)])
            for i, (u, mask) in enumerate(zip(updates, masks, strict=True)):
                meant = mask if layer_by_layer else [kept for layer in masks for kept in layer]
                u = u * mask / (sum(meant) / len(meant) + spec.epsilon)
                decay = spec.weight_decay if kind in ("query", "head") else 0.0
                params[kind][i] = params[kind][i] - PEAK * (u + decay * params[kind][i])
    return params


def by_layer(tree: dict) -> dict[str, list]:
    stacked = {name: list(array.astype(np.float64).reshape(3, -1)) for name, array in tree["layers"].items()}
    return stacked | {name: [np.float64(np.ravel(tree[name]))] for name in ("embedding", "final_norm", "head")}


def test_without_caution_and_at_a_constant_rate_adamc_is_optax_adamw():
    constant = schedule(ScheduleSpec(warmup=0.0, decay=0.0), PEAK, NUM_STEPS)
    adamc = optax.chain(
        optax.scale_by_adam(0.9, 0.95, 1e-8),
        optax.masked(add_adamc_decay(0.1, constant), decay_mask),
        optax.scale_by_learning_rate(constant),
    )
    adamw = optax.adamw(PEAK, 0.9, 0.95, 1e-8, weight_decay=0.1, mask=decay_mask)
    results = []
    for rule in (adamc, adamw):
        params = draw(0)
        state = rule.init(params)
        with jax.numpy_dtype_promotion("standard"):
            step = jax.jit(rule.update)
            for gradient in gradients():
                updates, state = step(gradient, state, params)
                params = jax.tree.map(lambda p, u: p + np.asarray(u), params, updates)
        results.append(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8), *results)


def test_muon_orthogonalises_each_layer_by_itself_and_leaves_the_rest_to_adamw():
    shape = ScheduleSpec(warmup=0.0, decay=0.0)
    spec = OptimizerSpec("muon", 1e-3, weight_decay=0.1, muon_learning_rate_scale=20.0, max_grad_norm=1e9)
    rate = schedule(shape, 1e-3, NUM_STEPS)
    params, gradient = jax.tree.map(jnp.asarray, draw(0)), gradients()[0]
    state = initial_moments(spec, rate, params)
    updated, _ = jax.jit(lambda *arrays: update(spec, rate, *arrays))(gradient, state, params)

    single = optax.contrib.muon(0.02, weight_decay=0.1)
    for layer in range(3):
        p, g = params["layers"]["query"][layer], gradient["layers"]["query"][layer]
        with jax.numpy_dtype_promotion("standard"):
            step, _ = jax.jit(single.update)(g, single.init(p), p)
        np.testing.assert_allclose(updated["layers"]["query"][layer], p + step, rtol=1e-5, atol=1e-6)

    moved = np.asarray(updated["embedding"] - params["embedding"])
    touched = gradient["embedding"] != 0
    # The first AdamW step with Nesterov momentum: m looks one step ahead, v corrects to g^2.
    ahead = 0.9 * 0.1 / (1 - 0.9**2) + 0.1 / (1 - 0.9)
    np.testing.assert_allclose(moved[touched], -1e-3 * ahead * np.sign(gradient["embedding"])[touched], rtol=1e-3)
    np.testing.assert_array_equal(moved[~touched], 0)


@pytest.mark.parametrize("name", ["adamw", "cautious_adamc", "muon"])
def test_every_rule_decays_matrices_and_the_head_and_nothing_else(name: Literal["adamw", "cautious_adamc", "muon"]):
    """Without a gradient only decay moves a parameter; Muon's matrices have a learning rate of their own."""
    rate = schedule(ScheduleSpec(warmup=0.0, decay=0.0), 1e-2, NUM_STEPS)
    spec = OptimizerSpec(name, 1e-2, weight_decay=0.1, muon_learning_rate_scale=20.0)
    params = jax.tree.map(jnp.asarray, draw(0))
    still = jax.tree.map(jnp.zeros_like, params)
    updated, _ = jax.jit(lambda *arrays: update(spec, rate, *arrays))(
        still, initial_moments(spec, rate, params), params
    )
    kept = {"head": 1 - 1e-2 * 0.1, "matrix": 1 - 1e-2 * 0.1 * (20 if name == "muon" else 1), "embedding": 1, "norm": 1}
    jax.tree.map(
        lambda kind, old, new: np.testing.assert_allclose(new, old * kept[kind], rtol=1e-6, err_msg=kind),
        parameter_kinds(params),
        params,
        updated,
    )


def test_kinds_and_decay_mask():
    assert parameter_kinds(draw(0)) == {
        "embedding": "embedding",
        "layers": {"query": "matrix", "mlp_norm": "norm"},
        "final_norm": "norm",
        "head": "head",
    }
    assert jax.tree.leaves(decay_mask(draw(0))) == [False, False, True, False, True]


def test_gradients_are_clipped_to_the_global_norm():
    rate = schedule(ScheduleSpec(warmup=0.0, decay=0.0), 1.0, NUM_STEPS)
    # Without momentum and with a huge epsilon AdamW's update is the gradient, scaled down.
    spec = OptimizerSpec("adamw", 1.0, beta1=0.0, beta2=0.0, epsilon=1e9, max_grad_norm=2.0)
    params, gradient = draw(0), gradients()[0]
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = jax.jit(optimizer(spec, rate).update)(gradient, initial_moments(spec, rate, params), params)
    norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(gradient)))
    jax.tree.map(lambda u, g: np.testing.assert_allclose(u, -g * 2.0 / norm / 1e9, rtol=1e-5), updates, gradient)
