import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audio_model import InputError, linear_cross_entropy
from audio_model.kernels.linear_cross_entropy.cases import CASES
from audio_model.kernels.linear_cross_entropy.pallas_tpu import (
    backward_block_cost,
    forward_cost,
    pallas_tpu_linear_cross_entropy,
)
from audio_model.kernels.linear_cross_entropy.tiles import TpuTiles, backward_vmem_bytes, choose_tiles

CHECKED = [case for case in CASES if not case.timed]
IMPLEMENTATIONS = ["reference", "xla", "pallas_tpu"]
SMALL_TILES = TpuTiles(128, 32)


def _run(case, implementation, hidden, head, targets):
    """One implementation on a case; the TPU kernel operation by operation, on tiles that do not divide the case."""
    if implementation == "pallas_tpu":
        return pallas_tpu_linear_cross_entropy(hidden, head, targets, tiles=SMALL_TILES, interpret=True)
    blocks = {"block_rows": case.block_rows, "block_columns": case.block_columns}
    return linear_cross_entropy(hidden, head, targets, implementation=implementation, **blocks)


def _inputs(case, rng):
    hidden = jnp.asarray(rng.normal(size=(case.tokens, case.embed)), jnp.float32)
    head = jnp.asarray(rng.normal(size=(case.vocab, case.embed)), jnp.float32)
    targets = jnp.asarray(rng.integers(0, case.vocab, case.tokens), jnp.int32)
    weights = jnp.asarray(rng.normal(size=(2, case.tokens)), jnp.float32)
    return hidden, head, targets, weights


def _both(case, implementation, hidden, head, targets, weights):
    def combined(hidden, head):
        loss, logsumexp = _run(case, implementation, hidden, head, targets)
        return jnp.sum(weights[0] * loss + weights[1] * logsumexp**2), (loss, logsumexp)

    return jax.jit(jax.value_and_grad(combined, argnums=(0, 1), has_aux=True))(hidden, head)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_values_equal_float64(implementation, rng):
    case = CASES[2]
    hidden, head, targets, weights = _inputs(case, rng)
    (_, (loss, logsumexp)), _ = _both(case, implementation, hidden, head, targets, weights)
    logits = np.asarray(hidden, np.float64) @ np.asarray(head, np.float64).T
    expected = np.log(np.exp(logits).sum(axis=1))
    np.testing.assert_allclose(logsumexp, expected, rtol=1e-6)
    np.testing.assert_allclose(loss, expected - logits[np.arange(case.tokens), targets], atol=1e-5)


@pytest.mark.parametrize("implementation", ["xla", "pallas_tpu"])
@pytest.mark.parametrize("case", CHECKED, ids=lambda case: case.reason)
def test_values_and_gradients_equal_the_reference(case, implementation, rng):
    inputs = _inputs(case, rng)
    expected, actual = (_both(case, name, *inputs) for name in ("reference", implementation))
    tolerance = 1e-6 * (case.vocab**0.5 + case.tokens + case.embed)
    for left, right in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=tolerance)


@pytest.mark.parametrize("implementation", ["xla", "pallas_tpu"])
def test_bfloat16_products_with_float32_sums(implementation, rng):
    case = CASES[2]
    hidden, head, targets, weights = _inputs(case, rng)
    hidden, head = (x.astype(jnp.bfloat16).astype(jnp.float32) for x in (hidden, head))
    (_, exact), _ = _both(case, "reference", hidden, head, targets, weights)
    (_, rounded), (hidden_gradient, head_gradient) = _both(
        case, implementation, hidden.astype(jnp.bfloat16), head, targets, weights
    )
    assert hidden_gradient.dtype == jnp.bfloat16
    assert head_gradient.dtype == jnp.float32
    for left, right in zip(rounded, exact, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)


@pytest.mark.parametrize("block_rows", [8, 64], ids=["several blocks", "one block"])
def test_bfloat16_on_one_cpu_device_equals_that_on_several(block_rows, rng, one_cpu_device):
    case = dataclasses.replace(CASES[2], tokens=40, block_rows=block_rows)
    hidden, head, targets, weights = _inputs(case, rng)
    expected = _both(case, "reference", hidden.astype(jnp.bfloat16), head, targets, weights)
    with one_cpu_device():
        actual = _both(case, "xla", hidden.astype(jnp.bfloat16), head, targets, weights)
    for left, right in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        scale = float(jnp.max(jnp.abs(right)))
        np.testing.assert_allclose(left.astype(jnp.float32), right.astype(jnp.float32), atol=scale * 2**-7)


