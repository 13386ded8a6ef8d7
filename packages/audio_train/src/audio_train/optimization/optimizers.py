"""Update rules as optax transformations: cautious AdamW with AdamC decay, plain AdamW, and Muon.

All act on the array part of a model. What a parameter is (matrix of a layer, norm, embedding, head) is read off its
place and rank: arrays under `layers` have a leading axis of layers, so that a matrix has rank 3 and a norm rank 2.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Int, PyTree

from audio_train.config import OptimizerSpec
from audio_train.optimization.schedules import WarmupStableDecay

ParameterKind = Literal["embedding", "head", "norm", "matrix"]


class DecayState(NamedTuple):
    """Number of updates made, for the schedule of `add_adamc_decay`."""

    num_updates: Int[Array, ""]


def parameter_kinds(params: PyTree) -> PyTree[str]:
    """What each parameter is, as a tree of `ParameterKind` of the structure of `params`."""
    return jax.tree_util.tree_map_with_path(_kind_at, params)


def decay_mask(params: PyTree) -> PyTree[bool]:
    """True for the parameters that decay: matrices of layers and an untied head.

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
        inner: a transformation whose output has the sign of the gradient, such as `optax.scale_by_adam`.
        mean: the array over which `mean(M)` runs. `"layer"`: one layer's weights. `"stacked"`: the array as stored, in
            which all layers of a scanned model are stacked, so that one layer's mask scales another's update.
        epsilon: added to the mean.

    Returns:
        The transformation; its state is that of `inner`.

    Source: Liang et al., Cautious Optimizers, arXiv 2411.16085; Levanter's form adds epsilon to the mean instead of
    clipping it, and its means are `"stacked"`.
    """

    def update(updates, state, params=None):
        inner_updates, state = inner.update(updates, state, params)
        return jax.tree_util.tree_map_with_path(masked, inner_updates, updates), state

    def masked(path, update, gradient):
        mask = (gradient * update > 0).astype(update.dtype)
        axes = tuple(range(1, mask.ndim)) if mean == "layer" and _is_stacked(path) else None
        return update * mask / (jnp.mean(mask, axis=axes, keepdims=True) + epsilon)

    return optax.GradientTransformation(inner.init, update)


def add_adamc_decay(weight_decay: float, learning_rate: WarmupStableDecay) -> optax.GradientTransformation:
    """Add AdamC's decay term to an update that the learning rate has yet to scale.

        u <- u + weight_decay (lr_t / lr_max) p

    so that one step shrinks p by `weight_decay lr_t^2 / lr_max`: the decay follows the learning rate twice, which keeps
    the equilibrium norm of the weights constant while the learning rate falls.

    Args:
        weight_decay: the coefficient.
        learning_rate: the run's schedule; its `peak` is lr_max.

    Returns:
        The transformation, to be masked by `decay_mask` and followed by the learning rate.

    Source: Defazio, arXiv 2506.02285, as Levanter applies it.
    """

    def init(params):
        del params
        return DecayState(jnp.zeros((), jnp.int32))

    def update(updates, state, params=None):
        if params is None:
            raise ValueError("`add_adamc_decay` needs the parameters: pass `params` to `update`.")
        strength = weight_decay * learning_rate(state.num_updates) / learning_rate.peak
        decayed = jax.tree.map(lambda u, p: u + strength.astype(u.dtype) * p, updates, params)
        return decayed, DecayState(state.num_updates + 1)

    return optax.GradientTransformation(init, update)


def optimizer(spec: OptimizerSpec, learning_rate: WarmupStableDecay) -> optax.GradientTransformation:
    """The update rule of a run: global norm clip, then the rule `spec` names.

    Args:
        spec: the rule and its constants.
        learning_rate: the schedule; it may hold traced numbers. The state does not depend on it.

    Returns:
        A transformation for the array part of a `Qwen3x`.
    """
    return optax.chain(optax.clip_by_global_norm(spec.max_grad_norm), _rule(spec, learning_rate))


def _rule(spec: OptimizerSpec, learning_rate: WarmupStableDecay) -> optax.GradientTransformation:
    return {"cautious_adamc": _cautious_adamc, "adamw": _adamw, "muon": _muon}[spec.name](spec, learning_rate)


def initial_moments(spec: OptimizerSpec, learning_rate: WarmupStableDecay, params: PyTree) -> PyTree:
    """The state of a run's update rule before the first step."""
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
    """One update as `optimizer` makes it, in place where its arguments are donated.

    Args:
        spec: the rule.
        learning_rate: the schedule.
        gradient: `weight` times that of the loss, not clipped.
        state: of the rule.
        params: what to update.
        weight: a scalar. Dividing by it apart from the update would read and write every gradient once more, as would
            clipping.
        norm: global norm of the loss's gradient, where it is known already.
        finite: a scalar; where it is False parameters and state stay as they are.

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

    # A branch writes the new over the old; choosing between them afterwards takes copies as large as the model.
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
    """Muon for the matrices of layers, each orthogonalised by itself; Nesterov AdamW for embeddings, head and norms.

    Source: Jordan, Muon, in optax's form, which also gives the AdamW part Nesterov momentum. Changed: `decay_mask` says
    what decays, as under the other rules, where optax takes one coefficient for the whole AdamW part.
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

    def update(updates, state, params=None):
        # The rule reads parameters only to decay them.
        decaying = jax.tree.map(lambda p, decays: p if decays else jnp.zeros_like(p), params, decay_mask(params))
        return rule.update(updates, state, decaying)

    return optax.GradientTransformation(rule.init, update)


def _muon_dimensions(params: PyTree) -> PyTree:
    """How Muon reads each parameter: inputs against outputs, layers apart; None where it is no layer's matrix."""
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
    """Attribute or key names along a tree path; optimizer trees built from plain dicts read the same."""
    return [str(getattr(entry, "name", getattr(entry, "key", ""))) for entry in path]
