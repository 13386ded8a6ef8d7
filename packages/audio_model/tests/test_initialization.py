import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audio_model import InputError, Qwen3xConfig, initialize, initialize_audio_rows

CONFIG = Qwen3xConfig(vocab_size=500, embed=64, mlp=96, layers=2, heads=2, kv_heads=1, head_dim=32)


def test_scales_and_independence():
    model = initialize(CONFIG, jax.random.key(0))
    # A truncated normal at three deviations has a deviation of 0.987.
    assert float(jnp.std(model.layers.gate)) == pytest.approx(0.987 * 64**-0.5, rel=0.03)
    assert float(jnp.std(model.layers.down)) == pytest.approx(0.987 * 96**-0.5, rel=0.03)
    assert float(jnp.std(model.embedding)) == pytest.approx(1 / 8, rel=0.03)
    assert np.all(np.asarray(model.layers.key_norm) == 1)
    correlation = np.corrcoef(model.embedding.reshape(-1), model.head.reshape(-1))[0, 1]
    assert abs(correlation) < 0.03
    assert not np.array_equal(model.layers.query[0], model.layers.query[1])


def test_the_key_decides_everything():
    first, again, other = (initialize(CONFIG, jax.random.key(seed)) for seed in (3, 3, 4))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.all(a == b)), first, again))
    assert not np.array_equal(first.layers.up, other.layers.up)


# Deviation of a standard normal truncated at three: 1 - 2 x 3 phi(3) / (Phi(3) - Phi(-3)), under a root.
TRUNCATED = math.sqrt(1 - 6 * math.exp(-4.5) / math.sqrt(2 * math.pi) / math.erf(3 / math.sqrt(2)))


def test_haliax_draws_the_head_from_the_key_of_the_embedding():
    model = initialize(CONFIG, jax.random.key(0), "haliax")
    own = initialize(CONFIG, jax.random.key(0))
    embedding, head = np.float64(model.embedding), np.float64(model.head)
    np.testing.assert_allclose(head, math.sqrt(CONFIG.embed) * embedding, rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, model.layers, own.layers)
    fan_in = {"query": 64, "key": 64, "value": 64, "output": 64, "gate": 64, "up": 64, "down": 96}
    matrices = {name: (np.float64(getattr(model.layers, name)), inputs**-0.5) for name, inputs in fan_in.items()}
    for name, (drawn, scale) in {"embedding": (embedding, 1 / 64), "head": (head, 1 / 8), **matrices}.items():
        standard, error = drawn / scale, 4 / math.sqrt(2 * drawn.size)
        assert standard.std() == pytest.approx(TRUNCATED, rel=error), name
        assert abs(standard.mean()) < 2 * error, name
        assert 2.7 < np.abs(standard).max() <= 3 * (1 + 1e-6), name


@pytest.mark.parametrize(("scheme", "above"), [("haliax", 0.0), ("unit_logits", 0.5)])
def test_a_tied_model_of_haliax_begins_at_the_loss_of_guessing(scheme: Literal["haliax", "unit_logits"], above: float):
    config = dataclasses.replace(CONFIG, tied=True)
    model = initialize(config, jax.random.key(1), scheme)
    assert model.head is None
    tokens = jax.random.randint(jax.random.key(2), (4, 129), 0, config.vocab_size)
    inputs, targets = tokens[:, :-1], np.asarray(tokens[:, 1:])
    hidden = model(inputs, jnp.ones_like(inputs), jnp.broadcast_to(jnp.arange(128), inputs.shape))
    logits = np.float64(hidden) @ np.float64(model.embedding).T
    log_partition = np.log(np.exp(logits).sum(-1))
    loss = (log_partition - np.take_along_axis(logits, targets[..., None], -1)[..., 0]).mean()
    assert loss == pytest.approx(math.log(config.vocab_size) + above, abs=0.15 if above else 0.02)


def test_audio_rows_lie_like_their_centroids(rng):
    model = initialize(CONFIG, jax.random.key(0))
    codebooks = jnp.asarray(rng.normal(size=(3, 40, 6)) * np.array([1.0, 5.0, 0.1])[:, None, None] + 2, jnp.float32)
    codebooks = codebooks.at[:, :, 4].set(7.0)
    changed = initialize_audio_rows(model, codebooks, 100, jax.random.key(1))
    rows = np.asarray(changed.embedding[100:220]).reshape(3, 40, 64)
    np.testing.assert_array_equal(changed.embedding[:100], model.embedding[:100])
    np.testing.assert_array_equal(changed.embedding[220:], model.embedding[220:])
    np.testing.assert_array_equal(changed.head, model.head)
    rms = np.sqrt(np.mean(np.square(rows), axis=(1, 2)))
    np.testing.assert_allclose(rms, np.sqrt(np.mean(np.square(model.embedding))), rtol=1e-5)
    for book, centroids in zip(rows, np.asarray(codebooks), strict=True):
        standard = (centroids - centroids.mean(0)) / np.maximum(centroids.std(0), 1e-6)
        pairs = np.triu_indices(40, 1)
        distances = [np.linalg.norm(x[:, None] - x[None], axis=-1)[pairs] for x in (book, standard)]
        assert np.corrcoef(*distances)[0, 1] > 0.8
    products = np.abs(rows[0] @ rows[1].T) / (
        np.linalg.norm(rows[0], axis=1)[:, None] * np.linalg.norm(rows[1], axis=1)
    )
    assert products.mean() < 0.2


def test_audio_rows_must_fit():
    model = initialize(dataclasses.replace(CONFIG, layers=1), jax.random.key(0))
    with pytest.raises(InputError, match="need ids 100 to 579, but the model's `vocab_size` is 500"):
        initialize_audio_rows(model, jnp.zeros((6, 80, 2)), 100, jax.random.key(0))
