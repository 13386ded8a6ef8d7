import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audio_model import TokenSets, token_log_likelihoods

pytestmark = pytest.mark.optimized


def _inputs(rng):
    tokens = jnp.asarray(rng.integers(0, 97, (2, 7)), jnp.int32)
    targets = jnp.asarray(rng.integers(0, 97, (2, 7)), jnp.int32)
    positions = jnp.broadcast_to(jnp.arange(7, dtype=jnp.int32)[None], (2, 7))
    return tokens, jnp.ones_like(tokens), positions, targets


def test_equal_the_log_softmax_of_the_logits(tiny, rng):
    tokens, segment_ids, positions, targets = _inputs(rng)
    mask = jnp.asarray(rng.random((2, 7)) < 0.7)
    actual = token_log_likelihoods(tiny, tokens, segment_ids, positions, jnp.where(mask, targets, -1), mask=mask)
    every = jax.nn.log_softmax(tiny.logits(tiny(tokens, segment_ids, positions)), axis=-1)
    expected = jnp.take_along_axis(every, targets[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(actual, jnp.where(mask, expected, 0.0), atol=1e-5)


def test_inside_sets(tiny, rng):
    tokens, segment_ids, positions, targets = _inputs(rng)
    sets = TokenSets.build([[(0, 30), (80, 97)], [(30, 80)]])
    actual = token_log_likelihoods(tiny, tokens, segment_ids, positions, targets, sets=sets)
    logits = np.asarray(tiny.logits(tiny(tokens, segment_ids, positions)), np.float64)
    same = sets.set_of_token(97)[None, None] == sets.set_of_token(97)[targets][..., None]
    total = np.log(np.sum(np.exp(logits) * same, axis=-1))
    np.testing.assert_allclose(
        actual, np.take_along_axis(logits, np.asarray(targets)[..., None], -1)[..., 0] - total, atol=1e-5
    )
