"""Update rules as optax transformations: cautious AdamW with AdamC decay, plain AdamW, and Muon.

All act on the array part of a model. The kind of a parameter (layer matrix, norm, embedding, head) follows from its
path and rank: arrays under `layers` have a leading axis of layers, so a matrix has rank 3 and a norm rank 2.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Int, PyTree

from audio_train.config import OptimizerSpec
from audio_train.optimization.warmup_stable_decay import WarmupStableDecay

ParameterKind = Literal["embedding", "head", "norm", "matrix"]


class DecayState(NamedTuple):
    """Number of updates made, for the schedule of `add_adamc_decay`."""

    num_updates: Int[Array, ""]


def parameter_kinds(params: PyTree) -> PyTree[str]:
    """Kind of each parameter, as a tree of `ParameterKind` with the structure of `params`."""
    return jax.tree_util.tree_map_with_path(_kind_at, params)


def decay_mask(params: PyTree) -> PyTree[bool]:
    """Return True for the parameters with weight decay: layer matrices and an untied head.

    Source: Levanter's mask ( `optim/config.py`, `build_weight_decay_mask`): no decay for norms, embeddings and
    biases, decay for everything else, `lm_head` included.
    """
    return jax.tree.map(lambda kind: kind in ("matrix", "head"), parameter_kinds(params))


def cautious(
    inner: optax.GradientTransformation, *, mean: Literal["layer", "stacked"], epsilon: float = 1e-8
) -> optax.GradientTransformation:
    """Keep only the elements of `inner`'s update that point along the gradient.

    With g the incoming gradient and u the update of `inner`, before the sign of descent is applied,

        M = [g u > 0]        u <- u M / (mean(M) + epsilon)

    Args:
        inner: Transformation whose output has the sign of the gradient, such as `optax.scale_by_adam`.
        mean: Array over which `mean(M)` is taken. `"layer"`: the weights of one layer. `"stacked"`: the array in which
            all layers of a scanned model are stacked, so the mask of one layer scales the update of another.
        epsilon: Added to the mean.

    Returns:
        The transformation; its state is that of `inner`.

    Source: Liang et al., Cautious Optimizers, arXiv 2411.16085; Levanter's form adds epsilon to the mean instead of
    clipping it, and its means are `"stacked"`.
    """

    def update(updates: PyTree, state: PyTree, params: PyTree | None = None) -> tuple[PyTree, PyTree]:
        inner_updates, state = inner.update(updates, state, params)
        return jax.tree_util.tree_map_with_path(masked, inner_updates, updates), state

    def masked(path: tuple[Any, ...], update: Array, gradient: Array) -> Array:
        mask = (gradient * update > 0).astype(update.dtype)
        axes = tuple(range(1, mask.ndim)) if mean == "layer" and _is_stacked(path) else None
        return update * mask / (jnp.mean(mask, axis=axes, keepdims=True) + epsilon)

    return optax.GradientTransformation(inner.init, update)


def add_adamc_decay(weight_decay: float, learning_rate: WarmupStableDecay) -> optax.GradientTransformation:
    """Add AdamC's decay term to an update, before it is scaled by the learning rate.

        u <- u + weight_decay (lr_t / lr_max) p

    One step then shrinks p by `weight_decay lr_t^2 / lr_max`. The decay is quadratic in the learning rate, which keeps
    the equilibrium norm of the weights constant while the learning rate falls.

    Args:
        weight_decay: Coefficient.
        learning_rate: Schedule of the run; its `peak` is lr_max.

    Returns:
        The transformation. Mask it with `decay_mask` and scale it by the learning rate afterwards.

    Source: Defazio, arXiv 2506.02285, as Levanter applies it.
    """

    def init(params: PyTree) -> DecayState:
        del params
        return DecayState(jnp.zeros((), jnp.int32))

    def update(updates: PyTree, state: PyTree, params: PyTree | None = None) -> tuple[PyTree, DecayState]:
        if params is None:
            raise ValueError("`add_adamc_decay` needs the parameters: pass `params` to `update`.")
        strength = weight_decay * learning_rate(state.num_updates) / learning_rate.peak
        decayed = jax.tree.map(lambda u, p: u + strength.astype(u.dtype) * p, updates, params)
        return decayed, DecayState(state.num_updates + 1)

    return optax.GradientTransformation(init, update)


def optimizer(spec: OptimizerSpec, learning_rate: WarmupStableDecay) -> optax.GradientTransformation:
    """Return the optimizer of a run: clipping by the global norm, then the rule that `spec` names.

    Args:
        spec: Rule and constants.
        learning_rate: Schedule; it may hold traced numbers. The state does not depend on it.

    Returns:
        A transformation for the array part of a `Qwen3x`.
    """
    return optax.chain(optax.clip_by_global_norm(spec.max_grad_norm), _rule(spec, learning_rate))


def _rule(spec: OptimizerSpec, learning_rate: WarmupStableDecay) -> optax.GradientTransformation:
    return {"cautious_adamc": _cautious_adamc, "adamw": _adamw, "muon": _muon}[spec.name](spec, learning_rate)


def initial_moments(spec: OptimizerSpec, learning_rate: WarmupStableDecay, params: PyTree) -> PyTree:
    """State of the optimizer before the first step."""
    return optimizer(spec, learning_rate).init(params)


def update(
    spec: OptimizerSpec,
    learning_rate: WarmupStableDecay,
    gradient: PyTree,
    state: PyTree,
    params: PyTree,
    *,
    weight: ArrayLike = 1.0,
    norm: ArrayLike | None = None,
    finite: ArrayLike = True,
) -> tuple[PyTree, PyTree]:
    """Apply one update of `optimizer`, in place if the arguments are donated.

    Division by `weight` and clipping are fused into the update: separate passes would cost one more read and write of
    every gradient.

    Args:
        spec: Rule and constants.
        learning_rate: Schedule.
        gradient: Gradient of the loss times `weight`, not clipped.
        state: State of the optimizer.
        params: Parameters.
        weight: Scalar to divide the gradient by.
        norm: Global norm of the loss's gradient, if it is known already.
        finite: Scalar; False leaves parameters and state unchanged.

    Returns:
        The new parameters and the new state.
    """
    rule, (clip_state, rule_state) = _rule(spec, learning_rate), state
    norm = jnp.asarray(optax.tree.norm(gradient) / weight if norm is None else norm)
    scale = jnp.where(norm < spec.max_grad_norm, 1.0, spec.max_grad_norm / norm) / weight

    def updated(gradient: PyTree, rule_state: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
        gradient = jax.tree.map(lambda leaf: leaf * scale, gradient)
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to the power of integer step counts
            updates, rule_state = rule.update(gradient, rule_state, params)
            return optax.apply_updates(params, updates), rule_state

    def unchanged(gradient: PyTree, rule_state: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
        del gradient
        return params, rule_state

    # A branch updates in place; selecting between old and new afterwards would copy the whole state.
    params, rule_state = jax.lax.cond(finite, updated, unchanged, gradient, rule_state, params)
    return params, (clip_state, rule_state)


def _cautious_adamc(spec: OptimizerSpec, learning_rate: WarmupStableDecay) -> optax.GradientTransformation:
    adam = optax.scale_by_adam(spec.beta1, spec.beta2, spec.epsilon)
    return optax.chain(
        cautious(adam, mean=spec.cautious_mean, epsilon=spec.epsilon),
        optax.masked(add_adamc_decay(spec.weight_decay, learning_rate), decay_mask),
        optax.scale_by_learning_rate(learning_rate),
    )


def _adamw(spec: OptimizerSpec, learning_rate: WarmupStableDecay) -> optax.GradientTransformation:
    return optax.adamw(
        learning_rate, spec.beta1, spec.beta2, spec.epsilon, weight_decay=spec.weight_decay, mask=decay_mask
    )


def _muon(spec: OptimizerSpec, learning_rate: WarmupStableDecay) -> optax.GradientTransformation:
    """Muon for layer matrices, each orthogonalised separately; Nesterov AdamW for embeddings, head and norms.

    Source: Jordan, Muon, as implemented in optax, which also gives the AdamW part Nesterov momentum. Changed:
    `decay_mask` selects the parameters with decay, as for the other rules; optax has one coefficient for the whole
    AdamW part.
    """
    rule = optax.contrib.muon(
        learning_rate.scaled(spec.muon_learning_rate_scale),
        beta=spec.muon_momentum,
        eps=spec.epsilon,
        weight_decay=spec.weight_decay,
        adam_b1=spec.beta1,
        adam_b2=spec.beta2,
        adam_weight_decay=spec.weight_decay,
        adam_learning_rate=learning_rate,
        muon_weight_dimension_numbers=_muon_dimensions,
    )

    def update(updates: PyTree, state: PyTree, params: PyTree | None = None) -> tuple[PyTree, PyTree]:
        # optax's rule reads the parameters only for weight decay.
        decaying = jax.tree.map(lambda p, decays: p if decays else jnp.zeros_like(p), params, decay_mask(params))
        return rule.update(updates, state, decaying)

    return optax.GradientTransformation(rule.init, update)


def _muon_dimensions(params: PyTree) -> PyTree:
    """Input and output axes of each layer matrix; None for other parameters."""
    matrix = optax.contrib.MuonDimensionNumbers(reduction_axis=1, output_axis=2)
    return jax.tree.map(lambda kind: matrix if kind == "matrix" else None, parameter_kinds(params))


def _kind_at(path: tuple[Any, ...], leaf: Any) -> ParameterKind:
    names = _names(path)
    if names[0] in ("embedding", "head"):
        return "embedding" if names[0] == "embedding" else "head"
    return "matrix" if leaf.ndim - _is_stacked(path) >= 2 else "norm"


def _is_stacked(path: tuple[Any, ...]) -> bool:
    return _names(path)[0] == "layers"


def _names(path: tuple[Any, ...]) -> list[str]:
    """Attribute or key names along a tree path."""
    return [str(getattr(entry, "name", getattr(entry, "key", ""))) for entry in path]
