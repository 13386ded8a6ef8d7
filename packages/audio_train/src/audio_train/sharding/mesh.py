"""The mesh of devices, with axes `replica`, `data`, `fsdp` and `tensor`, and the shardings of a run's arrays.

The mesh is given at launch and is no part of the experiment: it changes how long a step takes and, by rounding
only, its numbers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from audio_data import InputError
from audio_model import Qwen3x, Qwen3xConfig, parameter_axes

AXES = ("replica", "data", "fsdp", "tensor")
BATCH_AXES = ("replica", "data", "fsdp")
"""Axes that each hold another part of the batch."""


@dataclass(frozen=True)
class MeshConfig:
    """How many devices each mesh axis takes, and how a batch passes through them.

    Attributes:
        data: Copies of the model in one slice, each reading its part of the batch; None for all devices that the other
            axes leave.
        fsdp: Devices over which weights and optimizer state are sharded; each also reads its own part of the batch.
        tensor: Devices over which heads, hidden features and the vocabulary are sharded.
        replica: Copies of the model across slices, between which only gradients travel, once a step.
        microbatches: Parts of a batch that pass one after another; their gradients add up to the batch's.
        rules: Mesh axis over which a logical axis of parameters is sharded; other logical axes are replicated.
    """

    data: int | None = None
    fsdp: int = 1
    tensor: int = 1
    replica: int = 1
    microbatches: int = 1
    rules: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType(
            {"embed": "fsdp", "vocab": "tensor", "heads": "tensor", "kv_heads": "tensor", "mlp": "tensor"}
        )
    )

    def __post_init__(self) -> None:
        for name in ("data", "fsdp", "tensor", "replica", "microbatches"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"`{name}` of a mesh must be at least 1, got {value!r}.")
        if self.rules.get("embed", "fsdp") != "fsdp" or self.rules.get("vocab", "tensor") != "tensor":
            raise InputError(f"`rules` cut `embed` by fsdp and `vocab` by tensor, or not at all, got {self.rules!r}.")
        if self.tensor > 1 and any(self.rules.get(axis) != "tensor" for axis in ("heads", "kv_heads", "mlp")):
            raise InputError(
                f"with {self.tensor} devices on `tensor`, `rules` cut heads, kv_heads and mlp by it, got "
                f"{self.rules!r}."
            )

    @classmethod
    def parse(cls, text: str, *, microbatches: int = 1) -> "MeshConfig":
        """Read the mesh that a command line names.

        Args:
            text: Such as `fsdp=16,tensor=2`; axes that are not named take 1, `data` what is left.
            microbatches: As the attribute.

        Raises:
            InputError: The text is not of that form.
        """
        sizes = {}
        for part in filter(None, text.split(",")):
            name, _, value = part.partition("=")
            if name not in AXES or name in sizes or not value.isdigit():
                raise InputError(
                    f"`--mesh` takes axes of {', '.join(AXES)}, each once, such as fsdp=16,tensor=2, got {part!r}."
                )
            sizes[name] = int(value)
        return cls(**sizes, microbatches=microbatches)

    @classmethod
    def spread(cls, config: Qwen3xConfig, batch_size: int, num_devices: int, *, microbatches: int = 1) -> "MeshConfig":
        """Return the default mesh: as many devices as divide the batch, with the weights sharded over them.

        Args:
            config: The model; where its width does not divide, each device holds all of it.
            batch_size: Rows in a step.
            num_devices: Devices there are.
            microbatches: As the attribute.
        """
        share = math.gcd(batch_size // microbatches, num_devices)
        if config.embed % share:
            return cls(data=share, microbatches=microbatches)
        return cls(data=1, fsdp=share, microbatches=microbatches)


def make_mesh(mesh_config: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """Make the mesh, over the first devices it needs.

    On TPUs neighbours in the mesh are neighbours in the machine, and replicas are slices.

    Args:
        mesh_config: Devices along each axis.
        devices: Devices to choose from; None for all.

    Returns:
        A mesh with the axes `replica`, `data`, `fsdp` and `tensor`.

    Raises:
        InputError: There are fewer devices than the axes take, or the other axes do not divide them.
    """
    devices = list(jax.devices()) if devices is None else list(devices)
    cut = mesh_config.replica * mesh_config.fsdp * mesh_config.tensor
    if mesh_config.data is None and len(devices) % cut:
        raise InputError(
            f"`replica` x `fsdp` x `tensor` divides the {len(devices)} devices, got {mesh_config.replica} x "
            f"{mesh_config.fsdp} x {mesh_config.tensor}; give `data` to use fewer."
        )
    data = mesh_config.data or len(devices) // cut
    shape = (mesh_config.replica, data, mesh_config.fsdp, mesh_config.tensor)
    needed = math.prod(shape)
    if needed > len(devices):
        raise InputError(
            f"replica x data x fsdp x tensor is at most the {len(devices)} devices there are, got {shape!r}."
        )
    if jax.process_count() > 1 and needed < len(devices):
        raise InputError(f"{jax.process_count()} processes use all their {len(devices)} devices, got a mesh {shape!r}.")
    return Mesh(_arranged(shape, devices[:needed]), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def _arranged(shape: tuple[int, ...], devices: Sequence[Any]) -> np.ndarray:
    if devices[0].platform != "tpu" or len(devices) == 1:
        return np.array(devices).reshape(shape)
    if len({getattr(device, "slice_index", 0) for device in devices}) == 1:
        return mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    within = (1, *shape[1:])
    return mesh_utils.create_hybrid_device_mesh(within, (shape[0], 1, 1, 1), devices, allow_split_physical_axes=True)


def replicated(mesh: Mesh | AbstractMesh) -> NamedSharding:
    """Whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh | AbstractMesh, batch_size: int, microbatches: int = 1) -> NamedSharding:
    """Rows of a batch cut over every axis but `tensor`.

    Args:
        mesh: The devices.
        batch_size: Rows.
        microbatches: Parts in which each device takes its rows.

    Raises:
        InputError: The rows do not divide.
    """
    parts = math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    if batch_size % (parts * microbatches):
        times = f" x {microbatches} microbatches" if microbatches > 1 else ""
        raise InputError(
            f"`batch_size` is a multiple of the {parts} devices that share a batch{times}, got {batch_size!r}."
        )
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def batch_share(sharding: NamedSharding, batch_size: int, process: int) -> tuple[int, int]:
    """Which share of every batch a process reads: `(number of the share, number of shares)`.

    Processes whose devices hold the same rows read the same share. The mesh may give a process rows that do not follow
    one another; it fills them with its share in order, which permutes the rows of a batch and changes no sum.

    Args:
        sharding: Of a batch.
        batch_size: Rows in it.
        process: Index of the process.

    Raises:
        InputError: The devices of the processes do not hold equal, disjoint or equal sets of rows.
    """
    rows: dict[int, set[int]] = {}
    for device, index in sharding.devices_indices_map((batch_size,)).items():
        start, stop, _ = index[0].indices(batch_size)
        rows.setdefault(device.process_index, set()).update(range(start, stop))
    shares = sorted({tuple(sorted(held)) for held in rows.values()})
    if len(shares) * len(shares[0]) != batch_size or len({len(share) for share in shares}) > 1:
        raise InputError(
            "each process takes whole, equal shares of the batch; choose a mesh whose `tensor` axis lies within a "
            f"process or spans whole ones, got {dict(sharding.mesh.shape)!r} over {len(rows)} processes."
        )
    return shares.index(tuple(sorted(rows[process]))), len(shares)


