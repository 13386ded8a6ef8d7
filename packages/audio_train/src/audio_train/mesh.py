"""Where a run's arrays lie: a mesh of devices with axes `data`, `fsdp` and `tensor`, and the rules that use it.

The placement is given at launch and is no part of the experiment: it changes how long a step takes and, by rounding
only, its numbers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from audio_data import InputError
from audio_model import Qwen3x, Qwen3xConfig, parameter_axes

AXES = ("data", "fsdp", "tensor")


@dataclass(frozen=True)
class Placement:
    """How many devices each mesh axis takes.

    Attributes:
        data: copies of the model, each reading its part of the batch; None for all devices the other axes leave.
        fsdp: devices among which weights and optimizer state are cut, each reading its own part of the batch too.
        tensor: devices among which heads and hidden features are cut.
        rules: mesh axis that cuts a parameter's logical axis; logical axes not named are whole on every device.
    """

    data: int | None = None
    fsdp: int = 1
    tensor: int = 1
    rules: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType(
            {"embed": "fsdp", "vocab": "tensor", "heads": "tensor", "kv_heads": "tensor", "mlp": "tensor"}
        )
    )


def make_mesh(placement: Placement, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh of a placement, over the first devices it needs.

    Args:
        placement: devices along each axis.
        devices: devices to choose from; None for all.

    Returns:
        A mesh with the axes `data`, `fsdp` and `tensor`.

    Raises:
        InputError: there are fewer devices than the axes take, or `fsdp` and `tensor` do not divide them.
    """
    devices = list(jax.devices()) if devices is None else list(devices)
    cut = placement.fsdp * placement.tensor
    if placement.data is None and len(devices) % cut:
        raise InputError(
            f"`fsdp` x `tensor` divides the {len(devices)} devices, got {placement.fsdp} x {placement.tensor}; "
            "give `data` to use fewer."
        )
    shape = (placement.data or len(devices) // cut, placement.fsdp, placement.tensor)
    if math.prod(shape) > len(devices):
        raise InputError(f"data x fsdp x tensor is at most the {len(devices)} devices there are, got {shape!r}.")
    chosen = np.array(devices[: math.prod(shape)]).reshape(shape)
    return Mesh(chosen, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """Whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh, batch_size: int) -> NamedSharding:
    """Rows of a batch cut over `data` and `fsdp`.

    Raises:
        InputError: the rows do not divide.
    """
    parts = mesh.shape["data"] * mesh.shape["fsdp"]
    if batch_size % parts:
        raise InputError(f"`batch_size` is a multiple of the {parts} devices that share a batch, got {batch_size!r}.")
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def model_sharding(config: Qwen3xConfig, mesh: Mesh, rules: Mapping[str, str]) -> Qwen3x:
    """A sharding for every parameter, from the names of its axes.

    Args:
        config: the model.
        mesh: the devices.
        rules: as in `Placement`.

    Returns:
        A model-shaped tree of shardings.

    Raises:
        InputError: a cut axis does not divide among its devices.
    """
    sizes = {
        "vocab": config.vocab_size,
        "embed": config.embed,
        "mlp": config.mlp,
        "heads": config.heads,
        "kv_heads": config.kv_heads,
    }
    for axis, mesh_axis in rules.items():
        if sizes[axis] % mesh.shape[mesh_axis]:
            raise InputError(
                f"`{axis}` of the model is {sizes[axis]}, which the {mesh.shape[mesh_axis]} devices of mesh axis "
                f"`{mesh_axis}` do not divide; choose another placement."
            )

    def place(axes: tuple[str, ...]) -> NamedSharding:
        return NamedSharding(mesh, PartitionSpec(*(rules.get(axis) for axis in axes)))

    return jax.tree.map(place, parameter_axes(config), is_leaf=lambda node: isinstance(node, tuple))


def like_parameters(tree: PyTree, model: PyTree, shardings: PyTree, default: NamedSharding) -> PyTree:
    """Shardings for a tree that holds copies of the parameters, such as an optimizer's state.

    A leaf whose path ends in a parameter's path and which has its shape lies as that parameter does; all else is
    `default`.

    Args:
        tree: arrays or shapes.
        model: the parameters, or their shapes.
        shardings: a sharding for each parameter.
        default: sharding of all other leaves.

    Returns:
        Shardings of the structure of `tree`.
    """
    parameters = jax.tree_util.tree_leaves_with_path(model)
    places = {
        path: (leaf.shape, place) for (path, leaf), place in zip(parameters, jax.tree.leaves(shardings), strict=True)
    }

    def place(path, leaf):
        for length in range(len(path), 0, -1):
            shape, sharding = places.get(path[-length:], (None, default))
            if shape == leaf.shape:
                return sharding
        return default

    return jax.tree_util.tree_map_with_path(place, tree)
