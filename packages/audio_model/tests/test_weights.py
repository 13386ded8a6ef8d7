import dataclasses
import inspect
import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from audio_model import (
    InputError,
    RopeConfig,
    SpecialIds,
    convert,
    load_config,
    load_model,
    parameter_axes,
    save_model,
)
from audio_model.huggingface import from_huggingface, tensor_shapes, to_huggingface
from audio_model.tensor_files import TensorFiles
from audio_model.weights import write_folder

pytestmark = pytest.mark.optimized


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
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
    ]


@pytest.mark.parametrize("function", [load_model, write_folder])
def test_a_dtype_that_weights_cannot_have_is_refused(tiny, tmp_path, function):
    """Without the type checks of the tests, which refuse it before."""
    arguments = (tmp_path,) if function is load_model else (tmp_path, tiny.config, lambda name: None)
    with pytest.raises(InputError, match="`dtype` must be one of float32, bfloat16, got 'int8'"):
        inspect.unwrap(function)(*arguments, dtype="int8")
    assert not list(tmp_path.iterdir())


def test_bfloat16_round_trip_rounds_once(tiny, tmp_path):
    save_model(tmp_path, tiny, dtype="bfloat16")
    loaded = load_model(tmp_path)
    halved = load_model(tmp_path, dtype="bfloat16")
    for wide, half, original in zip(*map(jax.tree.leaves, (loaded, halved, tiny)), strict=True):
        rounded = np.asarray(original).astype(jnp.bfloat16)
        np.testing.assert_array_equal(half, rounded, strict=True)
        np.testing.assert_array_equal(wide, rounded.astype(np.float32), strict=True)


def test_shards_of_a_size_hold_the_same_model(tiny, folder):
    save_model(folder, tiny, max_shard_bytes=10_000)
    files = sorted(folder.glob("*.safetensors"))
    assert files[0].name == f"model-00001-of-{len(files):05d}.safetensors"
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 4 * tiny.config.num_parameters
    for file in files:
        tensors = safetensors.numpy.load_file(file)
        assert {index["weight_map"][name] for name in tensors} == {file.name}
        assert len(tensors) == 1 or sum(tensor.nbytes for tensor in tensors.values()) <= 10_000
    assert not (folder / "model.safetensors").exists()
    assert eqx.tree_equal(load_model(folder), tiny)
    save_model(folder, tiny)
    assert [file.name for file in folder.glob("*.safetensors*")] == ["model.safetensors"]


def _shardings(config):
    mesh = Mesh(np.array(jax.devices()[:4]).reshape(2, 2), ("data", "model"))
    rules = {"embed": "data", "mlp": "model", "heads": "model", "kv_heads": "model"}
    return jax.tree.map(
        lambda axes: NamedSharding(mesh, P(*(rules.get(axis) for axis in axes))),
        parameter_axes(dataclasses.replace(config, remat="full")),
        is_leaf=lambda axes: isinstance(axes, tuple),
    )


def test_each_device_gets_its_slices_and_no_more_is_read(tiny, folder, monkeypatch):
    places, read = _shardings(tiny.config), []
    whole = TensorFiles.read
    monkeypatch.setattr(TensorFiles, "read", lambda self, *arguments: read.append(whole(self, *arguments)) or read[-1])
    loaded = load_model(folder, shardings=places)
    for array, place in zip(jax.tree.leaves(loaded), jax.tree.leaves(places), strict=True):
        assert array.sharding == place
    assert eqx.tree_equal(jax.device_get(loaded), jax.device_get(tiny))
    # Replicas of a slice are read once, so that a model is read once however many devices hold it.
    assert sum(part.size for part in read) == tiny.config.num_parameters
    assert max(part.size for part in read) == tiny.embedding.size // 2


