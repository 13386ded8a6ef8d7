import dataclasses
import pickle
import shutil

import numpy as np
import pytest

from audio_data import InputError
from audio_tokenize import CodecSpec, load_codec
from audio_tokenize.codecs.embedded.codec import SHIPPED_WEIGHTS
from audio_tokenize.codecs.mimi import MimiConfig, write_random_mimi


def test_a_path_loads_the_same_codec_as_the_name(tmp_path):
    path = shutil.copy(SHIPPED_WEIGHTS, tmp_path / "copy.safetensors")
    named, copied = load_codec("embedded"), load_codec(str(path))
    assert named.codec_id == copied.codec_id
    np.testing.assert_array_equal(named.codebook_vectors(), copied.codebook_vectors())
    assert (named.description["name"], copied.description["name"]) == ("embedded", str(path))


def test_an_unknown_name_says_what_there_is():
    expected = r"one of embedded, mimi, a path ending in \.safetensors, FILE\.py:NAME or MODULE:NAME, got 'encodec'"
    with pytest.raises(InputError, match=expected):
        load_codec("encodec")


def test_a_codec_without_options_refuses_them():
    with pytest.raises(InputError, match="codec 'embedded' must be given by its name alone, got `num_codebooks`;"):
        load_codec(CodecSpec("embedded", num_codebooks=4))


@pytest.mark.parametrize("window", [None, 3.2])
def test_a_spec_survives_its_description(mimi_folder, window):
    spec = CodecSpec("mimi", str(mimi_folder), num_codebooks=4, attention_window_seconds=window, codec_id="mine")
    description = load_codec(pickle.loads(pickle.dumps(spec))).description
    found = CodecSpec.from_description(description)
    assert dataclasses.replace(found, weights_sha256=None) == spec
    assert description["id"] == "mine"
    assert load_codec(found).description == description


def test_weights_may_move_but_not_change(mimi_folder, tmp_path):
    description = load_codec(CodecSpec("mimi", str(mimi_folder))).description
    moved, others = shutil.copytree(mimi_folder, tmp_path / "moved"), tmp_path / "others"
    write_random_mimi(others, MimiConfig.tiny(), seed=1)
    found = load_codec(CodecSpec.from_description(description, weights=str(moved)))
    assert found.description == description | {"weights": str(moved)}
    with pytest.raises(InputError, match=r"expected weights of SHA-256 .* name the weights that made the codes"):
        load_codec(CodecSpec.from_description(description, weights=str(others)))


def test_an_early_manifest_with_a_name_alone_is_enough():
    assert CodecSpec.from_description({"name": "embedded"}) == CodecSpec()
    assert CodecSpec.from_description({"name": "mimi"}) == CodecSpec("mimi")
    with pytest.raises(InputError, match="to have a `name`"):
        CodecSpec.from_description({"id": "mimi"})
