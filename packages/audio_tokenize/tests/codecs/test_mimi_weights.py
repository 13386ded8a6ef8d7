import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from audio_data import InputError
from audio_tokenize.codecs.mimi import MimiConfig, load_mimi, write_random_mimi

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(mimi_folder, tmp_path) -> Path:
    """A copy to damage."""
    return shutil.copytree(mimi_folder, tmp_path / "copy")


@pytest.fixture
def hub():
    return pytest.importorskip("huggingface_hub", reason="the hub's client is the extra `hub`")


def rewrite(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def describe(folder: Path, **changes) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def nested(name: str) -> str:
    """The name that MimiModel gives a published tensor since transformers 5.23, by its own rules."""
    for half in ("encoder", "decoder"):
        name = re.sub(rf"^{half}\.layers", f"{half}.{half}_seanet.layers", name)
        name = re.sub(rf"^{half}_transformer\.", f"{half}.{half}_transformer.", name)
    return re.sub(r"^(down|up)sample\.", lambda m: {"down": "encoder", "up": "decoder"}[m[1]] + "." + m[0], name)


def test_names_of_the_later_layout_are_read(folder, mimi_folder):
    tensors = load_file(folder / "model.safetensors")
    renamed = {nested(name): tensor for name, tensor in tensors.items()}
    assert sum(name in tensors for name in renamed) == sum(name.startswith("quantizer.") for name in tensors)
    save_file(renamed, folder / "model.safetensors")
    assert load_mimi(str(folder)).codec_id == load_mimi(str(mimi_folder)).codec_id


def test_a_file_alone_is_read_with_the_config_beside_it(mimi_folder):
    by_file, by_folder = load_mimi(str(mimi_folder / "model.safetensors")), load_mimi(str(mimi_folder))
    assert by_file.codec_id == by_folder.codec_id


def test_without_a_config_the_sizes_are_the_published_ones(folder):
    (folder / "config.json").unlink()
    with pytest.raises(
        InputError, match=r"got no encoder_transformer\.layers\.2\..* with the config\.json that belongs"
    ):
        load_mimi(str(folder))


def test_defaults_are_those_that_transformers_has(folder):
    transformers = pytest.importorskip("transformers", reason="compares with transformers: pip install transformers")
    theirs = transformers.MimiConfig()
    (folder / "config.json").write_text(json.dumps(theirs.to_dict()))
    assert MimiConfig.read(folder / "config.json") == MimiConfig()
    assert (theirs.frame_size, theirs.latent_stride) == (MimiConfig().samples_per_frame, MimiConfig().latent_stride)


def test_random_weights_follow_from_their_seed(tmp_path):
    config = replace(MimiConfig.tiny(), num_quantizers=2)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_random_mimi(tmp_path / name, config, seed)
    contents = [(tmp_path / name / "model.safetensors").read_bytes() for name in "abc"]
    assert contents[0] == contents[1] != contents[2]
    assert load_mimi(str(tmp_path / "a")).num_codebooks == 2


def test_missing_tensors_are_named(folder):
    rewrite(folder, lambda tensors: [tensors.pop(f"decoder.layers.{i}.conv.bias") for i in (0, 2, 5, 8, 11)])
    with pytest.raises(InputError, match=r"got no decoder\.layers\.0\.conv\.bias, .* and 1 more: download"):
        load_mimi(str(folder))


def test_codebooks_not_in_use_may_be_missing(folder):
    rewrite(
        folder, lambda tensors: [tensors.pop(name) for name in list(tensors) if re.search(r"\.layers\.30\.c", name)]
    )
    assert load_mimi(str(folder), num_codebooks=8).num_codebooks == 8
    with pytest.raises(InputError, match=r"acoustic_residual_vector_quantizer\.layers\.30\.codebook\.embed_sum"):
        load_mimi(str(folder), num_codebooks=32)


def test_tensors_of_another_shape_are_named(folder):
    rewrite(folder, lambda tensors: tensors.update({"downsample.conv.weight": np.zeros((64, 64, 3), np.float32)}))
    with pytest.raises(InputError, match=r"downsample\.conv\.weight of \(64, 64, 3\) instead of \(64, 64, 4\)"):
        load_mimi(str(folder))


def test_a_damaged_file_is_refused(folder):
    (folder / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(InputError, match="expected Mimi weights in"):
        load_mimi(str(folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "encodec"}, "`model_type` 'mimi' in .*, got 'encodec'"),
        ({"pad_mode": "reflect"}, "`pad_mode` 'constant' in .*, got 'reflect'"),
        ({"num_key_value_heads": 2}, "`num_key_value_heads` 4 in .*, got 2"),
        ({"frame_rate": 25.0}, r"`frame_rate` 12\.5 in .*, got 25\.0"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "`rope_type` 'default' in .*, got 'yarn'"),
    ],
)
def test_a_mimi_that_is_not_implemented_is_refused(folder, changes, message):
    describe(folder, **changes)
    with pytest.raises(InputError, match=message):
        load_mimi(str(folder))


