import json

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from audio_model import InputError
from audio_model.tensor_files import TensorFiles, stored_bytes, whole_file, write_tensors


@pytest.fixture
def tensors(rng):
    shapes = {"b": (3, 5), "a": (7,), "scalar": (), "c": (2, 3, 4)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def _write(folder, tensors, **options):
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    options = {"dtype": "float32", "max_shard_bytes": 10**9} | options
    write_tensors(folder, shapes, tensors.__getitem__, **options)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_files_are_those_of_the_safetensors_library(tmp_path, tensors, dtype):
    sizes = []
    _write(tmp_path, tensors, dtype=dtype, progress=sizes.append)
    read = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    assert set(read) == set(tensors)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(read[name], tensor.astype(jnp.dtype(dtype)), strict=True)
    with safetensors.safe_open(tmp_path / "model.safetensors", framework="np") as file:
        assert file.metadata() == {"format": "pt", "writer": "audio-model"}
    assert sum(sizes) == stored_bytes({n: t.shape for n, t in tensors.items()}, dtype)


def test_transposed_tensors_are_stored_as_they_read(tmp_path, rng):
    tensor = rng.normal(size=(4, 3)).astype(np.float32).T
    _write(tmp_path, {"t": tensor})
    np.testing.assert_array_equal(safetensors.numpy.load_file(tmp_path / "model.safetensors")["t"], tensor)


def test_files_of_the_library_are_read_by_slices(tmp_path, tensors):
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors")
    files = TensorFiles(tmp_path)
    assert files.shapes == {name: tensor.shape for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(files.read(name), tensor)
    index = (slice(0, 2), slice(1, 3), slice(3, 4))
    np.testing.assert_array_equal(files.read("c", index), tensors["c"][index])
    np.testing.assert_array_equal(files.read("b", (slice(1, 3),)), tensors["b"][1:3])


def test_the_stored_type_is_the_smallest_that_loses_nothing(tmp_path, tensors):
    _write(tmp_path, tensors, dtype="bfloat16")
    assert TensorFiles(tmp_path).dtype == "bfloat16"
    mixed = {"half": np.ones(2, np.float16), "brain": np.ones(2, jnp.bfloat16)}
    safetensors.numpy.save_file(mixed, tmp_path / "model.safetensors")
    assert TensorFiles(tmp_path).dtype == "float32"


def test_a_later_write_leaves_nothing_of_an_earlier_one(tmp_path, tensors):
    _write(tmp_path, tensors, max_shard_bytes=40)
    assert json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"] == {
        "b": "model-00001-of-00003.safetensors",
        "a": "model-00002-of-00003.safetensors",
        "scalar": "model-00002-of-00003.safetensors",
        "c": "model-00003-of-00003.safetensors",
    }
    _write(tmp_path, tensors, max_shard_bytes=100)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ]
    np.testing.assert_array_equal(TensorFiles(tmp_path).read("c"), tensors["c"])
    with pytest.raises(InputError, match="`max_shard_bytes` must be at least 1, got 0"):
        _write(tmp_path, tensors, max_shard_bytes=0)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    (tmp_path / "file").write_text("old")

    def write():
        with whole_file(tmp_path / "file") as stream:
            stream.write(b"new")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        write()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file", "old")]
