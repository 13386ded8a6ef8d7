"""Runs of several processes: joining the others, and working together."""

from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from audio_data import InputError

T = TypeVar("T")


def join(where: str) -> None:
    """Become one of the processes of a run; before anything touches a device.

    Args:
        where: `"auto"`, where the machine's environment says who the others are (Cloud TPU, Slurm, Open MPI,
            Kubernetes), or `HOST:PORT,NUM,INDEX`: where process 0 listens, how many there are, and which this is.

    Raises:
        InputError: The text is of another form, or nothing in the environment says who the others are.
    """
    if where == "auto":
        try:
            jax.distributed.initialize()
        except ValueError as error:
            raise InputError(
                f"--distributed auto finds no cluster here ({error}); give HOST:PORT,NUM,INDEX, or --processes NUM for "
                "processes of this machine."
            ) from error
        return
    parts = where.split(",")
    if len(parts) != 3 or ":" not in parts[0] or not (parts[1].isdigit() and parts[2].isdigit()):
        raise InputError(f"`--distributed` is auto or HOST:PORT,NUM,INDEX, got {where!r}.")
    jax.distributed.initialize(parts[0], num_processes=int(parts[1]), process_id=int(parts[2]))


def is_first() -> bool:
    """Whether this process writes what is written once: folder, metrics, export, messages."""
    return jax.process_index() == 0


def wait_for_all(point: str) -> None:
    """Return once every process has come to this point."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(point)


def first_says(number: int) -> int:
    """Return the number of the first process in all of them."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def on_host(tree: PyTree) -> PyTree:
    """Whole arrays in the host's memory, one at a time, whichever processes hold their parts."""

    def whole(leaf: Any) -> np.ndarray:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
        return np.asarray(leaf)

    return jax.tree.map(whole, tree)
