"""One training step over several devices: the collectives that each device calls.

Inside `jax.shard_map` every device holds a shard of the weights and of the batch, so that collectives are only those
written here and the kernels of one device run unchanged. Weights sharded over `fsdp` are gathered block by block, in
the dtype of the computation, forward and again backward; their gradients are reduced and scattered. Heads, hidden
features and the vocabulary are sharded over `tensor`. Gradients are summed over `replica` and `data` once a step.

Source: ZeRO-3 (arXiv 1910.02054) for `fsdp`; Megatron-LM (arXiv 1909.08053) for the two operators of `tensor`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh, NamedSharding
from jax.typing import DTypeLike
from jaxtyping import Array, PyTree

from audio_model import Parallelism, Qwen3x, Qwen3xConfig, parameter_axes
from audio_model.parallelism import GATHERED_WEIGHTS
from audio_train.sharding.mesh import BATCH_AXES, mesh_axes

T = TypeVar("T")

_TENSOR_PARALLEL_NORMS = ("attention_norm", "mlp_norm", "query_norm", "key_norm")
"""Norms whose results are read by features sharded over `tensor`: each device has a part of their gradient."""


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def copy_to_tensor_parallel(x: Array, axis: str) -> Array:
    """Return `x` on every device of an axis; its gradient is the sum of theirs."""
    del axis
    return x


def _copy_forward(x: Array, axis: str) -> tuple[Array, None]:
    del axis
    return x, None


def _copy_backward(axis: str, _: None, cotangent: Array) -> tuple[Array]:
    return (jax.lax.psum(cotangent, axis),)


copy_to_tensor_parallel.defvjp(_copy_forward, _copy_backward)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def reduce_from_tensor_parallel(x: Array, axis: str) -> Array:
    """Sum `x` over the devices of an axis; each of them gets the gradient of the sum."""
    return jax.lax.psum(x, axis)


def _reduce_forward(x: Array, axis: str) -> tuple[Array, None]:
    return jax.lax.psum(x, axis), None


def _reduce_backward(axis: str, _: None, cotangent: Array) -> tuple[Array]:
    del axis
    return (cotangent,)


reduce_from_tensor_parallel.defvjp(_reduce_forward, _reduce_backward)


class SingleDevice(Parallelism):
    """One device that holds the whole model and the whole batch."""

    def shard_tokens(self, *arrays: Array) -> tuple[Array, ...]:
        """Return the rows whose loss this device computes, of arrays with one row a token."""
        return arrays

    def gather_head(self, head: Array, hidden: Array) -> Array:
        """Return the whole output matrix, for the rows whose loss this device computes and in their dtype."""
        del hidden
        return head

    def sum_over_tokens(self, value: PyTree) -> PyTree:
        """Sum what devices computed from the rows of `shard_tokens`."""
        return value

    def reduce_gradient(self, gradient: T) -> T:
        """Return the gradient of the whole batch, sharded as the weights are."""
        return gradient

    def after_gradient(self, gradient: Qwen3x, values: T) -> T:
        """Return values whose collectives must run after those of the gradient."""
        del gradient
        return values


@dataclass(frozen=True)
class Sharded(SingleDevice):
    """One of several devices.

    Attributes:
        config: Configuration of the whole model.
        sizes: Devices along each mesh axis.
        rules: As in `MeshConfig`.
        ordered_collectives: Whether independent collectives are made to depend on one another. XLA's CPU devices share
            a pool of threads and may start those inside and outside a loop in different orders, which is a deadlock;
            other devices run theirs in the order of the program.
    """

    config: Qwen3xConfig
    sizes: tuple[tuple[str, int], ...]
    rules: tuple[tuple[str, str], ...]
    ordered_collectives: bool = False

    gathers_weights = True

    def embed(self, embedding: Array, tokens: Array, dtype: DTypeLike) -> Array:
        """Look up embedding rows; with a sharded vocabulary each device looks up its own ids."""
        table = self._gather("embedding", embedding, dtype)
        if not self._tensor_parallel("embedding"):
            return jnp.take(table, tokens, axis=0)
        local = tokens - jax.lax.axis_index("tensor") * table.shape[0]
        held = (local >= 0) & (local < table.shape[0])
        rows = jnp.take(table, jnp.where(held, local, 0), axis=0)
        return reduce_from_tensor_parallel(jnp.where(held[..., None], rows, jnp.zeros((), rows.dtype)), "tensor")

    def all_gather_weights(self, weights: T, dtype: DTypeLike) -> T:
        """Gather the weights of a block over `fsdp`, matrices as `dtype`; or the last norm."""
        return jax.tree_util.tree_map_with_path(lambda path, leaf: self._gather_at(path, leaf, dtype), weights)

    def copy_to_tensor_parallel(self, x: Array) -> Array:
        """Return `x`; its gradient is the sum over `tensor`."""
        return copy_to_tensor_parallel(x, "tensor") if self._size("tensor") > 1 else x

    def reduce_from_tensor_parallel(self, x: Array) -> Array:
        """Sum over `tensor` products whose inputs are sharded."""
        return reduce_from_tensor_parallel(x, "tensor") if self._size("tensor") > 1 else x

    def shard_tokens(self, *arrays: Array) -> tuple[Array, ...]:
        """Split rows over `tensor`, whose devices hold the same rows: each computes the loss of its own share."""
        parts = self._size("tensor")
        if parts == 1:
            return arrays
        rows = -(-arrays[0].shape[0] // parts)
        start = jax.lax.axis_index("tensor") * rows

        def share(array: Array) -> Array:
            if jnp.issubdtype(array.dtype, jnp.floating):
                array = copy_to_tensor_parallel(array, "tensor")
            padded = jnp.pad(array, ((0, parts * rows - array.shape[0]), *((0, 0),) * (array.ndim - 1)))
            return jax.lax.dynamic_slice_in_dim(padded, start, rows)

        return tuple(share(array) for array in arrays)

    def gather_head(self, head: Array, hidden: Array) -> Array:
        """Gather the output matrix in the dtype of `hidden`; its gradient is the sum over all rows."""
        # Gathered after all blocks, so that its gradient is reduced before theirs.
        whole = self._gather("head", self._after(hidden, head), hidden.dtype)
        if self._tensor_parallel("head"):
            return jax.lax.all_gather(whole, "tensor", axis=0, tiled=True)
        return self.copy_to_tensor_parallel(whole)

    def sum_over_tokens(self, value: PyTree) -> PyTree:
        """Sum over all devices, each of which computed the loss of other rows."""
        return jax.lax.psum(value, (*BATCH_AXES, "tensor"))

    def reduce_gradient(self, gradient: T) -> T:
        """Sum over the batch axes, except `fsdp` where the gradient of `all_gather_weights` is summed already."""

        def summed(path: tuple[Any, ...], leaf: Array) -> Array:
            scattered = "fsdp" in self._spec(_name(path))
            axes = [axis for axis in BATCH_AXES if self._size(axis) > 1 and not (scattered and axis == "fsdp")]
            return jax.lax.psum(leaf, tuple(axes)) if axes else leaf

        return jax.tree_util.tree_map_with_path(summed, gradient)

    def after_gradient(self, gradient: Qwen3x, values: T) -> T:
        """Return the values, made to depend on the gradient of the embedding, which is computed last."""
        return jax.tree.map(lambda value: self._after(gradient.embedding, value), values)

    def _after(self, first: Array, then: Array) -> Array:
        """Return `then`, which now depends on `first`; backward the other way round."""
        # A product with zero: the compiler may not drop it, as it does barriers before anything runs.
        return then + (0.0 * first.reshape(-1)[0]).astype(then.dtype) if self.ordered_collectives else then

    def _gather_at(self, path: tuple[Any, ...], leaf: Array, dtype: DTypeLike) -> Array:
        return self._gather(_name(path) if path else "final_norm", leaf, dtype)

    def _gather(self, name: str, leaf: Array, dtype: DTypeLike) -> Array:
        spec = self._spec(name)[-leaf.ndim :]  # within the scan over blocks the layer axis is gone
        if leaf.ndim > 1:
            leaf = leaf.astype(dtype)
        for axis, mesh_axis in enumerate(spec):
            if mesh_axis == "fsdp" and self._size("fsdp") > 1:
                leaf = jax.lax.all_gather(leaf, "fsdp", axis=axis, tiled=True)
        if name in _TENSOR_PARALLEL_NORMS:
            leaf = self.copy_to_tensor_parallel(leaf)
        return checkpoint_name(leaf, GATHERED_WEIGHTS)

    def _tensor_parallel(self, name: str) -> bool:
        return self._size("tensor") > 1 and "tensor" in self._spec(name)

    def _spec(self, name: str) -> tuple[str | None, ...]:
        return _specs(self.config, self.rules)[name]

    def _size(self, axis: str) -> int:
        return dict(self.sizes)[axis]


def parallelism_of(config: Qwen3xConfig, mesh: Mesh, rules: Mapping[str, str]) -> SingleDevice:
    """Return the parallelism of a step over a mesh; one CPU or GPU needs no `shard_map`."""
    if mesh.size == 1 and mesh.devices.flat[0].platform != "tpu":
        return SingleDevice()
    ordered_collectives = mesh.devices.flat[0].platform == "cpu"
    return Sharded(config, tuple(mesh.shape.items()), tuple(rules.items()), ordered_collectives)


def on_mesh(
    function: Callable[..., T], parallelism: SingleDevice, mesh: Mesh, arguments: Any, results: Any
) -> Callable[..., T]:
    """Return a function of one device's shards as a function of whole arrays.

    Args:
        function: What each device computes.
        parallelism: Parallelism of `function`; a `SingleDevice` returns the function unchanged.
        mesh: The devices.
        arguments: Shardings of the arguments, as trees of `NamedSharding` or prefixes of them.
        results: Shardings of the results.
    """
    if not isinstance(parallelism, Sharded):
        return function
    specs = jax.tree.map(lambda place: place.spec, (arguments, results), is_leaf=lambda n: isinstance(n, NamedSharding))
    # Kernels do not say over which axes their results vary, so that JAX cannot check it.
    return jax.shard_map(function, mesh=mesh, in_specs=specs[0], out_specs=specs[1], check_vma=False)


@lru_cache
def _specs(config: Qwen3xConfig, rules: tuple[tuple[str, str], ...]) -> dict[str, tuple[str | None, ...]]:
    axes = jax.tree_util.tree_leaves_with_path(parameter_axes(config), is_leaf=lambda node: isinstance(node, tuple))
    named = {_name(path): mesh_axes(names, dict(rules)) for path, names in axes}
    return {"head": named["embedding"], **named}


def _name(path: tuple[Any, ...]) -> str:
    return str(path[-1].name)
