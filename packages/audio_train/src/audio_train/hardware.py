"""Accelerators as data: peak FLOPs and memory of one device, and names of TPU slices."""

import math
from dataclasses import dataclass

from audio_data import InputError

COMPILER_ENVIRONMENT = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "JAX_PLATFORMS": "cpu",
    "TPU_ACCELERATOR_TYPE": "v5p-8",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
}
"""Environment in which libtpu compiles on a machine without a TPU and asks no metadata server; set it before JAX is
imported. The accelerator type does not matter: each compilation names its topology."""


@dataclass(frozen=True)
class Accelerator:
    """One kind of device.

    Attributes:
        name: Name, such as `v5p`.
        kinds: Values of JAX's `device_kind`, in lower case.
        peak_flops: Bfloat16 FLOPs per second of one device.
        memory_bytes: High-bandwidth memory of one device.
        cores_per_chip: TensorCores that a slice's name counts for each chip; 0 where the name counts chips.
        topology_dimensions: Dimensions of a TPU's topology; 0 for other devices.
        memory_bandwidth: Bytes per second of that memory; 0 if no estimate needs it.
        exchange_bandwidth: Bytes per second that a device receives over all its links within a slice; 0 as above.
        matrix_unit: Width of a matrix unit.
    """

    name: str
    kinds: tuple[str, ...]
    peak_flops: float
    memory_bytes: int
    cores_per_chip: int = 0
    topology_dimensions: int = 0
    memory_bandwidth: float = 0.0
    exchange_bandwidth: float = 0.0
    matrix_unit: int = 128


ACCELERATORS = {
    accelerator.name: accelerator
    for accelerator in (
        Accelerator("v4", ("tpu v4",), 275e12, 32 * 2**30, 2, 3, 1.2e12, 300e9),
        Accelerator("v5e", ("tpu v5 lite", "tpu v5e"), 197e12, 16 * 2**30, 0, 2, 800e9, 200e9),
        Accelerator("v5p", ("tpu v5", "tpu v5p"), 459e12, 95 * 2**30, 2, 3, 2765e9, 600e9),
        Accelerator("v6e", ("tpu v6 lite", "tpu v6e"), 918e12, 32 * 2**30, 0, 2, 1.6e12, 400e9, 256),
        Accelerator("a100", ("nvidia a100-sxm4-80gb",), 312e12, 80 * 2**30),
        Accelerator("h100", ("nvidia h100 80gb hbm3",), 989e12, 80 * 2**30),
        Accelerator("h200", ("nvidia h200",), 989e12, 141 * 2**30),
    )
}
"""Devices by name. Source: the vendors' data sheets, dense bfloat16."""


@dataclass(frozen=True)
class Slice:
    """A slice of devices.

    Attributes:
        name: Name, such as `v5p-128`.
        accelerator: Kind of the devices.
        num_devices: Number of devices.
    """

    name: str
    accelerator: Accelerator
    num_devices: int

    @property
    def topology(self) -> str:
        """Name of the slice's topology for the TPU compiler, such as `v5p:4x4x4`: powers of two, as equal as possible.

        Raises:
            InputError: The devices are not TPUs, or their number is not a power of two.
        """
        dimensions, log2 = self.accelerator.topology_dimensions, math.log2(self.num_devices)
        if not dimensions or log2 != int(log2):
            raise InputError(
                f"`{self.name}` must be a TPU slice of 2^n chips, got {self.num_devices} of {self.accelerator.name}; "
                "name another slice."
            )
        low, more = divmod(int(log2), dimensions)
        sides = [2 ** (low + (axis >= dimensions - more)) for axis in range(dimensions)]
        if dimensions == 3 and self.num_devices == 4:
            sides = [2, 2, 1]  # the smallest slice is one board
        if dimensions == 3 and self.num_devices == 2:
            sides = [1, 1, 2]
        return f"{self.accelerator.name}:{'x'.join(map(str, sides))}"


def parse_slice(text: str) -> Slice:
    """Parse the name of a slice: `v5p-128` is 64 chips (v4 and v5p count cores), `v6e-16` 16 chips, `h100-8` 8 GPUs.

    Raises:
        InputError: The device or the number is unknown.
    """
    name, _, number = text.partition("-")
    accelerator = ACCELERATORS.get(name)
    if accelerator is None or not number.isdigit():
        raise InputError(
            f"`--slice` must be DEVICE-NUMBER, such as v5p-128, of {', '.join(ACCELERATORS)}, got {text!r}."
        )
    devices, odd = divmod(int(number), max(1, accelerator.cores_per_chip))
    if odd or not devices:
        raise InputError(
            f"`--slice` of {name} must be a number of cores, {accelerator.cores_per_chip} per chip, got {text!r}."
        )
    return Slice(text, accelerator, devices)


def peak_flops(device_kind: str) -> float | None:
    """Bfloat16 FLOPs per second of a device by its JAX `device_kind`; None if unknown."""
    return next((a.peak_flops for a in ACCELERATORS.values() if device_kind.lower() in a.kinds), None)