def test_large_logits_do_not_overflow():
    hidden = jnp.full((3, 4), 100.0)
    head = jnp.concatenate([jnp.full((1, 4), 100.0), jnp.full((8, 4), -100.0)])
    loss, logsumexp = linear_cross_entropy(hidden, head, jnp.array([0, 0, 1]), block_columns=2)
    np.testing.assert_allclose(loss, [0.0, 0.0, 80_000.0])
    np.testing.assert_allclose(logsumexp, 40_000.0)


def test_temporary_memory_is_a_fraction_of_the_logits():
    shapes = (jax.ShapeDtypeStruct((1024, 64), jnp.float32), jax.ShapeDtypeStruct((32_768, 64), jnp.float32))
    targets = jax.ShapeDtypeStruct((1024,), jnp.int32)

    def temporary(implementation):
        def total(hidden, head, targets):
            return jnp.sum(linear_cross_entropy(hidden, head, targets, implementation=implementation)[0])

        return (
            jax.jit(jax.grad(total, argnums=(0, 1)))
            .lower(*shapes, targets)
            .compile()
            .memory_analysis()
            .temp_size_in_bytes
        )

    assert temporary("xla") < temporary("reference") / 12


def _gradients(case):
    """The gradients of the TPU kernel on a case with the tiles it would take, and the shapes of its arguments."""
    shapes = (
        jax.ShapeDtypeStruct((case.tokens, case.embed), jnp.bfloat16),
        jax.ShapeDtypeStruct((case.vocab, case.embed), jnp.float32),
        jax.ShapeDtypeStruct((case.tokens,), jnp.int32),
    )

    def total(hidden, head, targets):
        return jnp.sum(pallas_tpu_linear_cross_entropy(hidden, head, targets)[0])

    return jax.jit(jax.value_and_grad(total, argnums=(0, 1))), shapes


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.reason)
def test_the_tpu_kernel_lowers(case):
    function, shapes = _gradients(case)
    text = jax.export.export(function, platforms=["tpu"])(*shapes).mlir_module()
    assert text.count("tpu_custom_call") == 2
    # Neither side of the kernel holds logits.
    assert f"{case.tokens}x{case.vocab}x" not in text


def test_declared_bytes_are_those_of_the_blocks(pallas_calls, bytes_moved):
    case = CASES[-1]
    function, shapes = _gradients(case)
    tiles = choose_tiles(case.tokens, case.embed, 2)
    forward, backward = pallas_calls(jax.make_jaxpr(function)(*shapes).jaxpr)
    assert forward["cost_estimate"] == forward_cost(case.tokens, case.vocab, case.embed, 2, tiles)
    assert backward["cost_estimate"] == backward_block_cost(case.vocab, case.embed, 2, tiles)
    for call in (forward, backward):
        assert call["cost_estimate"].bytes_accessed == bytes_moved(call)


@pytest.mark.parametrize("embed", [128, 512, 1024, 2048, 2560])
@pytest.mark.parametrize("mebibytes", [16, 32])
def test_tiles_fit_the_memory_they_are_given(embed, mebibytes):
    tiles = choose_tiles(16_384, embed, 2, mebibytes * 2**20)
    assert tiles.rows % 128 == 0
    assert tiles.columns % 16 == 0
    assert backward_vmem_bytes(tiles, embed, 2) < mebibytes * 2**20


def test_a_kernel_that_cannot_run_here_says_so():
    with pytest.raises(InputError, match="runs on a TPU"):
        linear_cross_entropy(jnp.zeros((2, 3)), jnp.zeros((5, 3)), jnp.zeros(2, jnp.int32), implementation="pallas_tpu")


def test_mistakes_are_refused():
    arrays = jnp.zeros((2, 3)), jnp.zeros((5, 3)), jnp.zeros(2, jnp.int32)
    with pytest.raises(InputError, match="`block_rows`"):
        linear_cross_entropy(*arrays, block_rows=0)
