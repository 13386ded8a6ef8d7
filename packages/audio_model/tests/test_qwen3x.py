import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audio_model import Qwen3xConfig, initialize


@pytest.fixture(scope="module")
def run():
    return eqx.filter_jit(lambda model, *inputs, **kwargs: model(*inputs, **kwargs))


def _row(rng, length, vocab=97):
    tokens = jnp.asarray(rng.integers(0, vocab, (1, length)), jnp.int32)
    return tokens, jnp.ones_like(tokens), jnp.arange(length, dtype=jnp.int32)[None]


def test_packed_documents_do_not_see_one_another(tiny, run, rng):
    lengths = (5, 9, 2)
    rows = [_row(rng, length) for length in lengths]
    tokens, positions = (jnp.concatenate([row[i] for row in rows], axis=1) for i in (0, 2))
    segment_ids = jnp.concatenate([row[1] * i for i, row in enumerate(rows, start=1)], axis=1)
    packed = run(tiny, tokens, segment_ids, positions)
    alone = jnp.concatenate([run(tiny, *row) for row in rows], axis=1)
    np.testing.assert_allclose(packed, alone, atol=2e-6)


def test_padding_changes_nothing(tiny, run, rng):
    tokens, segment_ids, positions = _row(rng, 6)
    padded = [jnp.pad(x, ((0, 0), (4, 3))) for x in (tokens, segment_ids, positions)]
    np.testing.assert_allclose(run(tiny, *padded)[:, 4:10], run(tiny, tokens, segment_ids, positions), atol=2e-6)


def test_later_tokens_change_nothing_before_them(tiny, run, rng):
    tokens, segment_ids, positions = _row(rng, 12)
    before = run(tiny, tokens, segment_ids, positions)
    after = run(tiny, tokens.at[0, 7].set((tokens[0, 7] + 1) % 97), segment_ids, positions)
    np.testing.assert_array_equal(before[:, :7], after[:, :7])
    assert np.all(np.abs(before[:, 7:] - after[:, 7:]).max(axis=-1) > 1e-4)


def test_a_common_shift_of_positions_changes_nothing(tiny, run, rng):
    tokens, segment_ids, positions = _row(rng, 12)
    shifted = run(tiny, tokens, segment_ids, positions + 500)
    np.testing.assert_allclose(shifted, run(tiny, tokens, segment_ids, positions), atol=2e-4)


@pytest.mark.long
def test_rematerialisation_trades_memory_for_nothing_else(rng):
    config = Qwen3xConfig(vocab_size=11, embed=64, mlp=256, layers=4, heads=2, kv_heads=2, head_dim=32)
    inputs = _row(rng, 128, vocab=11)
    temporary_bytes, gradients = [], []
    for remat in ("full", "dots", "none"):
        model = initialize(dataclasses.replace(config, remat=remat), jax.random.key(0))
        program = jax.jit(jax.grad(lambda model: jnp.mean(model(*inputs) ** 3))).lower(model).compile()
        temporary_bytes.append(program.memory_analysis().temp_size_in_bytes)
        gradients.append(jax.tree.leaves(program(model)))
    assert temporary_bytes == sorted(set(temporary_bytes))
    for full, dots, none in zip(*gradients, strict=True):
        np.testing.assert_allclose(full, none, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(dots, none, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_block_inputs_can_wait_in_host_memory(rng):
    config = Qwen3xConfig(vocab_size=11, embed=64, mlp=96, layers=3, heads=2, kv_heads=2, head_dim=32, remat="full")
    inputs = _row(rng, 16, vocab=11)
    gradients = []
    for remat in ("full", "offload"):
        model = initialize(dataclasses.replace(config, remat=remat), jax.random.key(0))
        gradient = jax.jit(jax.grad(lambda model: jnp.mean(model(*inputs) ** 3)))
        # What every block keeps, by where it is kept: `f32<host>[layers, batch, seq, embed]`.
        assert ("f32<host>[3,1,16,64]" in str(jax.make_jaxpr(gradient)(model))) == (remat == "offload")
        gradients.append(jax.tree.leaves(gradient(model)))
    for full, offloaded in zip(*gradients, strict=True):
        np.testing.assert_array_equal(offloaded, full)


def test_bfloat16_activations(tiny, run, rng):
    inputs = _row(rng, 20)
    rounded = run(tiny, *inputs, dtype=jnp.bfloat16)
    assert rounded.dtype == jnp.bfloat16
    np.testing.assert_allclose(rounded.astype(jnp.float32), run(tiny, *inputs), atol=0.1)


def test_logits_are_products_with_the_head(tiny, rng):
    hidden = jnp.asarray(rng.normal(size=(3, 24)), jnp.float32)
    np.testing.assert_allclose(tiny.logits(hidden), np.asarray(hidden) @ np.asarray(tiny.head).T, atol=1e-5)
    tied = initialize(dataclasses.replace(tiny.config, tied=True), jax.random.key(0))
    assert tied.head_matrix is tied.embedding
