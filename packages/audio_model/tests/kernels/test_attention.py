import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audio_model import InputError
from audio_model.kernels.attention import attention
from audio_model.kernels.attention.cases import CASES, Case
from audio_model.kernels.attention.splash import splash_attention

OPTIMISED = ["xla", "splash"]


def _attend(implementation):
    """An implementation as a function; the TPU kernel operation by operation."""
    if implementation == "splash":
        return functools.partial(splash_attention, interpret=True)
    return functools.partial(attention, implementation=implementation)


def _inputs(case, rng, dtype=jnp.float32):
    shape = (case.batch, case.seq)
    query, cotangent = (rng.normal(size=(*shape, case.heads, case.head_dim)) for _ in range(2))
    key, value = (rng.normal(size=(*shape, case.kv_heads, case.head_dim)) for _ in range(2))
    segment_ids = jnp.asarray(np.sort(rng.integers(0, 4, shape), axis=1), jnp.int32)
    return [jnp.asarray(x, dtype) for x in (query, key, value, cotangent)], segment_ids


def _by_definition(query, key, value, segment_ids):
    """One query at a time, in float64."""
    query, key, value, segment_ids = (np.asarray(x, np.float64) for x in (query, key, value, segment_ids))
    groups = query.shape[2] // key.shape[2]
    result = np.empty_like(query)
    for b, t, h in np.ndindex(query.shape[:3]):
        seen = np.flatnonzero(segment_ids[b, : t + 1] == segment_ids[b, t])
        scores = key[b, seen, h // groups] @ query[b, t, h] / np.sqrt(query.shape[-1])
        weights = np.exp(scores - scores.max())
        result[b, t, h] = weights @ value[b, seen, h // groups] / weights.sum()
    return result


def _both(implementation, segment_ids, arrays):
    query, key, value, cotangent = arrays

    @jax.jit
    def run(inputs, cotangent):
        output, pull = jax.vjp(lambda q, k, v: _attend(implementation)(q, k, v, segment_ids), *inputs)
        return output, pull(cotangent)

    return run((query, key, value), cotangent)


@pytest.mark.parametrize("implementation", ["reference", *OPTIMISED])
def test_values_equal_the_definition(implementation, rng):
    (query, key, value, _), segment_ids = _inputs(CASES[1], rng)
    actual = jax.jit(_attend(implementation))(query, key, value, segment_ids)
    np.testing.assert_allclose(actual, _by_definition(query, key, value, segment_ids), atol=2e-6)


@pytest.mark.parametrize("implementation", OPTIMISED)
@pytest.mark.parametrize("case", [case for case in CASES if not case.timed], ids=lambda case: case.reason)
def test_values_and_gradients_equal_the_reference(case, implementation, rng):
    arrays, segment_ids = _inputs(case, rng)
    expected, actual = (_both(name, segment_ids, arrays) for name in ("reference", implementation))
    # Rounding grows with the root of the number of keys summed over.
    tolerance = 4e-7 * (case.seq**0.5 + case.head_dim)
    for left, right in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(left, right, atol=tolerance)


@pytest.mark.parametrize("implementation", OPTIMISED)
def test_bfloat16_is_close_to_float32(implementation, rng):
    arrays, segment_ids = _inputs(CASES[3], rng)
    exact = _both("reference", segment_ids, arrays)
    rounded = _both(implementation, segment_ids, [x.astype(jnp.bfloat16) for x in arrays])
    for left, right in zip(jax.tree.leaves(rounded), jax.tree.leaves(exact), strict=True):
        assert left.dtype == jnp.bfloat16
        np.testing.assert_allclose(left.astype(jnp.float32), right, atol=0.06)


@functools.cache
def _exact(seq):
    """Inputs that bfloat16 holds, and what the definition makes of them in float32."""
    arrays, segment_ids = _inputs(Case("", 2, seq, 4, 2, 8), np.random.default_rng(seq), jnp.bfloat16)
    return arrays, segment_ids, _both("reference", segment_ids, [x.astype(jnp.float32) for x in arrays])


@pytest.mark.parametrize("seq", [1, 7, 64, 127, 128, 129, 256])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("implementation", OPTIMISED)
def test_every_type_and_length_on_one_device(seq, dtype, implementation, one_cpu_device):
    arrays, segment_ids, exact = _exact(seq)
    with one_cpu_device():
        actual = _both(implementation, segment_ids, [x.astype(dtype) for x in arrays])
    # Weights, their gradients and the result are each rounded once to eight bits.
    tolerance = 4e-6 if dtype == "float32" else 2**-6
    for left, right in zip(jax.tree.leaves(actual), jax.tree.leaves(exact), strict=True):
        assert left.dtype == dtype
        scale = float(jnp.max(jnp.abs(right)))
        np.testing.assert_allclose(left.astype(jnp.float32), right, atol=tolerance * scale + 1e-6)


@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(8, 8, 64), (16, 8, 128), (32, 8, 128), (2, 2, 96)])
def test_the_tpu_kernel_lowers_for_the_sizes_of_the_study(heads, kv_heads, head_dim):
    query = jax.ShapeDtypeStruct((2, 4096, heads, head_dim), jnp.bfloat16)
    key = jax.ShapeDtypeStruct((2, 4096, kv_heads, head_dim), jnp.bfloat16)
    segment_ids = jax.ShapeDtypeStruct((2, 4096), jnp.int32)

    def total(query, key, value, segment_ids):
        return jnp.sum(splash_attention(query, key, value, segment_ids).astype(jnp.float32))

    gradients = jax.jit(jax.grad(total, argnums=(0, 1, 2)))
    text = jax.export.export(gradients, platforms=["tpu"])(query, key, key, segment_ids).mlir_module()
    assert text.count("tpu_custom_call") == 2
    assert "4096x4096" not in text


def test_a_kernel_that_cannot_run_here_says_so(rng):
    (query, key, value, _), segment_ids = _inputs(CASES[1], rng)
    with pytest.raises(InputError, match="runs on a TPU"):
        attention(query, key, value, segment_ids, implementation="splash")


def test_mistakes_are_refused(rng):
    (query, key, value, _), segment_ids = _inputs(CASES[1], rng)
    with pytest.raises(InputError, match="must divide the 3 query heads"):
        attention(query[:, :, :3], key, value, segment_ids)
