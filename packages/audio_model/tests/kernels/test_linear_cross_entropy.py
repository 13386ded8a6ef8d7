import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audio_model import InputError, linear_cross_entropy
from audio_model.kernels.linear_cross_entropy.cases import CASES

CHECKED = [case for case in CASES if not case.timed]


def _inputs(case, rng):
    hidden = jnp.asarray(rng.normal(size=(case.tokens, case.embed)), jnp.float32)
    head = jnp.asarray(rng.normal(size=(case.vocab, case.embed)), jnp.float32)
    targets = jnp.asarray(rng.integers(0, case.vocab, case.tokens), jnp.int32)
    weights = jnp.asarray(rng.normal(size=(2, case.tokens)), jnp.float32)
    return hidden, head, targets, weights


def _both(case, implementation, hidden, head, targets, weights):
    def combined(hidden, head):
        loss, logsumexp = linear_cross_entropy(
            hidden,
            head,
            targets,
            implementation=implementation,
            block_rows=case.block_rows,
            block_columns=case.block_columns,
        )
        return jnp.sum(weights[0] * loss + weights[1] * logsumexp**2), (loss, logsumexp)

    return jax.jit(jax.value_and_grad(combined, argnums=(0, 1), has_aux=True))(hidden, head)


@pytest.mark.parametrize("implementation", ["reference", "xla"])
def test_values_equal_float64(implementation, rng):
    case = CASES[2]
    hidden, head, targets, weights = _inputs(case, rng)
    (_, (loss, logsumexp)), _ = _both(case, implementation, hidden, head, targets, weights)
    logits = np.asarray(hidden, np.float64) @ np.asarray(head, np.float64).T
    expected = np.log(np.exp(logits).sum(axis=1))
    np.testing.assert_allclose(logsumexp, expected, rtol=1e-6)
    np.testing.assert_allclose(loss, expected - logits[np.arange(case.tokens), targets], atol=1e-5)


@pytest.mark.parametrize("case", CHECKED, ids=lambda case: case.reason)
def test_xla_equals_reference_with_gradients(case, rng):
    inputs = _inputs(case, rng)
    expected, actual = (_both(case, name, *inputs) for name in ("reference", "xla"))
    tolerance = 1e-6 * (case.vocab**0.5 + case.tokens + case.embed)
    for left, right in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=tolerance)


def test_bfloat16_products_with_float32_sums(rng):
    case = CASES[2]
    hidden, head, targets, weights = _inputs(case, rng)
    hidden, head = (x.astype(jnp.bfloat16).astype(jnp.float32) for x in (hidden, head))
    (_, exact), _ = _both(case, "reference", hidden, head, targets, weights)
    (_, rounded), (hidden_gradient, head_gradient) = _both(
        case, "xla", hidden.astype(jnp.bfloat16), head, targets, weights
    )
    assert hidden_gradient.dtype == jnp.bfloat16
    assert head_gradient.dtype == jnp.float32
    for left, right in zip(rounded, exact, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)


def test_large_logits_do_not_overflow():
    hidden = jnp.full((3, 4), 100.0)
    head = jnp.concatenate([jnp.full((1, 4), 100.0), jnp.full((8, 4), -100.0)])
    loss, logsumexp = linear_cross_entropy(hidden, head, jnp.array([0, 0, 1]), block_columns=2)
    np.testing.assert_allclose(loss, [0.0, 0.0, 80_000.0])
    np.testing.assert_allclose(logsumexp, 40_000.0)


def test_temporary_memory_is_a_fraction_of_the_logits():
    shapes = (jax.ShapeDtypeStruct((1024, 64), jnp.float32), jax.ShapeDtypeStruct((32_768, 64), jnp.float32))
    targets = jax.ShapeDtypeStruct((1024,), jnp.int32)

    def temporary(implementation):
        def total(hidden, head, targets):
            return jnp.sum(linear_cross_entropy(hidden, head, targets, implementation=implementation)[0])

        return (
            jax.jit(jax.grad(total, argnums=(0, 1)))
            .lower(*shapes, targets)
            .compile()
            .memory_analysis()
            .temp_size_in_bytes
        )

    assert temporary("xla") < temporary("reference") / 12


def test_mistakes_are_refused():
    arrays = jnp.zeros((2, 3)), jnp.zeros((5, 3)), jnp.zeros(2, jnp.int32)
    with pytest.raises(InputError, match="`block_rows`"):
        linear_cross_entropy(*arrays, block_rows=0)
