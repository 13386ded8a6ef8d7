"""Measures, in a process of its own, what saving and loading a model take beyond the model; prints JSON."""

import json
import sys
from pathlib import Path

import jax
import numpy as np

from audio_model import Qwen3xConfig, load_model, save_model
from audio_model.huggingface import tensor_shapes
from audio_model.weights import write_folder


def _peak_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _added_bytes(action) -> int:
    # Writing 5 sets the peak back to what is resident now.
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak_kib()
    action()
    return 1024 * (_peak_kib() - before)


def main() -> None:
    """Write a folder without ever making the model, load it, save it."""
    folder, loaded = Path(sys.argv[1]), []
    for layers in (1, 16):  # the first one imports and warms up
        config = Qwen3xConfig(vocab_size=8192, embed=256, mlp=512, layers=layers, heads=4, kv_heads=4, head_dim=64)
        shapes = dict(tensor_shapes(config))
        write_folder(folder, config, lambda name: np.ones(shapes[name], np.float32), dtype="float32")  # noqa: B023
        loading = _added_bytes(lambda: loaded.append(load_model(folder)))
        saving = _added_bytes(lambda: save_model(folder, loaded[-1]))
    largest = max(leaf.nbytes for leaf in jax.tree.leaves(loaded[-1]))
    print(json.dumps({"model": 4 * config.num_parameters, "largest": largest, "loading": loading, "saving": saving}))


main()