def test_a_config_that_is_no_json_is_refused(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json`: expected JSON .*; download it again"):
        load_mimi(str(folder))


def test_a_folder_of_the_hubs_cache_is_the_published_codec(mimi_folder, tmp_path):
    snapshot = tmp_path / "models--kyutai--mimi" / "snapshots" / COMMIT
    shutil.copytree(mimi_folder, snapshot)
    codec = load_mimi(str(snapshot))
    assert (codec.codec_id, codec.provenance.weights, codec.provenance.revision) == ("mimi", "kyutai/mimi", COMMIT)


def test_a_hub_id_is_downloaded_and_its_commit_recorded(mimi_folder, tmp_path, hub, monkeypatch):
    snapshot = tmp_path / "models--kyutai--mimi" / "snapshots" / COMMIT
    shutil.copytree(mimi_folder, snapshot)
    asked = []

    def snapshot_download(repository, *, repo_type, revision, allow_patterns):
        asked.append((repository, repo_type, revision, sorted(allow_patterns)))
        return str(snapshot)

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    description = load_mimi(revision="main").description
    assert asked == [("kyutai/mimi", "model", "main", ["config.json", "model.safetensors"])]
    assert (description["id"], description["weights"], description["revision"]) == ("mimi", "kyutai/mimi", COMMIT)


def test_a_connection_that_is_lost_says_what_to_put_where(hub, monkeypatch):
    def snapshot_download(*_, **__):
        raise hub.errors.HTTPError("the connection was closed")

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    with pytest.raises(InputError, match=r"the connection was closed.*copy DIR here, and name it with `--weights DIR`"):
        load_mimi()


def test_an_unreachable_hub_says_what_to_put_where(hub, monkeypatch, tmp_path):
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    message = r"hf download kyutai/mimi config\.json model\.safetensors --local-dir DIR` .* `--weights DIR`"
    with pytest.raises(InputError, match=message):
        load_mimi()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            "RevisionNotFoundError",
            "expected revision 'x' in kyutai/mimi, got no such branch, tag or commit",
        ),
        (
            "RepositoryNotFoundError",
            "expected the model kyutai/mimi on the hub, got none that you may read",
        ),
    ],
)
def test_what_the_hub_does_not_have_is_named(hub, monkeypatch, error, message):
    def snapshot_download(*_, **__):
        raise getattr(hub.errors, error)("404", response=SimpleNamespace(headers={}, request=None))

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    with pytest.raises(InputError, match=message):
        load_mimi(revision="x")


def test_a_path_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"where there is no model\.safetensors"):
        load_mimi(str(tmp_path))
    with pytest.raises(InputError, match=r"where there is no gone\.safetensors"):
        load_mimi(str(tmp_path / "gone.safetensors"))


def test_a_folder_has_no_revision(mimi_folder):
    with pytest.raises(InputError, match="`revision` for a hub id only, got 'main'"):
        load_mimi(str(mimi_folder), revision="main")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 10**6}, "`num_hidden_layers` above 0 and up to 1,024"),
        ({"num_filters": 2**17}, "`num_filters` above 0 and up to 65,536"),
        ({"norm_eps": 0.0}, "`norm_eps` above 0"),
        ({"upsampling_ratios": []}, "`upsampling_ratios` above 0"),
        ({"upsampling_ratios": [2] * 17}, "`upsampling_ratios` above 0"),
        ({"upsampling_ratios": [8, 0]}, "`upsampling_ratios` above 0"),
        ({"hidden_size": "512"}, "hidden_size` takes a whole number, got '512'"),
        ({"codebook_size": 2**16}, "expected the tensors of a Mimi in"),
    ],
)
def test_sizes_that_no_mimi_has_are_refused_before_anything_is_made(folder, changes, message):
    describe(folder, **changes)
    with pytest.raises(InputError, match=message):
        load_mimi(str(folder))
