"""Estimate FLOPs, memory per device and time of a run on a slice, and whether it fits.

The bytes of weights and moments are exact. The others are estimated from the rematerialisation, without the batch, the
tiles of the loss, padding, and copies of the compiler. The compiler's figure was 0.97 to 1.7 times as large for models
of 135M to 4B. If a TPU compiler is installed (`uv pip install libtpu`), it compiles the training step for the slice and
its figure is used; it also compiles one block, from which the time is estimated.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import util
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, AxisType
from jaxtyping import PyTree

from audio_data import InputError, install_command
from audio_model import Qwen3xConfig
from audio_train.hardware import COMPILER_ENVIRONMENT, Slice, parse_slice
from audio_train.planning.step_time import BlockCost, StepTime, step_time
from audio_train.resolved import ResolvedRun
from audio_train.sharding.mesh import AXES, BATCH_AXES, MeshConfig, batch_sharding
from audio_train.state import abstract_state

DEFAULT_MFU = 0.4


@dataclass(frozen=True)
class Compiled:
    """Result of the compiler for the step.

    Attributes:
        fits: Whether the step compiled.
        message: The compiler's error, if it did not.
        seconds: Compilation time.
        argument_bytes: State and batch on each device.
        temporary_bytes: Peak of all other memory on each device.
        flops: FLOPs of one step on each device as the compiler counts them: the body of a loop (over layers or
            microbatches) once, kernels by their declared cost.
        block: Cost of one block.
    """

    fits: bool
    message: str = ""
    seconds: float = 0.0
    argument_bytes: float = 0.0
    temporary_bytes: float = 0.0
    flops: float = 0.0
    block: BlockCost | None = None


@dataclass(frozen=True)
class Plan:
    """Estimated cost of a run on a slice.

    Attributes:
        resolved: The run.
        where: The slice.
        mesh_config: Devices along each mesh axis.
        assumed_mfu: Assumed MFU, counting causal attention and three forward passes per step; None for the estimate,
            or `DEFAULT_MFU` without one.
        bytes_per_device: Estimated bytes by class.
        compiled: Result of the compiler, or None if it was not used.
        remark: Reason why it was not used.
    """

    resolved: ResolvedRun
    where: Slice
    mesh_config: MeshConfig
    assumed_mfu: float | None
    bytes_per_device: Mapping[str, float]
    compiled: Compiled | None = None
    remark: str = field(default="not compiled: --no-compile")

    @property
    def training_flops(self) -> Mapping[str, float]:
        """FLOPs of the run, three forward passes per token, by how attention is counted."""
        tokens, model, seq_len = self.resolved.num_tokens, self.resolved.model, self.resolved.run.data.seq_len
        return {
            "full_attention": 3 * model.forward_flops_per_token(seq_len) * tokens,
            "causal_attention": 3 * model.causal_forward_flops_per_token(seq_len) * tokens,
        }

    @property
    def step_time(self) -> StepTime | None:
        """Estimated time of a step; None unless a block was compiled."""
        block = self.compiled.block if self.compiled else None
        return step_time(self.resolved, self.mesh_config, self.where.accelerator, block) if block else None

    @property
    def mfu(self) -> float:
        """MFU for which times are computed, counting causal attention."""
        if self.assumed_mfu is not None:
            return self.assumed_mfu
        return self.step_time.mfu["causal_attention"] if self.step_time else DEFAULT_MFU

    @property
    def seconds(self) -> float:
        """Time of the run at that MFU."""
        peak = self.where.accelerator.peak_flops * math.prod(self.mesh.values())
        return self.training_flops["causal_attention"] / (self.mfu * peak)

    @property
    def mesh(self) -> dict[str, int]:
        """Devices along each axis."""
        return {axis: getattr(self.mesh_config, axis) or 1 for axis in AXES}

    @property
    def total_bytes(self) -> float:
        """Bytes on each device, from the compiler if it was used, else estimated."""
        if self.compiled is not None and self.compiled.fits:
            return self.compiled.argument_bytes + self.compiled.temporary_bytes
        return sum(self.bytes_per_device.values())

    @property
    def fits(self) -> bool:
        """Whether the run fits its devices."""
        if self.compiled is not None:
            return self.compiled.fits
        return self.total_bytes <= self.where.accelerator.memory_bytes

    def require_fit(self) -> None:
        """Refuse a run that does not fit.

        Raises:
            InputError: The run does not fit; the message says what to change.
        """
        if self.fits:
            return
        need, has = self.total_bytes / 2**30, self.where.accelerator.memory_bytes / 2**30
        said = self.compiled.message if self.compiled else f"it needs about {need:.1f} of {has:.0f} GiB per device"
        raise InputError(
            f"run `{self.resolved.run.name}` does not fit on {self.where.name} with the mesh {self.mesh!r}: {said}. "
            "Use more --microbatches, --set remat=full (or offload), more devices on fsdp, or a larger slice."
        )

    def to_json(self) -> dict[str, Any]:
        """Every figure, with its unit in its name."""
        resolved, data = self.resolved, self.resolved.run.data
        model = resolved.model
        return {
            "run": resolved.run.name,
            "fingerprint": resolved.fingerprint,
            "slice": self.where.name,
            "num_devices": self.where.num_devices,
            "mesh": self.mesh,
            "microbatches": self.mesh_config.microbatches,
            "remat": model.remat,
            "precision": resolved.run.precision,
            "num_steps": resolved.num_steps,
            "num_tokens": resolved.num_tokens,
            "batch_size": data.batch_size,
            "seq_len": data.seq_len,
            "tokens_per_step": data.tokens_per_step,
            "peak_learning_rate": resolved.peak_learning_rate,
            "num_parameters": model.num_parameters,
            "forward_flops_per_token": {
                "full_attention": model.forward_flops_per_token(data.seq_len),
                "causal_attention": model.causal_forward_flops_per_token(data.seq_len),
            },
            "training_flops": dict(self.training_flops),
            "mfu": self.mfu,
            "estimated_step": self.step_time.to_json() if self.step_time else None,
            "estimated_seconds": self.seconds,
            "estimated_seconds_per_step": self.seconds / resolved.num_steps,
            "estimated_tokens_per_second": resolved.num_tokens / self.seconds,
            "estimated_bytes_per_device": dict(self.bytes_per_device),
            "device_bytes": self.where.accelerator.memory_bytes,
            "compiled": asdict(self.compiled) if self.compiled else None,
            "remark": self.remark if self.compiled is None else "",
            "fits": self.fits,
        }

    def lines(self) -> list[str]:
        """Return the figures as lines of text."""
        numbers, gib = self.to_json(), 2**30
        forward, training = numbers["forward_flops_per_token"], numbers["training_flops"]
        memory = [f"  {name:<22} {count / gib:8.2f} GiB" for name, count in self.bytes_per_device.items()]
        return [
            f"{numbers['run']} on {self.where.name}: {self.where.num_devices} devices, mesh {self.mesh}, "
            f"{self.mesh_config.microbatches} microbatches, remat {numbers['remat']}, {numbers['precision']}",
            f"steps                {numbers['num_steps']:,}",
            f"tokens               {numbers['num_tokens']:,}, per step {numbers['batch_size']} x {numbers['seq_len']}",
            f"peak learning rate   {numbers['peak_learning_rate']:.7g}",
            f"parameters           {numbers['num_parameters']:,}",
            f"forward per token    {forward['full_attention']:.4g} FLOPs (full attention), "
            f"{forward['causal_attention']:.4g} (causal)",
            f"training             {training['full_attention']:.4g} FLOPs (full attention), "
            f"{training['causal_attention']:.4g} (causal)",
            f"at {self.mfu:.0%} MFU (causal)  {self.seconds / 86400:.2f} days, "
            f"{numbers['estimated_seconds_per_step']:.3f} s per step, "
            f"{numbers['estimated_tokens_per_second']:,.0f} tokens/s",
            f"bytes on each device (estimated; it has {self.where.accelerator.memory_bytes / gib:.0f} GiB)",
            *memory,
            f"  {'total':<22} {sum(self.bytes_per_device.values()) / gib:8.2f} GiB",
            self._compiler_line(),
            *([self.step_time.line()] if self.step_time else []),
        ]

    def _compiler_line(self) -> str:
        if self.compiled is None:
            return self.remark
        if not self.compiled.fits:
            return f"the compiler refuses it: {self.compiled.message}"
        c, gib = self.compiled, 2**30
        return (
            f"compiled for {self.where.topology} in {c.seconds:.0f} s: {c.argument_bytes / gib:.2f} GiB of state and "
            f"batch, {c.temporary_bytes / gib:.2f} GiB besides; {c.flops:.4g} FLOPs a device, loop bodies counted once"
        )


def plan_run(
    resolved: ResolvedRun, slice_name: str, *, mesh: str | None = None, microbatches: int = 1, mfu: float | None = None
) -> Plan:
    """Estimate the cost of a run on a slice, without compiling.

    Args:
        resolved: The run.
        slice_name: Name of the slice, such as `v5p-128`.
        mesh: Mesh, in the form of `MeshConfig.parse`; None for the largest number of devices that divides the batch,
            with the weights sharded among them.
        microbatches: Gradient-accumulation steps.
        mfu: MFU to assume; None for the estimate, or 0.4 without one.

    Returns:
        The plan.

    Raises:
        InputError: The slice is unknown, or batch or model do not divide among its devices.
    """
    where = parse_slice(slice_name)
    mesh_config = (
        MeshConfig.parse(mesh, microbatches=microbatches)
        if mesh
        else MeshConfig.spread(
            resolved.model, resolved.run.data.batch_size, where.num_devices, microbatches=microbatches
        )
    )
    mesh_config = _with_data(mesh_config, where)
    return Plan(resolved, where, mesh_config, mfu, bytes_per_device(resolved, mesh_config))


def with_compiled(estimate: Plan, *, timeout_seconds: float = 900.0) -> Plan:
    """Compile the step of a plan for TPU in a separate process.

    Args:
        estimate: The plan.
        timeout_seconds: Maximum time.

    Returns:
        The plan with the result of the compiler. If the slice is not a TPU slice, libtpu is not installed or the time
        is over, `remark` says so.
    """
    if not estimate.where.accelerator.topology_dimensions:
        return replace(
            estimate, remark=f"not compiled: only TPU slices are compiled, not {estimate.where.accelerator.name}"
        )
    if util.find_spec("libtpu") is None:
        return replace(estimate, remark=f"not compiled: no TPU compiler is installed (`{install_command('libtpu')}`)")
    task = {
        "resolved": estimate.resolved.to_json(),
        "topology": estimate.where.topology,
        "mesh": estimate.mesh,
        "microbatches": estimate.mesh_config.microbatches,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "audio_train.planning.compilation"],
            input=json.dumps(task),
            env={**os.environ, **COMPILER_ENVIRONMENT},
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_seconds,
        )
    except subprocess.TimeoutExpired:
        return replace(estimate, remark=f"not compiled: compilation took more than {timeout_seconds:.0f} s")
    if done.returncode:
        raise RuntimeError(f"the step did not compile for {estimate.where.topology}:\n{done.stderr[-4000:]}")
    said = json.loads(done.stdout.splitlines()[-1])
    return replace(estimate, compiled=Compiled(**said | {"block": BlockCost(**said["block"])}))


def bytes_per_device(resolved: ResolvedRun, mesh_config: MeshConfig) -> dict[str, float]:
    """Estimate the bytes on each device by class.

    `parameters` and `moments` are exact; `gradients` have the size of the parameters. `activations` are stored for the
    backward pass of one microbatch. `working` is temporary memory, the larger of two phases. In the backward pass of a
    block: recomputed activations and gradients of all inputs, and, for sharded weights, two gathered blocks and a full
    gradient. At both ends of the model, for sharded weights: gathered embedding and head, and their full gradients.

    Args:
        resolved: The run.
        mesh_config: Devices along every axis.

    Raises:
        InputError: Batch or model do not divide among the devices.
    """
    sizes = tuple(getattr(mesh_config, axis) or 1 for axis in AXES)
    mesh = AbstractMesh(sizes, AXES, axis_types=(AxisType.Auto,) * len(AXES))
    batch = resolved.run.data.batch_size
    batch_sharding(mesh, batch, mesh_config.microbatches)
    state = abstract_state(resolved, mesh, mesh_config)
    parameters = _held(state.model)
    # A step of a low-rank run holds the adapters, and the merged weights and their gradient.
    added = 0 if state.adapters is None else parameters + _held(state.adapters)
    rows = batch // (math.prod(mesh.shape[axis] for axis in BATCH_AXES) * mesh_config.microbatches)
    itemsize = jnp.dtype(resolved.run.precision).itemsize
    tokens = rows * resolved.run.data.seq_len
    kept = kept_bytes_per_token(resolved.model, itemsize, mesh_config.tensor)
    cut = mesh_config.fsdp * mesh_config.tensor > 1
    return {
        "parameters": parameters + added,
        "moments": _held(state.optimizer),
        "gradients": parameters * (2 if mesh_config.microbatches > 1 else 1),
        "activations": kept * tokens,
        "working": _working(resolved.model, itemsize, mesh_config.tensor, tokens, cut),
    }


def kept_bytes_per_token(model: Qwen3xConfig, itemsize: int, tensor: int = 1) -> float:
    """Bytes that a device stores per token for the backward pass, over all blocks.

    Args:
        model: The model; its `remat` says what is stored.
        itemsize: Bytes of an activation.
        tensor: Devices among which heads and hidden features are sharded.
    """
    products, everything = _block_features(model, tensor)
    kept = {"none": everything, "dots": products, "full": model.embed, "offload": 0}[model.remat]
    return float(itemsize * model.layers * kept)


def _block_features(model: Qwen3xConfig, tensor: int) -> tuple[float, float]:
    """Features per token that a block's matrix products return, and all features that its backward pass reads."""
    products = 2 * model.embed + (2 * model.query_dim + 2 * model.kv_dim + 2 * model.mlp) / tensor
    # Besides the products: both norms' results, rotated queries and keys, the gate's activation and the gated product.
    return products, products + 2 * model.embed + (model.query_dim + model.kv_dim + 2 * model.mlp) / tensor


