import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audio_model import InputError, Qwen3xConfig, RopeConfig, extend_vocabulary, initialize, named_config

pytestmark = pytest.mark.optimized

# Qwen3's own base models: rows padded to 151,936, of which the tokenizer uses 151,669.
QWEN3 = {"tied": True, "rope": RopeConfig(theta=1e6, scaling=None), "rms_epsilon": 1e-6, "max_seq_len": 32_768}
ROWS, USED, EXTENDED = 151_936, 151_669, 168_059


@pytest.mark.parametrize(("size", "total"), [("0.6b", 784_652_288), ("1.7b", 2_097_779_712)])
def test_totals_of_the_study(size, total):
    base = dataclasses.replace(named_config(size, ROWS), **QWEN3)
    model = eqx.filter_eval_shape(initialize, base, jax.random.key(0))
    extended = eqx.filter_eval_shape(extend_vocabulary, model, EXTENDED, num_copied=USED, key=jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(extended)) == total
    assert extended.config.num_parameters == total
    assert extended.config == dataclasses.replace(base, vocab_size=EXTENDED, tied=False)


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def base(request):
    rng = np.random.default_rng(0)
    config = Qwen3xConfig(
        vocab_size=60, embed=256, mlp=8, layers=1, heads=2, kv_heads=1, head_dim=8, **QWEN3 | {"tied": request.param}
    )
    shapes = eqx.filter_eval_shape(initialize, config, jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.asarray(0.1 * rng.normal(size=leaf.shape).astype(np.float32)), shapes)


def test_rows_are_kept_or_drawn_around_their_mean(base):
    extended = extend_vocabulary(base, 400, num_copied=50, key=jax.random.key(3))
    noises = []
    for matrix, source in ((extended.embedding, base.embedding), (extended.head, base.head_matrix)):
        np.testing.assert_array_equal(matrix[:50], source[:50])
        noise = np.asarray(matrix[50:], np.float64) - np.asarray(source[:50], np.float64).mean(axis=0)
        # 350 rows of 256 draws: a column's mean strays by 0.02 / sqrt(350), the deviation by a quarter of a per cent.
        assert np.abs(noise.mean(axis=0)).max() < 5 * 0.02 / np.sqrt(350)
        assert noise.std() == pytest.approx(0.02, rel=0.02)
        noises.append(noise)
    assert abs(np.corrcoef(noises[0].ravel(), noises[1].ravel())[0, 1]) < 0.02
    assert eqx.tree_equal(extended.layers, base.layers)


def test_the_text_model_still_speaks(base):
    """Rotary embedding and epsilon are the source's, so old ids have the logits they had."""
    tokens = jnp.arange(40, dtype=jnp.int32)[None]
    extended = extend_vocabulary(base, 80, num_copied=50, key=jax.random.key(0))
    before, after = (model.logits(model(tokens, jnp.ones_like(tokens), tokens)) for model in (base, extended))
    np.testing.assert_allclose(after[..., :50], before[..., :50], atol=1e-5)


def test_bfloat16_rounds_the_float32_rows(base):
    halved = jax.tree.map(lambda x: jnp.asarray(np.asarray(x).astype(jnp.bfloat16)), base)
    wide = jax.tree.map(lambda x: jnp.asarray(np.asarray(x).astype(np.float32)), halved)
    rows = [extend_vocabulary(m, 80, num_copied=50, key=jax.random.key(1)).head for m in (halved, wide)]
    assert rows[0].dtype == jnp.bfloat16
    np.testing.assert_array_equal(rows[0], np.asarray(rows[1]).astype(jnp.bfloat16))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_copied": 61}, r"`num_copied` must lie in 1\.\.60, the rows of the model, got 61"),
        ({"num_copied": 0}, "`num_copied` must lie in"),
        ({"vocab_size": 49}, "`vocab_size` must be at least the 50 rows that are kept, got 49"),
        ({"deviation": -0.1}, "`deviation` must be at least 0"),
        ({"deviation": float("nan")}, "`deviation` must be at least 0"),
    ],
)
def test_impossible_extensions_are_refused(base, change, message):
    arguments = {"vocab_size": 80, "num_copied": 50, "deviation": 0.02} | change
    with pytest.raises(InputError, match=message):
        extend_vocabulary(base, arguments.pop("vocab_size"), key=jax.random.key(0), **arguments)
