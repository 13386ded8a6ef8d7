import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audio_model import InputError, Sampling
from audio_model.sampling import choose


def _draws(logits, sampling, count=4000):
    keys = jax.random.split(jax.random.key(0), count)
    rows = jnp.broadcast_to(jnp.asarray(logits, jnp.float32)[None], (count, len(logits)))
    tokens = jax.jit(choose, static_argnums=3)(rows, keys, jnp.int32(0), sampling)
    return np.bincount(tokens, minlength=len(logits)) / count


LOGITS = np.log([0.05, 0.4, 0.15, 0.3, 0.1])


@pytest.mark.parametrize(
    ("sampling", "weights"),
    [
        (Sampling(temperature=1.0), [0.05, 0.4, 0.15, 0.3, 0.1]),
        (Sampling(temperature=0.5), np.square([0.05, 0.4, 0.15, 0.3, 0.1])),
        (Sampling(temperature=1.0, top_k=2), [0, 0.4, 0, 0.3, 0]),
        # 0.4 and 0.3 reach 0.7; a hair more needs the third.
        (Sampling(temperature=1.0, top_p=0.69), [0, 0.4, 0, 0.3, 0]),
        (Sampling(temperature=1.0, top_p=0.71), [0, 0.4, 0.15, 0.3, 0]),
        (Sampling(temperature=1.0, top_k=3, top_p=0.5), [0, 0.4, 0, 0.3, 0]),
        (Sampling(temperature=1.0, top_p=1e-9), [0, 1, 0, 0, 0]),
        (Sampling(temperature=1.0, top_k=99), [0.05, 0.4, 0.15, 0.3, 0.1]),
        (Sampling(), [0, 1, 0, 0, 0]),
    ],
)
def test_shares_are_the_filtered_probabilities(sampling, weights):
    expected = np.array(weights) / np.sum(weights)
    shares = _draws(LOGITS, sampling)
    assert np.all(shares[expected == 0] == 0)
    np.testing.assert_allclose(shares, expected, atol=0.03)


def test_forbidden_tokens_are_never_drawn():
    shares = _draws([0.0, -np.inf, 1.0, -np.inf], Sampling(temperature=5.0, top_p=0.999))
    assert shares[1] == shares[3] == 0


def test_steps_draw_anew_and_repeatably():
    key = jax.random.split(jax.random.key(0), 1)
    logits = jnp.zeros((1, 1000))
    tokens = [int(choose(logits, key, jnp.int32(step), Sampling(temperature=1.0))[0]) for step in (0, 1, 2, 0)]
    assert len(set(tokens)) == 3
    assert tokens[0] == tokens[3]


@pytest.mark.parametrize("bad", [{"temperature": -0.1}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.1}])
def test_bad_values_are_refused(bad):
    with pytest.raises(InputError, match=f"`{next(iter(bad))}`"):
        Sampling(**bad)
