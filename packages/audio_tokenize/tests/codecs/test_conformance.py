"""What every codec must do, on every codec there is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_data import InputError
from audio_tokenize import AbstractCodec, CodecSpec, load_codec
from audio_tokenize.codecs.mimi import load_mimi

FRAME = 1920


@pytest.fixture(scope="module", params=["embedded", "mimi", "mimi without a window", "mimi in lanes"])
def codec(request, mimi_folder) -> AbstractCodec:
    if request.param == "embedded":
        return load_codec("embedded")
    window = None if request.param == "mimi without a window" else 0.8
    lanes = 3 if request.param == "mimi in lanes" else None
    return load_mimi(str(mimi_folder), attention_window_seconds=window, num_lanes=lanes)


@pytest.fixture(scope="module")
def speech(voice) -> np.ndarray:
    return voice(4.3)


@pytest.fixture(scope="module")
def whole(codec, speech) -> np.ndarray:
    return codec.encode(speech)


@pytest.fixture(scope="module")
def sound(codec, whole) -> np.ndarray:
    return codec.decode(whole)


def test_the_frame_rate_is_that_of_mimi(codec):
    assert (codec.sample_rate_hz, codec.samples_per_frame, codec.frame_rate_hz) == (24_000, FRAME, 12.5)


@pytest.mark.parametrize("num_samples", [0, 1, FRAME - 1, FRAME, FRAME + 1, 16 * FRAME, 16 * FRAME + 1])
def test_frames_cover_all_samples(codec, speech, num_samples):
    codes = codec.encode(speech[:num_samples])
    assert codes.shape == (-(-num_samples // FRAME), 8)
    assert codec.decode(codes).shape == (len(codes) * FRAME,)


def test_codes_are_within_their_codebooks_and_vary(codec, whole):
    assert whole.min() >= 0
    assert whole.max() < codec.codebook_size
    assert all(len(np.unique(book)) > 5 for book in whole.T)


def test_batch_equals_single(codec, voice, speech, whole):
    signals = [voice(3.3, 90), speech, speech[:240], speech[:0], voice(1.6)]
    batch = codec.encode_batch(signals)
    for one, batched in zip(map(codec.encode, signals), batch, strict=True):
        np.testing.assert_array_equal(one, batched)
    np.testing.assert_array_equal(batch[1], whole)
    assert codec.encode_batch([]) == []


def test_decoded_batch_equals_single(codec, whole, sound):
    given = [whole[:5], whole, whole[:0], whole[::-1]]
    batch = codec.decode_batch(given)
    for one, batched in zip(map(codec.decode, given), batch, strict=True):
        np.testing.assert_array_equal(one, batched)
    np.testing.assert_array_equal(batch[1], sound)
    assert codec.decode_batch([]) == []


@settings(max_examples=6, deadline=None)
@given(lengths=st.lists(st.integers(0, 20_000), max_size=8))
def test_pieces_encode_as_the_whole(codec, speech, whole, lengths):
    stream, start, codes = codec.encoder_stream(), 0, []
    for length in lengths:
        codes.append(stream.push(speech[start : start + length]))
        start += length
        assert sum(map(len, codes)) == min(start, len(speech)) // FRAME
    codes += [stream.push(speech[start:]), stream.finish(), stream.finish()]
    np.testing.assert_array_equal(np.concatenate(codes), whole)


@settings(max_examples=6, deadline=None)
@given(lengths=st.lists(st.integers(0, 12), max_size=8))
def test_pieces_decode_as_the_whole(codec, whole, sound, lengths):
    stream, start, samples = codec.decoder_stream(), 0, []
    for length in lengths:
        samples.append(stream.push(whole[start : start + length]))
        start += length
    samples += [stream.push(whole[start:]), stream.finish(), stream.finish()]
    np.testing.assert_array_equal(np.concatenate(samples), sound)


def test_no_code_hears_the_future(codec, speech, whole):
    changed = speech.copy()
    changed[20 * FRAME :] *= -0.5
    after = codec.encode(changed)
    np.testing.assert_array_equal(whole[:20], after[:20])
    assert (whole[20:] != after[20:]).any()


def test_codes_do_not_depend_on_the_input_type(codec, speech, whole):
    np.testing.assert_array_equal(whole, codec.encode(speech.astype(np.float64)))


def test_fewer_codebooks_decode_differently(codec, whole, sound):
    coarse = codec.decode(whole[:, :3])
    assert coarse.shape == sound.shape
    assert np.abs(coarse - sound).max() > 1e-3


def test_a_code_has_a_vector_of_its_own(codec):
    vectors = codec.codebook_vectors()
    assert vectors.shape[:2] == (codec.num_codebooks, codec.codebook_size)
    assert vectors.dtype == np.float32
    assert all(len(np.unique(book, axis=0)) == codec.codebook_size for book in vectors)


def test_the_description_loads_the_same_codec(codec, speech, whole):
    again = load_codec(CodecSpec.from_description(codec.description))
    assert again.description == codec.description
    np.testing.assert_array_equal(again.codebook_vectors(), codec.codebook_vectors())
    if getattr(codec, "num_lanes", 1) == 1:
        np.testing.assert_array_equal(again.encode(speech), whole)


def test_broken_input_is_named(codec, speech):
    broken = speech[: 2 * FRAME].copy()
    broken[100] = np.nan
    with pytest.raises(InputError, match="signal 1"):
        codec.encode_batch([speech[:FRAME], broken])
    with pytest.raises(InputError, match="piece of a stream"):
        codec.encoder_stream().push(broken)
    last = codec.codebook_size - 1
    with pytest.raises(InputError, match=f"0 to {last}, got 5 to {last + 1}"):
        codec.decode(np.array([[5, last + 1]]))
    with pytest.raises(InputError, match="1 to 8 codebooks, got 9"):
        codec.decode(np.zeros((2, 9), np.int32))
