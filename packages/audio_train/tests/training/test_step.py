"""The step against numpy: losses from explicit logits, sums by kind, weights, and the guard against bad gradients."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audio_data import Vocabulary
from audio_model import TokenSets
from audio_train import LossSpec, Objective, OptimizerSpec, ResolvedRun, objective, train_step
from audio_train.run_folder.checkpoint import flat_paths
from audio_train.state import TrainState
from audio_train.training.step import Batch, loss_and_gradient

# One rule for all tests that take steps, so that it is compiled once.
UNCLIPPED = OptimizerSpec("adamw", 1e-2, beta1=0.9, max_grad_norm=1e9)


@pytest.fixture
def state(toy: ResolvedRun, fresh_state) -> TrainState:
    return fresh_state(toy)


def random_batch(vocabulary: Vocabulary, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    shape = (2, 12)
    return Batch(
        jnp.asarray(rng.integers(0, vocabulary.size, shape), jnp.int32),
        jnp.ones(shape, jnp.int32),
        jnp.broadcast_to(jnp.arange(12, dtype=jnp.int32), shape),
        jnp.asarray((rng.random(shape) < 0.7) & (np.arange(12) < 11)),
    )


def compiled_loss(loss_of: Objective) -> Callable:
    return jax.jit(lambda model, batch: loss_of(model, batch))


def compiled_step(resolved: ResolvedRun) -> Callable:
    return jax.jit(partial(train_step, spec=resolved.run.optimizer))


def token_losses(state: TrainState, batch: Batch, sets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """NLL and logsumexp in float64 of every position's next token, among the ids of its set."""
    hidden = state.model(batch.tokens, batch.segment_ids, batch.positions)
    logits = np.asarray(state.model.logits(hidden), np.float64)[:, :-1]
    targets = np.asarray(batch.tokens)[:, 1:]
    logits = np.where(sets == sets[targets][..., None], logits, -np.inf)
    logsumexp = np.log(np.exp(logits).sum(-1))
    return logsumexp - np.take_along_axis(logits, targets[..., None], -1)[..., 0], logsumexp


def test_only_several_parts_are_added_up_in_a_loop(toy: ResolvedRun, state: TrainState, vocabulary: Vocabulary):
    """One part needs no sum of gradients beside its own, which would be a second gradient in memory."""

    def num_loops(microbatches: int) -> int:
        loss = partial(loss_and_gradient, microbatches=microbatches)
        taken = partial(train_step, spec=toy.run.optimizer, differentiate=loss)
        return str(jax.make_jaxpr(taken)(state, random_batch(vocabulary), objective(toy), toy.learning_rate)).count(
            "scan["
        )

    assert num_loops(2) == num_loops(1) + 1


@pytest.mark.parametrize("kind", ["full", "grammar"])
def test_loss_and_sums_by_kind(kind: Literal["full", "grammar"], varied, state: TrainState, vocabulary: Vocabulary):
    weights = {"text": 4.0, "codebook_1": 0.5}
    resolved = varied(loss=LossSpec(kind=kind, z_loss_weight=0.01, kind_weights=weights))
    batch = random_batch(vocabulary)
    loss, sums = compiled_loss(objective(resolved))(state.model, batch)

    full = np.zeros(vocabulary.size, int)
    sets = TokenSets.build(vocabulary.allowed_sets).set_of_token(vocabulary.size) if kind == "grammar" else full
    nll, logsumexp = token_losses(state, batch, sets)
    mask = np.asarray(batch.loss_mask)[:, :-1]
    kinds = vocabulary.kind_of(np.asarray(batch.tokens)[:, 1:].reshape(-1)).reshape(mask.shape)
    weight = np.array([weights.get(name, 1.0) for name in vocabulary.kinds])[kinds] * mask
    np.testing.assert_allclose(loss, (weight * (nll + 0.01 * logsumexp**2)).sum() / weight.sum(), rtol=1e-5)
    for index in range(len(vocabulary.kinds)):
        chosen = mask & (kinds == index)
        np.testing.assert_allclose(sums.nll[index], nll[chosen].sum(), rtol=1e-5)
        assert int(sums.num_targets[index]) == chosen.sum()


def test_the_step_learns_and_reports_the_gradient_it_applies(varied, fresh_state, vocabulary: Vocabulary):
    resolved = varied(optimizer=UNCLIPPED)
    step, loss_of, rate = compiled_step(resolved), objective(resolved), resolved.learning_rate
    state, batch = fresh_state(resolved), random_batch(vocabulary)
    state, first = step(state, batch, loss_of, rate)
    first_moment = [leaf for path, leaf in flat_paths(state.optimizer).items() if ".mu." in path]
    norm = np.sqrt(sum(np.sum(np.square(leaf / 0.1)) for leaf in first_moment))
    assert float(first.grad_norm) == pytest.approx(norm, rel=1e-5)
    for _ in range(5):
        state, metrics = step(state, batch, loss_of, rate)
    assert float(metrics.loss) < float(first.loss)
    assert [float(first.learning_rate), int(state.step), int(state.skipped)] == [0.0, 6, 0]


def test_a_step_without_a_finite_gradient_changes_nothing_but_the_counts(varied, fresh_state, vocabulary: Vocabulary):
    resolved = varied(optimizer=UNCLIPPED)
    state, batch, rate = fresh_state(resolved), random_batch(vocabulary), resolved.learning_rate
    step, good = compiled_step(resolved), objective(resolved)
    bad = eqx.tree_at(lambda o: o.weight_of_kind, good, good.weight_of_kind * jnp.inf)
    after, metrics = step(state, batch, bad, rate)
    again, more = step(after, batch, bad, rate)
    assert eqx.tree_equal((after.model, after.optimizer), (state.model, state.optimizer))
    assert [
        int(after.step),
        int(after.skipped),
        int(metrics.consecutive_nonfinite),
        int(more.consecutive_nonfinite),
    ] == [1, 1, 1, 2]
    recovered, metrics = step(again, batch, good, rate)
    assert [int(recovered.step), int(recovered.skipped), int(metrics.consecutive_nonfinite)] == [3, 2, 0]


def test_bfloat16_computes_near_the_same_loss(varied, state: TrainState, vocabulary: Vocabulary):
    batch = random_batch(vocabulary)
    losses = [
        float(compiled_loss(objective(varied(precision=precision)))(state.model, batch)[0])
        for precision in ("float32", "bfloat16")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[1]


def test_padding_does_not_count(toy: ResolvedRun, state: TrainState, vocabulary: Vocabulary):
    loss_of, batch = compiled_loss(objective(toy)), random_batch(vocabulary)
    masked = np.asarray(batch.loss_mask).copy()
    masked[:, 8:] = False
    other = np.asarray(batch.tokens).copy()
    other[:, 9:] = 0
    first = loss_of(state.model, batch._replace(loss_mask=jnp.asarray(masked)))
    second = loss_of(state.model, batch._replace(loss_mask=jnp.asarray(masked), tokens=jnp.asarray(other)))
    assert float(first[0]) == pytest.approx(float(second[0]), rel=1e-6)
