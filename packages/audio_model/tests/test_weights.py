import dataclasses
import json

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from audio_model import InputError, RopeConfig, load_model, save_model
from audio_model.huggingface import from_huggingface, tensor_shapes, to_huggingface


@pytest.fixture
def folder(tiny, tmp_path):
    save_model(tmp_path / "model", tiny)
    return tmp_path / "model"


def _rewrite(folder, change):
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    change(tensors)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")


def test_float32_round_trip_is_exact(tiny, folder):
    assert eqx.tree_equal(load_model(folder), tiny)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_bfloat16_round_trip_rounds_once(tiny, tmp_path):
    save_model(tmp_path, tiny, dtype="bfloat16")
    loaded = load_model(tmp_path)
    np.testing.assert_array_equal(loaded.layers.up, tiny.layers.up.astype(jnp.bfloat16).astype(jnp.float32))


def test_an_index_of_several_files_is_read(tiny, folder):
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map = {name: f"part-{i % 2}.safetensors" for i, name in enumerate(names)}
    for part in set(weight_map.values()):
        safetensors.numpy.save_file({n: tensors[n] for n in names if weight_map[n] == part}, folder / part)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert eqx.tree_equal(load_model(folder), tiny)
    (folder / "part-1.safetensors").unlink()
    with pytest.raises(InputError, match=r"missing: part-1\.safetensors"):
        load_model(folder)


def test_every_wrong_tensor_is_listed(folder):
    def damage(tensors):
        del tensors["model.norm.weight"]
        tensors["model.layers.1.mlp.up_proj.weight"] = np.zeros((2, 3), np.float32)
        tensors["model.layers.9.mlp.up_proj.weight"] = np.zeros((40, 24), np.float32)
        tensors["lm_head.weight"][5, 5] = np.nan

    _rewrite(folder, damage)
    with pytest.raises(InputError) as error:
        load_model(folder)
    for part in (
        "model.norm.weight: missing",
        r"model.layers.1.mlp.up_proj.weight: expected shape (40, 24), got (2, 3)",
        "model.layers.9.mlp.up_proj.weight: unknown",
        "lm_head.weight: holds values that are not finite",
    ):
        assert part in str(error.value)


def test_a_truncated_file_is_refused(folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-100])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_model(folder)


def test_pickled_weights_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pytorch_model\.bin would run code"):
        load_model(folder)


def test_a_write_that_fails_leaves_no_configuration(tiny, folder, monkeypatch):
    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(safetensors.numpy, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save_model(folder, tiny)
    with pytest.raises(InputError, match=r"there is none"):
        load_model(folder)


def test_configuration_round_trip(tiny):
    plain = tiny.config
    assert from_huggingface(to_huggingface(plain, "float32"), "here") == plain
    unscaled = dataclasses.replace(plain, rope=RopeConfig(theta=1e4, scaling=None), tied=True)
    assert from_huggingface(to_huggingface(unscaled, "float32"), "here") == unscaled


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "llama"}, "must be 'qwen3', got 'llama'"),
        ({"attention_bias": True}, "`attention_bias` in here must be False"),
        ({"hidden_size": None}, "lacks the key `hidden_size`"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "got 'yarn'"),
    ],
)
def test_other_architectures_are_refused(tiny, change, message):
    document = to_huggingface(tiny.config, "float32") | change
    document = {key: value for key, value in document.items() if value is not None}
    with pytest.raises(InputError, match=message):
        from_huggingface(document, "here")


def test_tensor_shapes_count_the_parameters(tiny):
    assert sum(int(np.prod(shape)) for _, shape in tensor_shapes(tiny.config)) == tiny.config.num_parameters