def test_a_sharded_model_is_saved_as_a_whole_one(tiny, folder, tmp_path):
    loaded = load_model(folder, shardings=_shardings(tiny.config))
    save_model(tmp_path / "again", loaded)
    assert (tmp_path / "again/model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    one = load_model(folder, shardings=jax.sharding.SingleDeviceSharding(jax.devices()[3]))
    assert one.embedding.devices() == {jax.devices()[3]}


@pytest.mark.slow
def test_a_model_on_two_processes_is_read_in_halves_and_saved_whole(tiny, folder, tmp_path):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    program = Path(__file__).with_name("save_from_processes.py")
    commands = [[sys.executable, program, address, str(i), folder, tmp_path / "again"] for i in range(2)]
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    running = [subprocess.Popen(c, stdout=subprocess.PIPE, text=True, env=environment) for c in commands]
    read = [int(process.communicate(timeout=120)[0].splitlines()[-1]) for process in running]
    assert (tmp_path / "again/model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    # All but the norms of heads, which no axis cuts, is read by one process or the other.
    heads = 2 * tiny.config.layers * tiny.config.head_dim
    assert read[0] == read[1] == heads + (tiny.config.num_parameters - heads) // 2


def test_shardings_of_another_model_are_refused(tiny, folder):
    with pytest.raises(InputError, match="each of the 14 arrays of the model, got 13"):
        load_model(folder, shardings=_shardings(dataclasses.replace(tiny.config, tied=True)))


def test_neither_saving_nor_loading_holds_a_model_twice(tmp_path):
    """Beyond the model itself a process needs no more than its largest array twice, and in fact less than once."""
    program = Path(__file__).with_name("peak_memory.py")
    # Compiled programs that are written or read would count as well.
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    result = subprocess.run(
        [sys.executable, program, tmp_path], check=True, capture_output=True, text=True, env=environment
    )
    sizes = json.loads(result.stdout)
    assert sizes["model"] > 5 * sizes["largest"]
    assert sizes["saving"] < 2 * sizes["largest"]
    assert sizes["loading"] < sizes["model"] + 2 * sizes["largest"]


def test_special_ids_reach_both_configurations(tiny, tmp_path):
    save_model(tmp_path, tiny, special_ids=SpecialIds(begin=1, end=(2, 3), padding=4))
    expected = {"bos_token_id": 1, "eos_token_id": [2, 3], "pad_token_id": 4}
    assert json.loads((tmp_path / "generation_config.json").read_text()) == expected
    assert expected.items() <= json.loads((tmp_path / "config.json").read_text()).items()
    assert load_config(tmp_path) == tiny.config
    with pytest.raises(InputError, match=r"`end` of the special ids must lie in 0\.\.96, got 97"):
        save_model(tmp_path, tiny, special_ids=SpecialIds(end=(2, 97)))


def test_an_array_that_contradicts_the_configuration_is_not_saved(tiny, tmp_path):
    wrong = eqx.tree_at(lambda m: m.final_norm, tiny, jnp.ones(25))
    with pytest.raises(InputError, match=r"`model\.norm\.weight` must have shape \(24,\) .* got \(25,\)"):
        save_model(tmp_path, wrong)
    assert not (tmp_path / "config.json").exists()


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


@pytest.fixture
def tied_folder(tiny, tmp_path):
    tied = dataclasses.replace(tiny, config=dataclasses.replace(tiny.config, tied=True), head=None)
    save_model(tmp_path / "tied", tied)
    return tmp_path / "tied"


def test_a_head_beside_a_tied_embedding_is_never_dropped(tied_folder):
    model = load_model(tied_folder)
    embedding = np.asarray(model.embedding)
    # Some writers repeat the embedding; nothing is lost then.
    _rewrite(tied_folder, lambda tensors: tensors.update({"lm_head.weight": embedding}))
    assert eqx.tree_equal(load_model(tied_folder), model)
    for other, message in (
        (embedding + np.float32(1), r"lm_head\.weight: differs from model\.embed_tokens\.weight, though .* to false"),
        (embedding + (np.arange(97) == 96)[:, None].astype(np.float32), r"lm_head\.weight: differs from"),
        (embedding[:-1], r"lm_head\.weight: expected shape \(97, 24\), got \(96, 24\)"),
    ):
        _rewrite(tied_folder, lambda tensors, other=other: tensors.update({"lm_head.weight": other}))
        with pytest.raises(InputError, match=message):
            load_model(tied_folder)
        with pytest.raises(InputError, match=message):
            convert(tied_folder, tied_folder.with_name("out"))


def test_weights_that_would_not_be_read_are_refused(tiny, folder):
    index = {"weight_map": {}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"either model\.safetensors or .*index\.json with its files, got both"):
        load_model(folder)
    save_model(folder, tiny, max_shard_bytes=10_000)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    first, second = sorted(set(index["weight_map"].values()))[:2]
    moved = next(name for name, file in index["weight_map"].items() if file == first)
    without = {name: file for name, file in index["weight_map"].items() if name != moved}
    for weight_map, message in (
        (without | {moved: second}, rf"must name {first} as the place of `{moved}`, which it holds, got '{second}'"),
        (without, rf"must name {first} as the place of `{moved}`, which it holds, got None"),
        (index["weight_map"] | {"more": first}, "names tensors that its files do not hold: more; fetch"),
    ):
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
        with pytest.raises(InputError, match=message):
            load_model(folder)
    save_model(folder, tiny)
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"the weights of an adapter .* merge them into the model"):
        load_model(folder)


def test_long_lists_of_wrong_tensors_are_shortened(folder):
    more = {f"more.{i:02}": np.zeros(1, np.float32) for i in range(25)}
    _rewrite(folder, lambda tensors: tensors.update(more))
    with pytest.raises(InputError, match=r"more\.19: unknown; and 5 more$"):
        load_model(folder)


def test_a_truncated_file_is_refused(folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-100])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_model(folder)


