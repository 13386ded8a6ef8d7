import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_model.kernels.cpu import argmax, lying_transposed, not_alone, transposed_product


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from([-np.inf, -1.5, 0.0, 2.0, 2.5]), min_size=1, max_size=12))
def test_argmax_is_the_first_largest(values):
    assert int(argmax(jnp.asarray([values], jnp.float32))[0]) == int(np.argmax(values))


def test_argmax_of_not_a_number_stays_inside():
    assert 0 <= int(argmax(jnp.full((1, 5), jnp.nan))[0]) < 5


@pytest.mark.parametrize("shape", [(4, 6), (2, 3, 4, 6)])
def test_transposed_on_one_device(shape, rng, one_cpu_device):
    x = jnp.asarray(rng.normal(size=shape), jnp.float32)
    with one_cpu_device():
        np.testing.assert_array_equal(jax.jit(lying_transposed)(x), np.swapaxes(x, -1, -2))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_transposed_product_may_be_transposed_again(dtype, rng, one_cpu_device):
    """A gradient of a matrix that is stored the other way round; the product of bfloat16 sides failed so."""
    left, right = (jnp.asarray(rng.normal(size=(64, width)), dtype) for width in (16, 32))
    with one_cpu_device():
        product = jax.jit(lambda left, right: transposed_product(left, right).T)(left, right)
    assert product.dtype == jnp.float32
    expected = np.asarray(right, np.float64).T @ np.asarray(left, np.float64)
    np.testing.assert_allclose(product, expected, atol=2e-5)


def test_nothing_is_gathered_over_several_devices():
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("rows",))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows"))
    shape = jax.ShapeDtypeStruct((16, 8), jnp.float32, sharding=rows)
    program = jax.jit(lambda x, y: lying_transposed(x) @ y).lower(shape, shape).compile()
    assert "all-gather" not in program.as_text()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("rows", [1, 3])
def test_company_changes_no_row(rows, dtype, rng):
    x = jnp.asarray(rng.normal(size=(rows, 8)), dtype)
    accompanied = not_alone(x)
    np.testing.assert_array_equal(accompanied[:rows], x)
    assert accompanied.shape[0] == (2 if rows == 1 and dtype == jnp.bfloat16 else rows)
