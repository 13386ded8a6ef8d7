"""Which implementation of an operation runs here, said once."""

import functools
import logging

import jax
from jax.sharding import AxisType

_LOG = logging.getLogger(__name__)


def platform() -> str:
    """The platform that what is being traced will run on.

    Inside `shard_map` it is the mesh's, which may be made of devices that are not here (compilation ahead of time).
    """
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None or device.platform is None else device.platform


def on_one_tpu_core() -> bool:
    """Whether what is being traced runs on one TPU core: a single device, or the inside of `shard_map`.

    The compiler partitions plain operations over a mesh by itself, but not a kernel of ours.
    """
    return on_one_device("tpu")


def on_one_device(kind: str) -> bool:
    """The same for any platform.

    Args:
        kind: "cpu", "gpu" or "tpu".
    """
    if platform() != kind:
        return False
    mesh = jax.sharding.get_abstract_mesh()
    manual = bool(mesh.axis_names) and all(axis == AxisType.Manual for axis in mesh.axis_types)
    return manual or jax.device_count() == 1


@functools.cache
def log_choice(operation: str, implementation: str) -> None:
    """Log, once a process, which implementation of an operation runs.

    Args:
        operation: Name of the operation.
        implementation: Name of the implementation.
    """
    _LOG.info("%s: %s on %s", operation, implementation, platform())