def test_pickled_weights_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pickled weights \(pytorch_model\.bin\), which would run code"):
        load_model(folder)
    with pytest.raises(InputError, match=r"from_pretrained\('.*/model'\)\.save_pretrained"):
        load_model(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="must be the folder of a model, got a file"):
        load_model(folder / "config.json")


def test_other_types_of_numbers(tiny, folder):
    _rewrite(folder, lambda tensors: tensors.update({n: t.astype(np.float16) for n, t in tensors.items()}))
    np.testing.assert_array_equal(load_model(folder).layers.up, np.asarray(tiny.layers.up).astype(np.float16))
    _rewrite(folder, lambda tensors: tensors.update({"lm_head.weight": np.zeros((97, 24), np.int8)}))
    with pytest.raises(InputError, match=r"must be stored as one of .*, got lm_head\.weight: I8"):
        load_model(folder)


def test_a_write_that_fails_leaves_no_configuration(tiny, folder, monkeypatch):
    def fail(_):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save_model(folder, tiny)
    with pytest.raises(InputError, match=r"there is none"):
        load_model(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["generation_config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        (["model.norm.weight"], "must map tensors to files"),
        ({"model.norm.weight": "../model.safetensors"}, "must name .safetensors files beside it"),
        ({"model.norm.weight": "/etc/model.safetensors"}, "must name .safetensors files beside it"),
        ({"model.norm.weight": ""}, "must name .safetensors files beside it"),
        ({"model.norm.weight": "config.json"}, "must name .safetensors files beside it"),
        ({"model.norm.weight": "a" * 300 + ".safetensors"}, "must name .safetensors files beside it"),
        ({"model.norm.weight": "sub/model.safetensors"}, "must name .safetensors files beside it"),
        ({"model.norm.weight": 3}, "must map tensors to files"),
    ],
)
def test_an_index_that_leads_astray_is_refused(folder, weight_map, message):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(InputError, match=message):
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
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "got 'linear'"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 2.0}}, "lacks the key `low_freq_factor`"),
        ({"num_key_value_heads": 3}, r"here contradicts itself: `kv_heads` must divide `heads` = 4"),
        ({"head_dim": 7}, "here contradicts itself: `head_dim` must be even"),
        ({"hidden_size": "24"}, "`hidden_size` in here must be a whole number, got '24'"),
        ({"vocab_size": 97.5}, "`vocab_size` in here must be a whole number, got 97.5"),
        ({"rms_norm_eps": True}, "`rms_norm_eps` in here must be a number, got True"),
        ({"tie_word_embeddings": 1}, "must be true or false, got 1"),
        ({"quantization_config": {"bits": 4}}, "`quantization_config` in here must be None"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, r"got \['full_attention', 'sliding_attention'\]"),
        ({"layer_types": [["full_attention"]]}, "`layer_types` in here must all be"),
        ({"layer_types": 3}, "`layer_types` in here must all be"),
        ({"rope_scaling": {"factor": 8.0}}, "`rope_scaling` in here must name its `rope_type`, got only 'factor'"),
        ({"rope_scaling": [1]}, r"`rope_scaling` in here must be an object or null, got \[1\]"),
        ({"rope_parameters": "default"}, "`rope_parameters` in here must be an object or null"),
        ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "`partial_rotary_factor` in here"),
        ({"num_hidden_layers": 10**6}, "`layers` must be at most 4,096, got 1000000"),
        ({"hidden_size": 10**9}, "`embed` must be at most 262,144, got 1000000000"),
        ({"vocab_size": 10**12}, "`vocab_size` must be at most 2,147,483,647, got 1000000000000"),
        ({"vocab_size": 10**4000}, "`vocab_size` in here must be finite, got 1000"),
        ({"rope_theta": math.nan}, "`rope_theta` in here must be finite, got nan"),
        ({"rope_theta": 10**400}, "`rope_theta` in here must be finite, got 1000"),
        ({"rope_theta": 0}, r"`theta` of the rotary embedding must be above 1 and finite, got 0\.0"),
        ({"rope_theta": -1e4}, "`theta` of the rotary embedding must be above 1"),
        ({"rope_theta": 1e300}, "`theta` of the rotary embedding must be above 1"),
        ({"rms_norm_eps": math.inf}, "`rms_norm_eps` in here must be finite, got inf"),
        ({"rms_norm_eps": 0}, "`rms_epsilon` must be a float32 number above 0 and below 1, got 0"),
        ({"rms_norm_eps": 1e-50}, "`rms_epsilon` must be a float32 number above 0"),
        ({"rms_norm_eps": -1e-5}, "`rms_epsilon` must be a float32 number above 0"),
    ],
)
def test_other_architectures_are_refused(tiny, change, message):
    document = to_huggingface(tiny.config, "float32") | change
    document = {key: value for key, value in document.items() if value is not None}
    with pytest.raises(InputError, match=message):
        from_huggingface(document, "here")


def test_tensor_shapes_count_the_parameters(tiny):
    assert sum(int(np.prod(shape)) for _, shape in tensor_shapes(tiny.config)) == tiny.config.num_parameters


@pytest.mark.parametrize(
    "name", ["model.safetensors", "model-00001-of-00002.safetensors", "config.json", "generation_config.json"]
)
def test_files_of_another_model_survive(tiny, tmp_path: Path, name: str):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(InputError, match=rf"{name}` exists and was not written by this command: move it"):
        save_model(tmp_path, tiny)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"mine.txt": b"mine", name: b"mine"}


def test_weights_of_another_program_survive_and_ours_are_replaced(tiny, tmp_path: Path):
    save_model(tmp_path, tiny)
    (tmp_path / "notes.txt").write_text("mine")
    save_model(tmp_path, tiny, max_shard_bytes=10_000)
    assert not (tmp_path / "model.safetensors").exists()
    save_model(tmp_path, tiny)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    safetensors.numpy.save_file({"a": np.zeros(3, np.float32)}, tmp_path / "model.safetensors", {"format": "pt"})
    before = (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match="was not written by this command"):
        save_model(tmp_path, tiny)
    assert (tmp_path / "model.safetensors").read_bytes() == before
