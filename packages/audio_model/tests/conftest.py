import functools
import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"

import jax
import jax.numpy as jnp
import numpy as np
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@functools.cache
def _perturbed(config):
    """Random weights whose norms are not all ones."""
    from audio_model import initialize

    def draw(key):
        model = initialize(config, key)
        keys = iter(jax.random.split(key, len(jax.tree.leaves(model))))
        return jax.tree.map(lambda x: x + 0.05 * jax.random.normal(next(keys), x.shape, jnp.float32), model)

    # One program compiles faster than its forty operations apart.
    return jax.jit(draw)(jax.random.key(0))


@pytest.fixture(scope="session")
def random_model():
    """Makes a model of a configuration, with norms that are not all ones."""
    return _perturbed


@pytest.fixture(scope="session")
def tiny():
    """A grouped-head, untied model of 3 layers."""
    from audio_model import Qwen3xConfig

    config = Qwen3xConfig(
        vocab_size=97, embed=24, mlp=40, layers=3, heads=4, kv_heads=2, head_dim=8, tied=False, max_seq_len=128
    )
    return _perturbed(config)
