"""Choosing implementations, and what the context of "reference" makes possible: forward-mode differentiation."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audio_model import InputError, Qwen3xConfig, implementation, initialize, linear_cross_entropy
from audio_model.kernels.attention import attention
from audio_model.kernels.matmul import matmul


def _loss_and_point(rng):
    config = Qwen3xConfig(vocab_size=19, embed=16, mlp=24, layers=2, heads=4, kv_heads=2, head_dim=8)
    model = initialize(config, jax.random.key(0))
    tokens = jnp.asarray(rng.integers(0, 19, (2, 12)), jnp.int32)
    segment_ids, positions = jnp.ones_like(tokens), jnp.broadcast_to(jnp.arange(12), tokens.shape)

    def loss(model):
        hidden = model(tokens, segment_ids, positions).reshape(-1, 16)
        return jnp.mean(linear_cross_entropy(hidden, model.head_matrix, jnp.roll(tokens, -1, axis=1).reshape(-1))[0])

    direction = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), eqx.filter(model, eqx.is_array))
    return loss, model, direction


def _dot(left, right):
    return sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True))


def test_forward_mode_equals_reverse_mode(rng):
    loss, model, direction = _loss_and_point(rng)
    value, gradient = jax.jit(jax.value_and_grad(loss))(model)
    with implementation("reference"):
        same_value, slope = jax.jit(lambda m, d: jax.jvp(loss, (m,), (d,)))(model, direction)
    np.testing.assert_allclose(same_value, value, rtol=1e-5)
    np.testing.assert_allclose(slope, _dot(gradient, direction), rtol=1e-4)


@pytest.mark.long
def test_a_hessian_vector_product_equals_differences_of_gradients(rng):
    loss, model, direction = _loss_and_point(rng)
    gradient = jax.jit(jax.grad(loss))
    with implementation("reference"):
        product = jax.jit(lambda m, d: jax.jvp(jax.grad(loss), (m,), (d,))[1])(model, direction)
    step = 1e-3
    ends = [gradient(jax.tree.map(lambda x, d, s=sign: x + s * step * d, model, direction)) for sign in (1, -1)]
    along = (_dot(ends[0], direction) - _dot(ends[1], direction)) / (2 * step)
    np.testing.assert_allclose(_dot(product, direction), along, rtol=2e-2)


def test_a_jitted_function_follows_the_context():
    traced = []

    @jax.jit
    def product(x, weight):
        traced.append(implementation.value)
        return matmul(x, weight)

    sides = jnp.ones((2, 3)), jnp.ones((3, 2))
    product(*sides)
    with implementation("reference"):
        product(*sides)
        with implementation("xla"):
            product(*sides)
    product(*sides)
    assert traced == [None, "reference", "xla"]


def test_an_argument_goes_before_the_context(rng):
    x = jnp.asarray(rng.normal(size=(1, 4, 2, 8)), jnp.float32)
    with implementation("reference"), pytest.raises(InputError, match="'splash' runs on a TPU, got the platform 'cpu'"):
        attention(x, x, x, jnp.ones((1, 4), jnp.int32), implementation="splash")


def test_a_context_of_no_implementation_is_refused():
    x = jnp.ones((1, 2, 1, 8))
    with implementation("fast"), pytest.raises(InputError, match="must be one of reference, xla, splash, got 'fast'"):
        attention(x, x, x, jnp.ones((1, 2), jnp.int32))
