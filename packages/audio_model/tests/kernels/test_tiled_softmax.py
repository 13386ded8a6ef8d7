import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audio_model import TokenSets, grammar_cross_entropy, linear_cross_entropy
from audio_model.kernels.linear_cross_entropy.pallas_tpu import pallas_tpu_linear_cross_entropy
from audio_model.kernels.linear_cross_entropy.tiles import TpuTiles

TOKENS, EMBED, VOCAB = 64, 64, 3000
SETS = TokenSets.build([[(0, 1000)], [(1000, VOCAB)]])


def _loss(operation, hidden, head, targets):
    name, implementation = operation
    if name == "grammar":
        return grammar_cross_entropy(hidden, head, targets, SETS, implementation=implementation)
    if implementation == "pallas_tpu":
        return pallas_tpu_linear_cross_entropy(hidden, head, targets, tiles=TpuTiles(128, 512), interpret=True)
    return linear_cross_entropy(hidden, head, targets, implementation=implementation)


@pytest.mark.parametrize("sharpness", [0.1, 1.5, 8.0])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "operation",
    [("full", "reference"), ("full", "xla"), ("full", "pallas_tpu"), ("grammar", "reference"), ("grammar", "xla")],
    ids="-".join,
)
def test_no_likelihood_is_above_one(operation, dtype, sharpness, rng):
    """Logsumexp and the target's logit come from the same rounded operands, however sure the model is."""
    head = jnp.asarray(rng.normal(size=(VOCAB, EMBED)), jnp.float32)
    targets = jnp.asarray(rng.integers(0, VOCAB, TOKENS), jnp.int32)
    wide = sharpness * head[targets] + jnp.asarray(0.1 * rng.normal(size=(TOKENS, EMBED)), jnp.float32)
    # The cast is part of the program, as the last norm of a model is.
    loss, logsumexp = jax.jit(lambda wide, head: _loss(operation, wide.astype(dtype), head, targets))(wide, head)
    logits = np.asarray(wide.astype(dtype), np.float64) @ np.asarray(head.astype(dtype), np.float64).T
    target_logits = logits[np.arange(TOKENS), targets]
    if operation[0] == "grammar":
        set_of_token = SETS.set_of_token(VOCAB)
        logits = np.where(set_of_token == set_of_token[targets][:, None], logits, -np.inf)
    peak = logits.max(axis=1)
    exact = peak + np.log(np.exp(logits - peak[:, None]).sum(axis=1))
    tolerance = 1e-5 + 1e-6 * np.abs(peak).max()
    assert loss.min() >= -1e-5
    np.testing.assert_allclose(logsumexp, exact, atol=tolerance)
    np.testing.assert_allclose(loss, exact - target_logits, atol=tolerance)