def model_sharding(config: Qwen3xConfig, mesh: Mesh | AbstractMesh, rules: Mapping[str, str]) -> Qwen3x:
    """Return a sharding for every parameter, from the names of its axes.

    Args:
        config: The model.
        mesh: The devices.
        rules: As in `MeshConfig`.

    Returns:
        A model-shaped tree of shardings.

    Raises:
        InputError: A cut axis does not divide among its devices.
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
                f"`{mesh_axis}` do not divide; choose another --mesh."
            )

    def place(axes: tuple[str, ...]) -> NamedSharding:
        return NamedSharding(mesh, PartitionSpec(*mesh_axes(axes, rules)))

    return jax.tree.map(place, parameter_axes(config), is_leaf=lambda node: isinstance(node, tuple))


def mesh_axes(axes: tuple[str, ...], rules: Mapping[str, str]) -> tuple[str | None, ...]:
    """Return the mesh axis of each axis of a parameter. Norms are replicated: they are too small to gather."""
    is_norm = len([axis for axis in axes if axis != "layers"]) == 1
    return tuple(None if is_norm else rules.get(axis) for axis in axes)


def like_parameters(tree: PyTree, model: PyTree, shardings: PyTree, default: NamedSharding) -> PyTree:
    """Shardings for a tree that holds copies of the parameters, such as an optimizer's state.

    A leaf whose path ends in a parameter's path and which has its shape lies as that parameter does; all else is
    `default`.

    Args:
        tree: Arrays or shapes.
        model: The parameters, or their shapes.
        shardings: A sharding for each parameter.
        default: Sharding of all other leaves.

    Returns:
        Shardings of the structure of `tree`.
    """
    parameters = jax.tree_util.tree_leaves_with_path(model)
    places = {
        path: (leaf.shape, place) for (path, leaf), place in zip(parameters, jax.tree.leaves(shardings), strict=True)
    }

    def place(path: tuple[Any, ...], leaf: Array | np.ndarray | jax.ShapeDtypeStruct) -> NamedSharding:
        for length in range(len(path), 0, -1):
            shape, sharding = places.get(path[-length:], (None, default))
            if shape == leaf.shape:
                return sharding
        return default

    return jax.tree_util.tree_map_with_path(place, tree)
