"""One training step over several devices, written as what each of them does.

Inside `jax.shard_map` every device holds its part of the weights and of the batch, so that collectives are only those
written here and the kernels of one device run as they are. Weights cut over `fsdp` are fetched block by block, in the
dtype of the computation, forward and again backward; their gradients come back summed and cut. Heads, hidden features
and the vocabulary are cut over `tensor`. Gradients are summed over `replica` and `data` once a step.

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

from audio_model import Layout, Qwen3x, Qwen3xConfig, parameter_axes
from audio_model.layout import FETCHED
from audio_train.sharding.mesh import BATCH_AXES, mesh_axes

T = TypeVar("T")

_SPREAD_NORMS = ("attention_norm", "mlp_norm", "query_norm", "key_norm")
"""Norms whose results go into features that are cut over `tensor`, so that each device has a part of their gradient."""


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def spread(x: Array, axis: str) -> Array:
    """The same value on every device of an axis, for uses that differ; the gradient is the sum of theirs."""
    del axis
    return x


def _spread_forward(x: Array, axis: str) -> tuple[Array, None]:
    del axis
    return x, None


def _spread_backward(axis: str, _: None, cotangent: Array) -> tuple[Array]:
    return (jax.lax.psum(cotangent, axis),)


spread.defvjp(_spread_forward, _spread_backward)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def add_up(x: Array, axis: str) -> Array:
    """The sum of the parts on every device of an axis; each part gets the gradient of the sum."""
    return jax.lax.psum(x, axis)


def _add_up_forward(x: Array, axis: str) -> tuple[Array, None]:
    return jax.lax.psum(x, axis), None


def _add_up_backward(axis: str, _: None, cotangent: Array) -> tuple[Array]:
    del axis
    return (cotangent,)


add_up.defvjp(_add_up_forward, _add_up_backward)


class Whole(Layout):
    """One device that holds the whole model and the whole batch."""

    def split_rows(self, *arrays: Array) -> tuple[Array, ...]:
        """The rows that this device scores, of arrays with one row a token."""
        return arrays

    def head(self, head: Array, hidden: Array) -> Array:
        """The whole output matrix, for the rows this device scores and in their dtype."""
        del hidden
        return head

    def sum_rows(self, value: PyTree) -> PyTree:
        """The sum of what devices made of the rows they scored."""
        return value

    def sum_gradient(self, gradient: T) -> T:
        """The gradient of the whole batch, each device holding the part it holds of the weights."""
        return gradient

    def last(self, gradient: Qwen3x, values: T) -> T:
        """Values that are to be summed over devices once the gradient is there."""
        del gradient
        return values


@dataclass(frozen=True)
class Cut(Whole):
    """One of several devices.

    Attributes:
        config: the whole model.
        sizes: devices along each mesh axis.
        rules: as in `MeshConfig`.
        in_order: whether collectives that do not depend on one another are made to. XLA's CPU devices share a pool of
            threads and may begin those inside and outside a loop in different orders, and then wait for one another
            without end; real devices run theirs in the order of the program.
    """

    config: Qwen3xConfig
    sizes: tuple[tuple[str, int], ...]
    rules: tuple[tuple[str, str], ...]
    in_order: bool = False

    fetches = True

    def look_up(self, embedding: Array, tokens: Array, dtype: DTypeLike) -> Array:
        """Embedding rows; with the vocabulary cut, each device looks up the ids it holds."""
        table = self._fetch("embedding", embedding, dtype)
        if not self._cut_by_tensor("embedding"):
            return jnp.take(table, tokens, axis=0)
        local = tokens - jax.lax.axis_index("tensor") * table.shape[0]
        held = (local >= 0) & (local < table.shape[0])
        rows = jnp.take(table, jnp.where(held, local, 0), axis=0)
        return add_up(jnp.where(held[..., None], rows, jnp.zeros((), rows.dtype)), "tensor")

    def fetch(self, weights: T, dtype: DTypeLike) -> T:
        """The weights of a block, whole in `embed`, matrices as `dtype`; or the last norm."""
        return jax.tree_util.tree_map_with_path(lambda path, leaf: self._fetch_at(path, leaf, dtype), weights)

    def spread(self, x: Array) -> Array:
        """The residual stream before products whose features are cut over `tensor`."""
        return spread(x, "tensor") if self._size("tensor") > 1 else x

    def add_up(self, x: Array) -> Array:
        """The sum over `tensor` of products whose inputs are cut."""
        return add_up(x, "tensor") if self._size("tensor") > 1 else x

    def split_rows(self, *arrays: Array) -> tuple[Array, ...]:
        """Devices along `tensor` hold the same rows; each scores its own share of them."""
        parts = self._size("tensor")
        if parts == 1:
            return arrays
        rows = -(-arrays[0].shape[0] // parts)
        start = jax.lax.axis_index("tensor") * rows

        def share(array: Array) -> Array:
            if jnp.issubdtype(array.dtype, jnp.floating):
                array = spread(array, "tensor")
            padded = jnp.pad(array, ((0, parts * rows - array.shape[0]), *((0, 0),) * (array.ndim - 1)))
            return jax.lax.dynamic_slice_in_dim(padded, start, rows)

        return tuple(share(array) for array in arrays)

    def head(self, head: Array, hidden: Array) -> Array:
        """The whole output matrix in the dtype of `hidden`; its gradient is the sum over all rows."""
        # Forward after all blocks, and its gradient is summed before theirs.
        whole = self._fetch("head", self._after(hidden, head), hidden.dtype)
        if self._cut_by_tensor("head"):
            return jax.lax.all_gather(whole, "tensor", axis=0, tiled=True)
        return self.spread(whole)

    def sum_rows(self, value: PyTree) -> PyTree:
        """The sum over all devices, each having scored other rows."""
        return jax.lax.psum(value, (*BATCH_AXES, "tensor"))

    def sum_gradient(self, gradient: T) -> T:
        """The sum over the batch, but for `fsdp` where fetching a cut weight has summed already."""

        def summed(path: tuple[Any, ...], leaf: Array) -> Array:
            cut = "fsdp" in self._spec(_name(path))
            axes = [axis for axis in BATCH_AXES if self._size(axis) > 1 and not (cut and axis == "fsdp")]
            return jax.lax.psum(leaf, tuple(axes)) if axes else leaf

        return jax.tree_util.tree_map_with_path(summed, gradient)

    def last(self, gradient: Qwen3x, values: T) -> T:
        """The values, after the gradient of the embedding, which is the last to be there."""
        return jax.tree.map(lambda value: self._after(gradient.embedding, value), values)

    def _after(self, first: Array, then: Array) -> Array:
        """`then`, which now depends on `first`; backward the other way round."""
        # A product with zero: the compiler may not drop it, as it does barriers before anything runs.
        return then + (0.0 * first.reshape(-1)[0]).astype(then.dtype) if self.in_order else then

    def _fetch_at(self, path: tuple[Any, ...], leaf: Array, dtype: DTypeLike) -> Array:
        return self._fetch(_name(path) if path else "final_norm", leaf, dtype)

    def _fetch(self, name: str, leaf: Array, dtype: DTypeLike) -> Array:
        spec = self._spec(name)[-leaf.ndim :]  # within the scan over blocks the layer axis is gone
        if leaf.ndim > 1:
            leaf = leaf.astype(dtype)
        for axis, mesh_axis in enumerate(spec):
            if mesh_axis == "fsdp" and self._size("fsdp") > 1:
                leaf = jax.lax.all_gather(leaf, "fsdp", axis=axis, tiled=True)
        if name in _SPREAD_NORMS:
            leaf = self.spread(leaf)
        return checkpoint_name(leaf, FETCHED)

    def _cut_by_tensor(self, name: str) -> bool:
        return self._size("tensor") > 1 and "tensor" in self._spec(name)

    def _spec(self, name: str) -> tuple[str | None, ...]:
        return _specs(self.config, self.rules)[name]

    def _size(self, axis: str) -> int:
        return dict(self.sizes)[axis]


def layout_of(config: Qwen3xConfig, mesh: Mesh, rules: Mapping[str, str]) -> Whole:
    """How a step is laid out over a mesh; one CPU or GPU needs no `shard_map`."""
    if mesh.size == 1 and mesh.devices.flat[0].platform != "tpu":
        return Whole()
    in_order = mesh.devices.flat[0].platform == "cpu"
    return Cut(config, tuple(mesh.shape.items()), tuple(rules.items()), in_order)


def on_mesh(function: Callable[..., T], layout: Whole, mesh: Mesh, arguments: Any, results: Any) -> Callable[..., T]:
    """A function of one device's parts as a function of whole arrays.

    Args:
        function: what each device does.
        layout: that of `function`; where it is one device's, the function is returned as it is.
        mesh: the devices.
        arguments: shardings of the arguments, as trees of `NamedSharding` or prefixes of them.
        results: shardings of the results.
    """
    if not isinstance(layout, Cut):
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
