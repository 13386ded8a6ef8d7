import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audio_model import InputError
from audio_model.kernels.qk_norm_rope import qk_norm_rope
from audio_model.kernels.qk_norm_rope.cases import CASES
from audio_model.kernels.qk_norm_rope.pallas_tpu import (
    backward_cost,
    block_rows,
    forward_cost,
    pallas_tpu_qk_norm_rope,
)

CHECKED = [case for case in CASES if not case.compiled]
EPSILON = 1e-6


def _inputs(case, rng):
    x = jnp.asarray(rng.normal(size=(case.batch, case.seq, case.heads * case.head_dim)), jnp.float32)
    weight = jnp.asarray(rng.normal(size=case.head_dim), jnp.float32)
    angles = rng.normal(size=(case.batch, case.seq, case.head_dim // 2))
    tables = jnp.asarray(np.cos(angles), jnp.float32), jnp.asarray(np.sin(angles), jnp.float32)
    return x, weight, tables


def _run(implementation, x, weight, tables):
    if implementation == "pallas_tpu":
        return pallas_tpu_qk_norm_rope(x, weight, tables, EPSILON, interpret=True)
    return qk_norm_rope(x, weight, tables, EPSILON, implementation=implementation)


def _with_gradients(implementation, inputs, cotangent):
    x, weight, tables = inputs

    def both(x, weight):
        result, pull = jax.vjp(lambda x, weight: _run(implementation, x, weight, tables), x, weight)
        return result, *pull(cotangent)

    return jax.jit(both)(x, weight)


@pytest.mark.parametrize("implementation", ["reference", "xla", "pallas_tpu"])
def test_values_equal_complex_rotation(implementation, rng):
    case = CHECKED[1]
    x, weight, tables = _inputs(case, rng)
    heads = np.asarray(x, np.float64).reshape(case.batch, case.seq, case.heads, case.head_dim)
    scaled = heads / np.sqrt((heads**2).mean(axis=-1, keepdims=True) + EPSILON) * np.asarray(weight, np.float64)
    half = case.head_dim // 2
    turn = np.asarray(tables[0], np.float64) + 1j * np.asarray(tables[1], np.float64)
    turned = (scaled[..., :half] + 1j * scaled[..., half:]) * turn[:, :, None]
    expected = np.concatenate([turned.real, turned.imag], axis=-1)
    np.testing.assert_allclose(_run(implementation, x, weight, tables), expected, atol=2e-6)


@pytest.mark.parametrize("implementation", ["xla", "pallas_tpu"])
@pytest.mark.parametrize("case", CHECKED, ids=lambda case: case.reason)
def test_values_and_gradients_equal_the_reference(case, implementation, rng):
    inputs = _inputs(case, rng)
    cotangent = jnp.asarray(rng.normal(size=(case.batch, case.seq, case.heads, case.head_dim)), jnp.float32)
    expected, actual = (_with_gradients(name, inputs, cotangent) for name in ("reference", implementation))
    tolerance = 1e-6 * (case.batch * case.seq * case.heads) ** 0.5 + 2e-6
    for left, right in zip(actual, expected, strict=True):
        np.testing.assert_allclose(left, right, rtol=2e-5, atol=tolerance)


def test_the_kernel_rounds_bfloat16_once(rng):
    x, weight, tables = _inputs(CHECKED[2], rng)
    x = x.astype(jnp.bfloat16)
    exact = _run("reference", x.astype(jnp.float32), weight, tables)
    rounded = _run("pallas_tpu", x, weight, tables)
    assert rounded.dtype == jnp.bfloat16
    np.testing.assert_allclose(rounded.astype(jnp.float32), exact, rtol=2**-8, atol=1e-6)


def _lowered(case):
    shapes = (
        jax.ShapeDtypeStruct((case.batch, case.seq, case.heads * case.head_dim), jnp.bfloat16),
        jax.ShapeDtypeStruct((case.head_dim,), jnp.float32),
        jax.ShapeDtypeStruct((case.batch, case.seq, case.head_dim // 2), jnp.float32),
        jax.ShapeDtypeStruct((case.batch, case.seq, case.head_dim // 2), jnp.float32),
    )

    def total(x, weight, cosine, sine):
        return jnp.sum(pallas_tpu_qk_norm_rope(x, weight, (cosine, sine), EPSILON).astype(jnp.float32))

    return jax.jit(jax.value_and_grad(total, argnums=(0, 1))), shapes


@pytest.mark.parametrize("case", CASES[2:], ids=lambda case: case.reason)
def test_the_tpu_kernel_lowers(case):
    function, shapes = _lowered(case)
    text = jax.export.export(function, platforms=["tpu"])(*shapes).mlir_module()
    assert text.count("tpu_custom_call") == 2


@pytest.mark.parametrize("case", [case for case in CASES if case.compiled], ids=lambda case: case.reason)
def test_declared_bytes_are_those_of_the_operands(case, pallas_calls, bytes_moved):
    function, shapes = _lowered(case)
    forward, backward = pallas_calls(jax.make_jaxpr(function)(*shapes).jaxpr)
    tokens, width = case.batch * case.seq, case.heads * case.head_dim
    assert case.seq % block_rows(case.seq, width, 2) == 0
    group = max(128, case.head_dim)
    assert forward["cost_estimate"] == forward_cost(tokens, width, group, 2)
    assert backward["cost_estimate"] == backward_cost(tokens, width, group, 2)
    for call in (forward, backward):
        assert call["cost_estimate"].bytes_accessed == bytes_moved(call)


def test_mistakes_are_refused(rng):
    x, weight, tables = _inputs(CHECKED[0], rng)
    with pytest.raises(InputError, match="runs on a TPU"):
        qk_norm_rope(x, weight, tables, EPSILON, implementation="pallas_tpu")
    with pytest.raises(InputError, match="heads of 4 features"):
        qk_norm_rope(x[..., :6], weight, tables, EPSILON)
