import io
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from audio_data import InputError
from audio_data.arrays import decode_array, encode_array, load_arrays, map_array

DTYPES = st.one_of(
    hnp.integer_dtypes(),
    hnp.unsigned_integer_dtypes(),
    hnp.floating_dtypes(),
    hnp.boolean_dtypes(),
    hnp.unicode_string_dtypes(),
)
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0))


def lying(array, old, new):
    """The content of a `.npy` file whose header states something else."""
    content = encode_array(array)
    assert old in content[10:128]
    return content[:10] + content[10:128].strip().replace(old, new).ljust(117) + b"\n" + content[128:]


@given(ARRAYS, st.booleans())
def test_arrays_come_back_as_numpy_reads_them(tmp_path_factory, array, fortran):
    array = np.asfortranarray(array) if fortran else array
    content = encode_array(array)
    expected = np.load(io.BytesIO(content))
    file = tmp_path_factory.mktemp("npy") / "a.npy"
    file.write_bytes(content)
    for found in (decode_array(content), map_array(file)):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found, expected)


@given(st.binary(max_size=200) | ARRAYS.map(encode_array), st.lists(st.tuples(st.integers(0, 255), st.integers(0, 7))))
def test_any_bytes_are_an_array_or_refused(content, flips):
    damaged = bytearray(content)
    for place, bit in flips:
        if damaged:
            damaged[place % len(damaged)] ^= 1 << bit
    try:
        found = decode_array(bytes(damaged))
    except InputError:
        return
    assert found.nbytes <= len(damaged)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"(3,)", b"(4,)"),
        (b"(3,)", b"(2,)"),
        (b"(3,), ", b"(9223372036854775807,), "),
        (b"(3,), ", b"(3, 999999999999), "),
        (b"<i8", b"|O8"),
        (b"<i8", b"<i7"),
        (b"'<i8'", b"[('a', '<i8')]"),
        (b"<i8", b"<U999999999"),
    ],
)
def test_a_header_that_is_not_that_of_the_content_is_refused(old, new):
    content = lying(np.arange(3), old, new)
    with pytest.raises(InputError, match="expected"):
        decode_array(content)


def test_arrays_of_an_archive_come_back_and_damage_is_found():
    file = io.BytesIO()
    np.savez_compressed(file, ids=np.arange(1000), names=np.array(["a", "bb"]))
    found = load_arrays(file)
    assert found["ids"].tolist() == list(range(1000))
    assert found["names"].tolist() == ["a", "bb"]
    with pytest.raises(InputError, match=r"at most 8,000 bytes in all, got 8,"):
        load_arrays(file, max_bytes=8000)
    content = bytearray(file.getvalue())
    content[len(content) // 3] ^= 8
    with pytest.raises(InputError):
        load_arrays(io.BytesIO(bytes(content)))


def test_an_archive_that_says_less_than_it_holds_is_refused():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ids.npy", encode_array(np.zeros(100_000, np.int64)))
    whole = (800_128).to_bytes(4, "little")
    assert file.getvalue().count(whole) == 2
    with pytest.raises(InputError):
        load_arrays(io.BytesIO(file.getvalue().replace(whole, (128).to_bytes(4, "little"))))
