import contextlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxpr_as_fun

from audio_model.kernels import dispatch
from audio_model.kernels.matmul import xla_cpu


def _pallas_calls(jaxpr):
    """Parameters of every kernel call, in order."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "pallas_call":
            yield equation.params
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", None)
            if inner is not None:
                yield from _pallas_calls(getattr(inner, "jaxpr", inner))


def _bytes_moved(call):
    """Bytes of all blocks that are fetched or written back: one transfer whenever a block's place changes."""
    mapping, total = call["grid_mapping"], 0
    for block in mapping.block_mappings:
        shape = block.array_aval.shape
        sides = [int(getattr(side, "block_size", side)) for side in block.block_shape]
        steps = jnp.asarray(list(np.ndindex(*mapping.grid)), jnp.int32)
        places = jax.vmap(jaxpr_as_fun(block.index_map_jaxpr))(*steps.T)
        last = None
        for here in np.stack(np.broadcast_arrays(*places), axis=-1).tolist():
            if here != last:
                inside = [min(side, size - i * side) for i, side, size in zip(here, sides, shape, strict=True)]
                total += int(np.prod(inside)) * block.array_aval.dtype.itemsize
            last = here
    return total


@pytest.fixture(scope="session")
def pallas_calls():
    return _pallas_calls


@pytest.fixture(scope="session")
def bytes_moved():
    return _bytes_moved


@pytest.fixture
def one_cpu_device(monkeypatch):
    """Traces as a process with a single CPU device does; the suite itself has several."""

    @contextlib.contextmanager
    def pretend():
        with monkeypatch.context() as patch:
            patch.setattr(xla_cpu, "on_one_device", lambda platform: platform == "cpu")
            yield

    assert not dispatch.on_one_device("cpu")
    return pretend


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What the compiler makes of a kernel's rounding is part of what is tested."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.optimized)
