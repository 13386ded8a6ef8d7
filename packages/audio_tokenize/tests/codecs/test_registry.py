import shutil

import numpy as np
import pytest

from audio_data import InputError
from audio_tokenize import load_codec
from audio_tokenize.codecs.embedded.codec import SHIPPED_WEIGHTS


def test_a_path_loads_the_same_codec_as_the_name(tmp_path):
    path = shutil.copy(SHIPPED_WEIGHTS, tmp_path / "copy.safetensors")
    named, copied = load_codec("embedded"), load_codec(str(path))
    assert named.codec_id == copied.codec_id
    np.testing.assert_array_equal(named.codebook_vectors(), copied.codebook_vectors())


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(InputError, match=r"'embedded' or a path ending in \.safetensors, got 'encodec'"):
        load_codec("encodec")
