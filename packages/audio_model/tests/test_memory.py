import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from audio_model import InputError, Qwen3xConfig, initialize
from audio_model.memory import kept_for_backward_bytes, memory

CONFIG = Qwen3xConfig(vocab_size=300, embed=64, mlp=96, layers=2, heads=4, kv_heads=2, head_dim=16)


def _kept(dtype="bfloat16", batch=2, **change):
    return kept_for_backward_bytes(dataclasses.replace(CONFIG, **change), batch=batch, seq_len=32, dtype=dtype)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_block_that_recomputes_all_keeps_its_input(dtype):
    one_input = 2 * 32 * CONFIG.embed * jnp.dtype(dtype).itemsize
    shallow, deep = (_kept(dtype, remat="full", layers=layers) for layers in (2, 7))
    assert deep[0] - shallow[0] == 5 * one_input
    assert deep[1] == 0


def test_offloaded_inputs_are_counted_on_the_host():
    on_device, on_host = _kept(remat="offload", layers=7)
    assert on_host == 7 * 2 * 32 * CONFIG.embed * 2
    assert on_device + on_host == _kept(remat="full", layers=7)[0]


def test_policies_keep_less_the_more_they_recompute():
    none, dots, full = (_kept(remat=remat)[0] for remat in ("none", "dots", "full"))
    assert none > dots > full


def test_totals_add_up():
    document = memory(CONFIG, batch=2, seq_len=32)
    parts = ("parameters_bytes", "gradients_bytes", "optimizer_bytes", "kept_for_backward_bytes")
    assert document["training_bytes"] == sum(document[name] for name in parts)
    leaves = jax.tree.leaves(eqx.filter_eval_shape(initialize, CONFIG, jax.random.key(0)))
    assert document["parameters_bytes"] == sum(leaf.size * 4 for leaf in leaves)
    # Keys and values of 2 layers and 2 heads of 16, for 2 rows of 32, in two bytes each.
    assert document["generation_bytes"] - document["parameters_bytes"] == 2 * 2 * 2 * 16 * 2 * 32 * 2
    with pytest.raises(InputError, match="`batch` and `seq_len` must be at least 1, got 0 and 32"):
        memory(CONFIG, batch=0, seq_len=32)