def _working(model: Qwen3xConfig, itemsize: int, tensor: int, tokens: int, cut: bool) -> float:
    """Temporary bytes, in the backward pass of a block or at both ends of the model."""
    everything = itemsize * _block_features(model, tensor)[1]
    again = everything - kept_bytes_per_token(model, itemsize, tensor) / model.layers
    block = (again + everything) * tokens
    if not cut:
        return block
    # Gradients are float32; the embedding, unlike the layers, is gathered on every device.
    block += (2 * itemsize + 4) * model.layer_parameters / tensor
    return max(block, float(2 * (itemsize + 4) * model.embedding_parameters))


def _held(tree: PyTree) -> float:
    """Bytes of the shards of one device."""
    leaves: list[jax.ShapeDtypeStruct] = jax.tree.leaves(tree)
    shapes = ((leaf.sharding.shard_shape(leaf.shape) if leaf.sharding else leaf.shape) for leaf in leaves)
    return float(sum(np.prod(shape) * leaf.dtype.itemsize for shape, leaf in zip(shapes, leaves, strict=True)))


def _with_data(mesh_config: MeshConfig, where: Slice) -> MeshConfig:
    """Compute the `data` axis of a mesh from the number of devices."""
    others = mesh_config.replica * mesh_config.fsdp * mesh_config.tensor
    data = mesh_config.data or where.num_devices // others
    if data < 1 or (mesh_config.data is None and where.num_devices % others) or data * others > where.num_devices:
        raise InputError(
            f"`--mesh` must divide the {where.num_devices} devices of {where.name}, got replica "
            f"{mesh_config.replica} x data {mesh_config.data} x fsdp {mesh_config.fsdp} x tensor {mesh_config.tensor}."
        )
    return replace(mesh_config, data=data)
