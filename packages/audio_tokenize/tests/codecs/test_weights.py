import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from audio_data import InputError
from audio_tokenize.codecs.embedded import codec
from audio_tokenize.codecs.embedded.codec import SHIPPED_WEIGHTS, load_embedded
from audio_tokenize.codecs.embedded.weights import Weights, read_weights, restore_rows, round_rows, write_weights


@pytest.fixture
def weights() -> Weights:
    rng = np.random.default_rng(0)
    tensors = {"a": rng.standard_normal((3, 5)).astype(np.float32), "b": rng.standard_normal((4, 7)).astype(np.float32)}
    return Weights("tiny-v1", {"seed": 0, "speeds": [1.0]}, "nobody", tensors)


def test_rounded_rows_are_close_and_stay():
    rows = np.random.default_rng(0).standard_normal((6, 4, 33)).astype(np.float32)
    rows[0, 0] = 0
    restored = restore_rows(*round_rows(rows))
    assert np.all(np.abs(restored - rows) <= np.abs(rows).max(axis=-1, keepdims=True) / 254 * 1.001)
    np.testing.assert_array_equal(restore_rows(*round_rows(restored)), restored)


def test_weights_survive_the_file(weights, tmp_path):
    path = tmp_path / "w.safetensors"
    write_weights(path, weights, frozenset({"b"}))
    read = read_weights(path)
    assert (read.codec_id, read.recipe, read.attribution) == ("tiny-v1", {"seed": 0, "speeds": [1.0]}, "nobody")
    np.testing.assert_array_equal(read.tensors["a"], weights.tensors["a"])
    np.testing.assert_array_equal(read.tensors["b"], restore_rows(*round_rows(weights.tensors["b"])))
    assert load_file(path)["b"].dtype == np.int8
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.safetensors"]


def test_weights_of_another_model_survive(weights, tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"a": np.zeros(3, np.float32)}, path, {"format": "pt"})
    before = path.read_bytes()
    with pytest.raises(InputError, match="exists and was not written by this command"):
        write_weights(path, weights, frozenset())
    assert path.read_bytes() == before
    path.unlink()
    for _ in range(2):
        write_weights(path, weights, frozenset())


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[:-1],
        lambda whole: b"RIFF" + whole[4:],
        lambda whole: whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:],
    ],
    ids=["empty", "truncated", "another format", "one flipped bit"],
)
def test_damage_is_an_input_error(damage, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(damage(SHIPPED_WEIGHTS.read_bytes()))
    with pytest.raises(InputError, match=r"w\.safetensors"):
        load_embedded(path)


@pytest.mark.parametrize("place", [b"Carlo Flora", b"embedded-v1", b'"recipe"', b'"sha256"'])
def test_damage_of_the_shipped_file_is_found_wherever_it_is(place, tmp_path, monkeypatch):
    """Its metadata has no checksum of its own: it was made before there were any."""
    path, content = tmp_path / "w.safetensors", SHIPPED_WEIGHTS.read_bytes()
    at = content.index(place)
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    monkeypatch.setattr(codec, "SHIPPED_WEIGHTS", path)
    with pytest.raises(InputError, match=r"w\.safetensors` as it was shipped, .*: install audio-tokenize again"):
        load_embedded(path)


def test_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="absent"):
        load_embedded(tmp_path / "absent.safetensors")


def test_another_format_version_is_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"a": np.zeros(1, np.float32)}, path, {"format_version": "2"})
    with pytest.raises(InputError, match=r"`format_version` 1 .* got '2'"):
        read_weights(path)


def test_a_missing_tensor_is_named(weights, tmp_path):
    path = tmp_path / "w.safetensors"
    write_weights(path, weights, frozenset())
    with pytest.raises(InputError, match="'mean'"):
        load_embedded(path)
