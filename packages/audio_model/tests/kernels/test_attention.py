import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audio_model import InputError
from audio_model.kernels.attention import attention
from audio_model.kernels.attention.cases import CASES


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
    *inputs, cotangent = arrays

    @jax.jit
    def run(inputs, cotangent):
        output, pull = jax.vjp(lambda *x: attention(*x, segment_ids, implementation=implementation), *inputs)
        return output, pull(cotangent)

    return run(inputs, cotangent)


@pytest.mark.parametrize("implementation", ["reference", "xla"])
def test_values_equal_the_definition(implementation, rng):
    (query, key, value, _), segment_ids = _inputs(CASES[1], rng)
    run = jax.jit(lambda *x: attention(*x, implementation=implementation))
    actual = run(query, key, value, segment_ids)
    np.testing.assert_allclose(actual, _by_definition(query, key, value, segment_ids), atol=2e-6)


@pytest.mark.parametrize("case", [case for case in CASES if not case.timed], ids=lambda case: case.reason)
def test_xla_equals_reference_with_gradients(case, rng):
    arrays, segment_ids = _inputs(case, rng)
    expected, actual = (_both(name, segment_ids, arrays) for name in ("reference", "xla"))
    # Rounding grows with the root of the number of keys summed over.
    tolerance = 4e-7 * (case.seq**0.5 + case.head_dim)
    for left, right in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(left, right, atol=tolerance)


def test_bfloat16_is_close_to_float32(rng):
    arrays, segment_ids = _inputs(CASES[3], rng)
    exact = _both("reference", segment_ids, arrays)
    rounded = _both("xla", segment_ids, [x.astype(jnp.bfloat16) for x in arrays])
    for left, right in zip(jax.tree.leaves(rounded), jax.tree.leaves(exact), strict=True):
        assert left.dtype == jnp.bfloat16
        np.testing.assert_allclose(left.astype(jnp.float32), right, atol=0.06)


def test_mistakes_are_refused(rng):
    (query, key, value, _), segment_ids = _inputs(CASES[1], rng)
    with pytest.raises(InputError, match="must divide the 3 query heads"):
        attention(query[:, :, :3], key, value, segment_ids)
