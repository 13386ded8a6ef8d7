"""Choice of the implementation of an operation."""

import functools
import logging
from collections.abc import Mapping
from typing import TypeVar

import jax
from jax.sharding import AxisType

from audio_model.errors import InputError

_LOG = logging.getLogger(__name__)
_TPU_ONLY = ("splash", "pallas_tpu")
T = TypeVar("T")

implementation = jax.make_user_context(None)
"""Context manager: `with implementation("reference"): ...` runs this implementation of every operation inside.

The fast implementations define reverse-mode derivatives only. `jax.jvp`, `jax.jacfwd` and `jax.hessian` of a model need
"reference", which is plain JAX. An `implementation=` argument of a call goes first. `jax.jit` compiles anew for it.
"""


def dispatch(operation: str, implementations: Mapping[str, T], requested: str | None, default: str) -> T:
    """Choose the implementation of an operation and log it once a process.

    Args:
        operation: Name of the operation.
        implementations: By name; "reference" is one of them.
        requested: What the caller asks for; None takes that of the context `implementation`, else `default`.
        default: What runs here if nobody asks.

    Raises:
        InputError: If there is no such implementation, or it does not run on this platform.
    """
    name = requested or implementation.value or default
    if name not in implementations:
        raise InputError(f"`implementation` of {operation} must be one of {', '.join(implementations)}, got {name!r}")
    if name in _TPU_ONLY and platform() != "tpu":
        raise InputError(
            f"`implementation` {name!r} runs on a TPU, got the platform {platform()!r}: "
            "take 'xla', or None to let the platform decide"
        )
    _log_once(operation, name)
    return implementations[name]


def platform() -> str:
    """Return the platform that the traced program will run on.

    Inside `shard_map` it is the mesh's, which may be made of devices that are not here (compilation ahead of time).
    """
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None or device.platform is None else device.platform


def on_one_tpu_core() -> bool:
    """Whether the traced program runs on one TPU core: a single device, or the inside of `shard_map`.

    The compiler partitions plain operations over a mesh by itself, but not a Pallas kernel.
    """
    return on_one_device("tpu")


def on_one_device(kind: str) -> bool:
    """Whether the traced program runs on one device of a platform.

    Args:
        kind: "cpu", "gpu" or "tpu".
    """
    if platform() != kind:
        return False
    mesh = jax.sharding.get_abstract_mesh()
    manual = bool(mesh.axis_names) and all(axis == AxisType.Manual for axis in mesh.axis_types)
    return manual or jax.device_count() == 1


@functools.cache
def _log_once(operation: str, name: str) -> None:
    _LOG.info("%s: %s on %s", operation, name, platform())
