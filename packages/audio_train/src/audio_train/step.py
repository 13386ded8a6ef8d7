"""One step as a pure function: loss, gradient, update, and what is worth knowing about them."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float32, Int32

from audio_model import Qwen3x, TokenSets, grammar_cross_entropy, linear_cross_entropy
from audio_train.config import OptimizerSpec
from audio_train.optimizers import update
from audio_train.resolved import ResolvedRun, token_kinds
from audio_train.schedules import WarmupStableDecay
from audio_train.state import TrainState


class Batch(NamedTuple):
    """The arrays of a `TokenBatch` that reach the device.

    Attributes:
        tokens: token ids.
        segment_ids: document of each token within its row, from 1; 0 is padding.
        positions: position of each token for the rotary embedding.
        loss_mask: True where the prediction of the next token counts.
    """

    tokens: Int32[Array, "batch seq"]
    segment_ids: Int32[Array, "batch seq"]
    positions: Int32[Array, "batch seq"]
    loss_mask: Bool[Array, "batch seq"]


class LossSums(NamedTuple):
    """Unweighted loss by kind of the predicted token.

    Attributes:
        nll: summed negative log-likelihood, nats.
        num_targets: tokens predicted.
    """

    nll: Float32[Array, " kinds"]
    num_targets: Float32[Array, " kinds"]


class StepMetrics(NamedTuple):
    """What one step did.

    Attributes:
        loss: the value that was minimised.
        sums: loss by kind.
        grad_norm: global norm of the gradient before clipping.
        learning_rate: of the update.
        bad_run: consecutive steps, this one included, that were skipped for a non-finite loss or gradient.
    """

    loss: Float32[Array, ""]
    sums: LossSums
    grad_norm: Float32[Array, ""]
    learning_rate: Float32[Array, ""]
    bad_run: Int32[Array, ""]


class Objective(eqx.Module):
    """The loss of a model on a batch.

        loss = sum_i w_i (nll_i + z logsumexp_i^2) / sum_i w_i

    over the positions whose mask is True, w_i being the weight of the predicted token's kind. The softmax is over the
    whole vocabulary, or over the set of `token_sets` that holds the target.

    Attributes:
        kind_of_token: index of each id's kind.
        weight_of_kind: weight of a target by kind.
        token_sets: sets of competing ids, or None for the whole vocabulary.
        z_loss_weight: z above.
        dtype: of activations and matrix products; losses and sums are float32.
    """

    kind_of_token: Int32[Array, " vocab"]
    weight_of_kind: Float32[Array, " kinds"]
    token_sets: TokenSets | None = eqx.field(static=True)
    z_loss_weight: float = eqx.field(static=True)
    dtype: str = eqx.field(static=True)

    def __call__(self, model: Qwen3x, batch: Batch) -> tuple[Float32[Array, ""], LossSums]:
        """The loss, and the sums by kind that come with it at no further pass over the model."""
        hidden = model(batch.tokens, batch.segment_ids, batch.positions, dtype=jnp.dtype(self.dtype))
        hidden = hidden.reshape(-1, hidden.shape[-1])
        # The last position predicts nothing; its mask is False, so the id that rolls in from the front is never read.
        targets, mask = jnp.roll(batch.tokens, -1, axis=1).reshape(-1), batch.loss_mask.reshape(-1)
        nll, logsumexp = self._token_losses(hidden, model.head_matrix, targets, mask)
        # Masked positions may hold anything; zeroing them before any product keeps a NaN there out of the sums.
        nll, logsumexp = jnp.where(mask, nll, 0.0), jnp.where(mask, logsumexp, 0.0)
        kind = self.kind_of_token[targets]
        weight = jnp.where(mask, self.weight_of_kind[kind], 0.0)
        total = jnp.sum(weight * (nll + self.z_loss_weight * jnp.square(logsumexp)))
        loss = total / jnp.maximum(jnp.sum(weight), 1e-9)
        return loss, self._sums_by_kind(jax.lax.stop_gradient(nll), kind, mask)

    def _sums_by_kind(self, nll: Array, kind: Array, mask: Array) -> LossSums:
        member = jax.nn.one_hot(kind, len(self.weight_of_kind), dtype=jnp.float32) * mask.astype(jnp.float32)[:, None]
        return LossSums(jnp.dot(nll, member, precision=jax.lax.Precision.HIGHEST), jnp.sum(member, axis=0))

    def _token_losses(self, hidden: Array, head: Array, targets: Array, mask: Array) -> tuple[Array, Array]:
        if self.token_sets is None:
            return linear_cross_entropy(hidden, head, targets)
        return grammar_cross_entropy(hidden, head, targets, self.token_sets, mask=mask)


def objective(resolved: ResolvedRun) -> Objective:
    """The loss of a run."""
    return Objective(
        kind_of_token=jnp.asarray(token_kinds(resolved.vocabulary)),
        weight_of_kind=jnp.asarray(resolved.loss_weights),
        token_sets=resolved.token_sets,
        z_loss_weight=resolved.run.loss.z_loss_weight,
        dtype=resolved.run.precision,
    )


def train_step(
    state: TrainState, batch: Batch, objective: Objective, learning_rate: WarmupStableDecay, *, spec: OptimizerSpec
) -> tuple[TrainState, StepMetrics]:
    """Take one step.

    A step whose loss or gradient is not finite changes neither weights nor optimizer state; it still counts as taken,
    so that the data moves on.

    Args:
        state: before the step.
        batch: rows to learn from.
        objective: the loss.
        learning_rate: the schedule, as traced numbers.
        spec: the update rule (static).

    Returns:
        The state after the step, and what it did.
    """
    (loss, sums), gradient = jax.value_and_grad(objective, has_aux=True)(state.model, batch)
    grad_norm = optax.tree.norm(gradient)
    finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
    updated = update(spec, learning_rate, gradient, state.optimizer, state.model)
    model, new_optimizer = jax.tree.map(
        lambda new, old: jnp.where(finite, new, old), updated, (state.model, state.optimizer)
    )
    bad = 1 - finite.astype(jnp.int32)
    bad_run = (state.bad_run + 1) * bad
    metrics = StepMetrics(loss, sums, grad_norm, learning_rate(state.step - state.skipped), bad_run)
    return TrainState(state.step + 1, state.skipped + bad, bad_run, model, new_optimizer), metrics


def evaluation_step(model: Qwen3x, batch: Batch, objective: Objective) -> LossSums:
    """Loss by kind of a batch, with nothing changed."""
    return objective(model, batch)[1]
