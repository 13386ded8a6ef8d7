"""Compile a run's step, and one block of its model, for TPU on a machine without one.

Run as `python -m audio_train.planning.compilation` with a task on standard input. It is a separate process because
`libtpu` needs its environment before JAX is imported and may end the process.
"""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from audio_model import Qwen3x, initialize
from audio_train.resolved import ResolvedRun
from audio_train.sharding.mesh import MeshConfig, batch_sharding, make_mesh, replicated
from audio_train.state import abstract_state
from audio_train.training.step import Batch, objective
from audio_train.training.trainer import jit_functions

T = TypeVar("T")

BLOCK_TOKENS, BLOCK_VOCABULARY = 16_384, 256


def compile_step(resolved: ResolvedRun, mesh_config: MeshConfig, topology: str) -> dict[str, Any]:
    """Compile a run's step for a topology.

    Args:
        resolved: The run.
        mesh_config: Devices along every axis.
        topology: Name of the topology, such as `v5p:4x4x4`.

    Returns:
        The fields of `audio_train.planning.plan.Compiled`.
    """
    devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    mesh = make_mesh(mesh_config, devices)
    state = abstract_state(resolved, mesh, mesh_config)
    program = jit_functions(resolved, mesh, mesh_config, state)
    data = resolved.run.data
    rows = batch_sharding(mesh, data.batch_size, mesh_config.microbatches)
    shape = (data.batch_size, data.seq_len)
    ids, mask = jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.bool_)
    batch = _shapes(Batch(ids, ids, ids, mask), rows)
    constants = _shapes((objective(resolved), resolved.learning_rate), replicated(mesh))
    start = time.monotonic()
    lowered = program.train.trace(state, batch, *constants, None).lower(lowering_platforms=("tpu",))
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return {"fits": False, "message": str(error).splitlines()[0], "seconds": time.monotonic() - start}
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    assert memory is not None
    assert cost is not None
    return {
        "fits": True,
        "seconds": time.monotonic() - start,
        "argument_bytes": float(memory.argument_size_in_bytes),
        "temporary_bytes": float(memory.temp_size_in_bytes),
        "flops": float(cost.get("flops", 0.0)),
    }


def compile_block(resolved: ResolvedRun, topology: str) -> dict[str, Any]:
    """Compile one block of a run's model, forward and backward, for one chip.

    Args:
        resolved: The run.
        topology: Name of the chip's topology, such as `v5p:4x4x4`.

    Returns:
        The fields of `audio_train.planning.step_time.BlockCost`.
    """
    device = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices[0]
    mesh = Mesh(np.array([device]), ("chip",))
    # A tiny vocabulary, so the cost is that of the block.
    config = replace(resolved.model, vocab_size=BLOCK_VOCABULARY, layers=1, tied=True)
    rows = max(1, BLOCK_TOKENS // resolved.run.data.seq_len)
    tokens = jnp.zeros((rows, resolved.run.data.seq_len), jnp.int32)
    model = jax.eval_shape(partial(initialize, config), jax.random.key(0))

    def total(model: Qwen3x, tokens: Array) -> Array:
        positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
        hidden = model(tokens, jnp.ones_like(tokens), positions, dtype=jnp.dtype(resolved.run.precision))
        return jnp.sum(hidden.astype(jnp.float32))

    gradient = jax.shard_map(
        jax.grad(total), mesh=mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec(), check_vma=False
    )
    arguments = _shapes((model, tokens), NamedSharding(mesh, PartitionSpec()))
    cost = jax.jit(gradient).trace(*arguments).lower(lowering_platforms=("tpu",)).compile().cost_analysis()
    assert cost is not None
    return {"tokens": tokens.size, "flops": float(cost["flops"]), "seconds": float(cost["optimal_seconds"])}


def _shapes(tree: T, sharding: NamedSharding) -> T:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)


def main(task: Mapping[str, Any]) -> None:
    """Compile the step and block of a task, and print the result as one line of JSON."""
    mesh_config = MeshConfig(**task["mesh"], microbatches=task["microbatches"])
    resolved, topology = ResolvedRun.from_json(task["resolved"]), task["topology"]
    print(json.dumps(compile_step(resolved, mesh_config, topology) | {"block": compile_block(resolved, topology)}))


if __name__ == "__main__":
    main(json.load(sys.stdin))
