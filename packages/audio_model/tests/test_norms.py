import jax.numpy as jnp
import numpy as np
import pytest

from audio_model.norms import rms_norm


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("epsilon", [0.0, 1e-6, 0.7])
@pytest.mark.parametrize("shape", [(5,), (2, 3, 5)])
def test_rows_are_divided_by_the_root_of_their_mean_square_and_epsilon(dtype, epsilon, shape, rng):
    x, weight = jnp.asarray(rng.normal(size=shape), dtype), jnp.asarray(rng.normal(size=5), dtype)
    rows = np.asarray(x, np.float64)
    expected = rows / np.sqrt((rows**2).mean(axis=-1, keepdims=True) + epsilon) * np.asarray(weight, np.float64)
    found = rms_norm(x, weight, epsilon)
    assert found.dtype == dtype
    np.testing.assert_allclose(np.asarray(found, np.float64), expected, rtol=1e-6 if dtype == jnp.float32 else 1e-2)
