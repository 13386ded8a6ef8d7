import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audio_tokenize.codecs.embedded.decoder import KERNEL, MelDecoder


@pytest.fixture(scope="module")
def decoder() -> MelDecoder:
    fresh = MelDecoder.initialize(4, 6, width=8, hidden=12, num_blocks=2, key=jax.random.key(0))
    leaves, structure = jax.tree.flatten(fresh)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    drawn = [leaf + 0.3 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, drawn)


@pytest.fixture(scope="module")
def line() -> jax.Array:
    return jax.random.normal(jax.random.key(2), (12, 4))


def test_frames_one_by_one_are_the_whole(decoder, line):
    _, whole = decoder(decoder.initial_state(), line)
    state, single = decoder.initial_state(), []
    for frame in line:
        state, correction = decoder(state, frame[None])
        single.append(correction)
    np.testing.assert_allclose(jnp.concatenate(single), whole, atol=1e-5)


def test_the_first_block_reaches_back_four_frames_and_never_ahead(decoder, line):
    _, before = decoder(decoder.initial_state(), line)
    _, after = decoder(decoder.initial_state(), line.at[5].add(1.0))
    changed = np.abs(np.asarray(after - before)).max(axis=1) > 0
    assert not changed[:5].any()
    assert changed[5 : 5 + KERNEL].all()
    assert not changed[5 + 2 * (KERNEL - 1) + 1 :].any()


def test_a_new_decoder_corrects_nothing(line):
    fresh = MelDecoder.initialize(4, 6, width=8, hidden=12, num_blocks=2, key=jax.random.key(0))
    _, correction = fresh(fresh.initial_state(), line)
    assert not np.any(correction)
