import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_model import InputError, Sampling
from audio_model.sampling import argmax, choose


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
        (Sampling(temperature=1.0, min_p=0.35), [0, 0.4, 0.15, 0.3, 0]),
        (Sampling(temperature=1.0, min_p=0.74, top_k=4), [0, 0.4, 0, 0.3, 0]),
        (Sampling(temperature=1.0, top_k=99), [0.05, 0.4, 0.15, 0.3, 0.1]),
        (Sampling(), [0, 1, 0, 0, 0]),
    ],
)
def test_shares_are_the_filtered_probabilities(sampling, weights):
    expected = np.array(weights) / np.sum(weights)
    shares = _draws(LOGITS, sampling)
    assert np.all(shares[expected == 0] == 0)
    np.testing.assert_allclose(shares, expected, atol=0.03)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.7, top_k=20, top_p=0.8, min_p=0.03, repetition_penalty=1.4),
        Sampling(temperature=1.5, min_p=0.1, repetition_penalty=0.8),
        Sampling(temperature=1.0, top_p=0.5),
    ],
)
def test_filters_equal_those_of_transformers(sampling, rng):
    torch = pytest.importorskip("torch", reason="parity needs torch and transformers, see CONTRIBUTING")
    transformers = pytest.importorskip("transformers", reason="parity needs torch and transformers, see CONTRIBUTING")
    logits, prompt = 3 * rng.normal(size=(1, 50)).astype(np.float32), rng.integers(0, 50, (1, 12))
    warpers = [
        transformers.RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty),
        transformers.TemperatureLogitsWarper(sampling.temperature),
        transformers.TopKLogitsWarper(sampling.top_k or 50),
        transformers.TopPLogitsWarper(sampling.top_p),
        transformers.MinPLogitsWarper(sampling.min_p),
    ]
    expected = torch.tensor(logits)
    for warper in warpers:
        expected = warper(torch.tensor(prompt), expected)
    seen = jnp.zeros((1, 50), bool).at[0, jnp.asarray(prompt[0])].set(True)
    count = 4000
    keys = jax.random.split(jax.random.key(0), count)
    rows = jnp.broadcast_to(jnp.asarray(logits), (count, 50))
    draw = jax.jit(choose, static_argnums=3)
    tokens = draw(rows, keys, jnp.int32(0), sampling, jnp.broadcast_to(seen, (count, 50)))
    shares = np.bincount(tokens, minlength=50) / count
    np.testing.assert_allclose(shares, torch.softmax(expected, -1)[0].numpy(), atol=0.035)
    assert np.all(shares[np.isneginf(expected[0].numpy())] == 0)


def test_forbidden_tokens_are_never_drawn():
    shares = _draws([0.0, -np.inf, 1.0, -np.inf], Sampling(temperature=5.0, top_p=0.999))
    assert shares[1] == shares[3] == 0


def test_steps_draw_anew_and_repeatably():
    key = jax.random.split(jax.random.key(0), 1)
    logits = jnp.zeros((1, 1000))
    tokens = [int(choose(logits, key, jnp.int32(step), Sampling(temperature=1.0))[0]) for step in (0, 1, 2, 0)]
    assert len(set(tokens)) == 3
    assert tokens[0] == tokens[3]


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"min_p": 1.5},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": math.inf},
        {"seed": -1},
        {"seed": 2**32},
    ],
)
def test_bad_values_are_refused(bad):
    with pytest.raises(InputError, match=f"`{next(iter(bad))}`"):
        Sampling(**bad)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from([-np.inf, -1.5, 0.0, 2.0, 2.5]), min_size=1, max_size=12))
def test_argmax_is_the_first_largest(values):
    assert int(argmax(jnp.asarray([values], jnp.float32))[0]) == int(np.argmax(values))


def test_argmax_of_not_a_number_stays_inside():
    assert 0 <= int(argmax(jnp.full((1, 5), jnp.nan))[0]) < 5
