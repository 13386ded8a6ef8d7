"""One step as a pure function: loss, gradient, update and their statistics."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float32, Int32

from audio_model import LowRank, Qwen3x, TokenSets, grammar_cross_entropy, linear_cross_entropy, merge
from audio_train.config import OptimizerSpec
from audio_train.optimization.optimizers import update
from audio_train.optimization.warmup_stable_decay import WarmupStableDecay
from audio_train.resolved import ResolvedRun, token_kinds
from audio_train.sharding.parallelism import SingleDevice
from audio_train.state import TrainState

T = TypeVar("T")

SINGLE_DEVICE = SingleDevice()
Differentiate = Callable[..., tuple[Any, Any, Any, Any]]
"""`loss_and_gradient` of `(model, batch, objective)`, wherever it runs."""


class Batch(NamedTuple):
    """The arrays of a `TokenBatch` that reach the device.

    Attributes:
        tokens: Token ids.
        segment_ids: Document of each token within its row, from 1; 0 is padding.
        positions: Position of each token for the rotary embedding.
        loss_mask: True where the prediction of the next token counts.
    """

    tokens: Int32[Array, "batch seq"]
    segment_ids: Int32[Array, "batch seq"]
    positions: Int32[Array, "batch seq"]
    loss_mask: Bool[Array, "batch seq"]


class LossSums(NamedTuple):
    """Unweighted loss by kind of the predicted token.

    Attributes:
        nll: Summed negative log-likelihood, nats.
        num_targets: Tokens predicted.
    """

    nll: Float32[Array, " kinds"]
    num_targets: Float32[Array, " kinds"]


class StepMetrics(NamedTuple):
    """What one step did.

    Attributes:
        loss: The value that was minimised.
        sums: Loss by kind.
        grad_norm: Global norm of the gradient before clipping.
        learning_rate: Of the update.
        consecutive_nonfinite: Steps in a row, up to this one, that were skipped for a non-finite loss or gradient.
        request: The largest of what the processes of a run asked for with this step; 0 for nothing.
    """

    loss: Float32[Array, ""]
    sums: LossSums
    grad_norm: Float32[Array, ""]
    learning_rate: Float32[Array, ""]
    consecutive_nonfinite: Int32[Array, ""]
    request: Int32[Array, ""]


class Objective(eqx.Module):
    """The loss of a model on a batch.

        loss = sum_i w_i (nll_i + z logsumexp_i^2) / sum_i w_i

    over the positions whose mask is True, w_i being the weight of the predicted token's kind. The softmax is over the
    whole vocabulary, or over the set of `token_sets` that holds the target.

    Attributes:
        kind_of_token: Index of each id's kind.
        weight_of_kind: Weight of a target by kind.
        token_sets: Sets of competing ids, or None for the whole vocabulary.
        z_loss_weight: Z above.
        dtype: Of activations and matrix products; losses and sums are float32.
    """

    kind_of_token: Int32[Array, " vocab"]
    weight_of_kind: Float32[Array, " kinds"]
    token_sets: TokenSets | None = eqx.field(static=True)
    z_loss_weight: float = eqx.field(static=True)
    dtype: str = eqx.field(static=True)

    def __call__(self, model: Qwen3x, batch: Batch) -> tuple[Float32[Array, ""], LossSums]:
        """Return the loss, and the sums by kind that come with it at no further pass over the model."""
        total, (weight, sums) = self.totals(model, batch)
        return total / jnp.maximum(weight, 1e-9), sums

    def totals(
        self, model: Qwen3x, batch: Batch, parallelism: SingleDevice = SINGLE_DEVICE
    ) -> tuple[Float32[Array, ""], tuple[Float32[Array, ""], LossSums]]:
        """Return the sums above and below the fraction line, and those by kind.

        Args:
            model: The model, or a device's part of it.
            batch: Rows, or a device's part of them.
            parallelism: Collectives over the other devices.

        Returns:
            All over the rows that this device scores: what is differentiated, and what comes with it.
        """
        dtype = jnp.dtype(self.dtype)
        hidden = model(batch.tokens, batch.segment_ids, batch.positions, dtype=dtype, parallelism=parallelism)
        # The last position predicts nothing; its mask is False, so the id that rolls in from the front is never read.
        targets, mask = jnp.roll(batch.tokens, -1, axis=1).reshape(-1), batch.loss_mask.reshape(-1)
        hidden, targets, mask = parallelism.shard_tokens(hidden.reshape(-1, hidden.shape[-1]), targets, mask)
        nll, logsumexp = self._token_losses(hidden, parallelism.gather_head(model.head_matrix, hidden), targets, mask)
        # Masked positions may hold anything; zeroing them before any product keeps a NaN there out of the sums.
        nll, logsumexp = jnp.where(mask, nll, 0.0), jnp.where(mask, logsumexp, 0.0)
        kind = self.kind_of_token[targets]
        weight = jnp.where(mask, self.weight_of_kind[kind], 0.0)
        total = jnp.sum(weight * (nll + self.z_loss_weight * jnp.square(logsumexp)))
        return total, (jnp.sum(weight), self._sums_by_kind(jax.lax.stop_gradient(nll), kind, mask))

    def _sums_by_kind(self, nll: Array, kind: Array, mask: Array) -> LossSums:
        member = jax.nn.one_hot(kind, len(self.weight_of_kind), dtype=jnp.float32) * mask.astype(jnp.float32)[:, None]
        return LossSums(jnp.dot(nll, member, precision=jax.lax.Precision.HIGHEST), jnp.sum(member, axis=0))

    def _token_losses(self, hidden: Array, head: Array, targets: Array, mask: Array) -> tuple[Array, Array]:
        if self.token_sets is None:
            return linear_cross_entropy(hidden, head, targets)
        return grammar_cross_entropy(hidden, head, targets, self.token_sets, mask=mask)


def objective(resolved: ResolvedRun) -> Objective:
    """Return the loss of a run."""
    return Objective(
        kind_of_token=jnp.asarray(token_kinds(resolved.vocabulary)),
        weight_of_kind=jnp.asarray(resolved.loss_weights),
        token_sets=resolved.token_sets,
        z_loss_weight=resolved.run.loss.z_loss_weight,
        dtype=resolved.run.precision,
    )


def loss_and_gradient(
    model: Qwen3x,
    batch: Batch,
    objective: Objective,
    *,
    microbatches: int = 1,
    parallelism: SingleDevice = SINGLE_DEVICE,
) -> tuple[Float32[Array, ""], LossSums, Qwen3x, Float32[Array, ""]]:
    """Return the loss of a batch, its sums by kind and its gradient, not yet divided by the weight of the batch.

    Microbatches are computed one after another. Their weighted sums are added up, and divided once by the weight of the
    whole batch; loss and gradient are therefore those of the batch, whatever the masks of its parts. Sums are float32.
    The division is fused into the optimizer update: a separate pass would read and write every gradient once more.

    Args:
        model: The model, or a device's part of it.
        batch: Rows, or a device's part of them.
        objective: The loss.
        microbatches: Number of parts; divides the rows. Part k holds the rows r with r mod `microbatches` = k, so that
            every device has its share of each.
        parallelism: Collectives over the other devices, inside `jax.shard_map`.

    Returns:
        Loss and sums of the whole batch; the gradient of the sum above the fraction line, of the structure of `model`;
        and the weight below it.
    """
    differentiate = jax.value_and_grad(partial(objective.totals, parallelism=parallelism), has_aux=True)
    if microbatches == 1:
        values, gradient = differentiate(model, batch)
    else:
        parts = jax.tree.map(lambda x: jnp.swapaxes(x.reshape(-1, microbatches, *x.shape[1:]), 0, 1), batch)
        shapes = jax.eval_shape(differentiate, model, jax.tree.map(lambda x: x[0], parts))
        zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)

        def add_part(sofar: T, part: Batch) -> tuple[T, None]:
            # Without the barrier XLA for TPU (libtpu 0.0.42) wants to move the sums over devices out of the loop,
            # which would take a whole gradient on each, and fails in doing so.
            return jax.tree.map(jnp.add, sofar, jax.lax.optimization_barrier(differentiate(model, part))), None

        (values, gradient), _ = jax.lax.scan(add_part, zeros, parts)
    total, (weight, sums) = parallelism.sum_over_tokens(parallelism.after_gradient(gradient, values))
    weight = jnp.maximum(weight, 1e-9)
    gradient = parallelism.reduce_gradient(parallelism.after_gradient(gradient, gradient))
    return total / weight, sums, gradient, weight


def train_step(
    state: TrainState,
    batch: Batch,
    objective: Objective,
    learning_rate: WarmupStableDecay,
    requests: Int32[Array, " parts"] | None = None,
    *,
    spec: OptimizerSpec,
    low_rank: LowRank | None = None,
    differentiate: Differentiate = loss_and_gradient,
) -> tuple[TrainState, StepMetrics]:
    """Take one step.

    A step whose loss or gradient is not finite changes neither weights nor optimizer state; it still counts as taken,
    so that the data moves on.

    Args:
        state: Before the step.
        batch: Rows to learn from.
        objective: The loss.
        learning_rate: The schedule, as traced numbers.
        requests: What the processes of the run ask for; the largest comes back, the same to all.
        spec: The update rule (static).
        low_rank: Form of the state's adapters, if these are trained in place of the weights (static).
        differentiate: `loss_and_gradient`, as it is or laid out over a mesh (static).

    Returns:
        The state after the step, and what it did.
    """
    if low_rank is None:
        trained: Any = state.model
        loss, sums, gradient, weight = differentiate(state.model, batch, objective)
    else:
        # The gradient of the merged weights, on any mesh, is pulled back to the adapters; the base has none.
        trained = state.adapters
        merged, pull = jax.vjp(lambda adapters: merge(state.model, adapters, low_rank), state.adapters)
        loss, sums, gradient, weight = differentiate(merged, batch, objective)
        (gradient,) = pull(gradient)
    grad_norm = optax.tree.norm(gradient) / weight
    finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
    trained, new_optimizer = update(
        spec, learning_rate, gradient, state.optimizer, trained, weight=weight, norm=grad_norm, finite=finite
    )
    bad = 1 - finite.astype(jnp.int32)
    nonfinite = (state.consecutive_nonfinite + 1) * bad
    request = jnp.zeros((), jnp.int32) if requests is None else jnp.max(requests)
    metrics = StepMetrics(loss, sums, grad_norm, learning_rate(state.step - state.skipped), nonfinite, request)
    model, adapters = (trained, None) if low_rank is None else (state.model, trained)
    return TrainState(state.step + 1, state.skipped + bad, nonfinite, model, new_optimizer, adapters), metrics


def evaluation_step(
    model: Qwen3x, batch: Batch, objective: Objective, *, parallelism: SingleDevice = SINGLE_DEVICE
) -> LossSums:
    """Loss by kind of a batch, with nothing changed."""
    return parallelism.sum_over_tokens(objective.totals(model, batch, parallelism)[1][1])
