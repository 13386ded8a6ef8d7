import math

import jax.numpy as jnp
import numpy as np
import pytest

from audio_model import RopeConfig, RopeScaling
from audio_model.rope import inverse_frequencies, rope_tables, rotate


def _llama3(theta, head_dim, scaling):
    """The rule as a case distinction over wavelengths."""
    frequencies = []
    for pair in range(head_dim // 2):
        frequency = theta ** (-2 * pair / head_dim)
        wavelength = 2 * math.pi / frequency
        low = scaling.original_max_position / scaling.low_frequency_factor
        high = scaling.original_max_position / scaling.high_frequency_factor
        if wavelength > low:
            frequency /= scaling.factor
        elif wavelength > high:
            smooth = (scaling.original_max_position / wavelength - scaling.low_frequency_factor) / (
                scaling.high_frequency_factor - scaling.low_frequency_factor
            )
            frequency = (1 - smooth) * frequency / scaling.factor + smooth * frequency
        frequencies.append(frequency)
    return np.array(frequencies)


@pytest.mark.parametrize("head_dim", [64, 80, 128])
def test_llama3_frequencies(head_dim):
    config = RopeConfig(scaling=RopeScaling())
    expected = _llama3(config.theta, head_dim, config.scaling)
    np.testing.assert_allclose(inverse_frequencies(config, head_dim), expected, rtol=1e-6)


def test_scaling_keeps_short_and_stretches_long_wavelengths():
    plain = inverse_frequencies(RopeConfig(scaling=None), 128)
    ratio = plain / inverse_frequencies(RopeConfig(), 128)
    assert ratio[0] == 1.0
    np.testing.assert_allclose(ratio[-1], 8.0, rtol=1e-6)
    assert np.all(np.diff(ratio) >= -1e-6)


def test_scores_depend_on_the_distance_alone(rng):
    query, key = (jnp.asarray(rng.normal(size=(1, 1, 1, 16)), jnp.float32) for _ in range(2))

    def score(query_position, key_position):
        rotated = [
            rotate(x, rope_tables(RopeConfig(theta=100.0, scaling=None), 16, jnp.array([[position]])))
            for x, position in ((query, query_position), (key, key_position))
        ]
        return float(jnp.sum(rotated[0] * rotated[1]))

    assert score(3, 1) == pytest.approx(score(12, 10), abs=1e-4)
    assert abs(score(3, 1) - score(3, 2)) > 1e-3
    assert score(0, 0) == pytest.approx(float(jnp.sum(query * key)), abs=1e-6)
