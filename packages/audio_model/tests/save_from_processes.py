"""One of two processes that load a model over the devices of both and save it; prints how many numbers it read."""

import sys

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from audio_model import load_config, load_model, parameter_axes, save_model
from audio_model.tensor_files import TensorFiles


def main() -> None:
    """Arguments: address of the first process, number of this one, folder to load, folder to save to."""
    address, process, source, out = sys.argv[1:]
    jax.config.update("jax_num_cpu_devices", 2)
    jax.distributed.initialize(address, num_processes=2, process_id=int(process))
    read, whole = [], TensorFiles.read

    def counted(self: TensorFiles, name: str, index: tuple[slice, ...] = ()) -> np.ndarray:
        read.append(whole(self, name, index))
        return read[-1]

    TensorFiles.read = counted
    mesh = Mesh(np.array(jax.devices()).reshape(4), ("data",))
    places = jax.tree.map(
        lambda axes: NamedSharding(mesh, P(*("data" if axis == "embed" else None for axis in axes))),
        parameter_axes(load_config(source)),
        is_leaf=lambda axes: isinstance(axes, tuple),
    )
    save_model(out, load_model(source, shardings=places))
    print(sum(part.size for part in read))


main()
