from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audio_model.kernels.matmul import matmul, row_dot_products, transposed_for_matmul, transposed_matmul
from audio_model.kernels.matmul.cases import CASES
from audio_model.kernels.matmul.xla_cpu import pad_single_row


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("implementation", ["reference", "xla", "xla_cpu", None])
@pytest.mark.parametrize("case", [case for case in CASES if not case.timed], ids=lambda case: case.reason)
def test_values_and_gradients_equal_those_in_float64(case, implementation, dtype, rng):
    x = jnp.asarray(rng.normal(size=(*case.batch, case.inputs)), dtype)
    weight = jnp.asarray(rng.normal(size=(case.inputs, case.outputs)), jnp.float32)
    cotangent = jnp.asarray(rng.normal(size=(*case.batch, case.outputs)), dtype)
    value, pull = jax.vjp(lambda x, weight: matmul(x, weight, implementation=implementation), x, weight)
    x_gradient, weight_gradient = pull(cotangent)
    assert (value.dtype, x_gradient.dtype, weight_gradient.dtype) == (x.dtype, x.dtype, weight.dtype)
    rounded = np.asarray(weight.astype(dtype), np.float64)
    flat, flat_cotangent = (np.asarray(a, np.float64).reshape(-1, a.shape[-1]) for a in (x, cotangent))
    atol, rtol = (1e-5, 1e-5) if dtype == "float32" else (0.05, 2e-2)
    assert_close = partial(np.testing.assert_allclose, atol=atol, rtol=rtol)
    assert_close(value.astype(jnp.float32), np.asarray(x, np.float64) @ rounded)
    assert_close(x_gradient.astype(jnp.float32), np.asarray(cotangent, np.float64) @ rounded.T)
    assert_close(weight_gradient, flat.T @ flat_cotangent)


@pytest.mark.parametrize("rows", [1, 3])
def test_dot_products_of_rows(rows, rng):
    x, others = (jnp.asarray(rng.normal(size=(n, 8)), jnp.bfloat16) for n in (rows, 5))
    expected = np.asarray(x, np.float64) @ np.asarray(others, np.float64).T
    products = row_dot_products(x, others)
    assert products.dtype == jnp.float32
    np.testing.assert_allclose(products, expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 6), (2, 3, 4, 6)])
def test_transposed_on_one_device(shape, rng, one_cpu_device):
    x = jnp.asarray(rng.normal(size=shape), jnp.float32)
    with one_cpu_device():
        np.testing.assert_array_equal(jax.jit(transposed_for_matmul)(x), np.swapaxes(x, -1, -2))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_transposed_product_may_be_transposed_again(dtype, rng, one_cpu_device):
    """A gradient of a matrix that is stored the other way round; the product of bfloat16 sides failed so."""
    left, right = (jnp.asarray(rng.normal(size=(64, width)), dtype) for width in (16, 32))
    with one_cpu_device():
        product = jax.jit(lambda left, right: transposed_matmul(left, right).T)(left, right)
    assert product.dtype == jnp.float32
    expected = np.asarray(right, np.float64).T @ np.asarray(left, np.float64)
    np.testing.assert_allclose(product, expected, atol=2e-5)


def test_nothing_is_gathered_over_several_devices():
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("rows",))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows"))
    shape = jax.ShapeDtypeStruct((16, 8), jnp.float32, sharding=rows)
    program = jax.jit(lambda x, y: transposed_for_matmul(x) @ y).lower(shape, shape).compile()
    assert "all-gather" not in program.as_text()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("rows", [1, 3])
def test_padding_changes_no_row(rows, dtype, rng):
    x = jnp.asarray(rng.normal(size=(rows, 8)), dtype)
    padded = pad_single_row(x)
    np.testing.assert_array_equal(padded[:rows], x)
    assert padded.shape[0] == (2 if rows == 1 and dtype == jnp.bfloat16 else rows)
