import dataclasses
import gc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audio_data import InputError
from audio_tokenize.codecs.mimi import MimiCodec, load_mimi
from audio_tokenize.codecs.mimi.model import decode_block, encode_block

FRAME = 1920
BLOCK = 16 * FRAME


@pytest.fixture(scope="module")
def mimi(mimi_folder) -> MimiCodec:
    return load_mimi(str(mimi_folder))


@pytest.fixture(scope="module")
def unbounded(mimi_folder) -> MimiCodec:
    return load_mimi(str(mimi_folder), attention_window_seconds=None)


def cache_size(function: Any) -> int:
    """Return for how many shapes `eqx.filter_jit` has compiled a function."""
    return function._cache_size()


def noise(num_samples: int) -> np.ndarray:
    return np.random.default_rng(num_samples).normal(0, 0.1, num_samples).astype(np.float32)


def live_bytes() -> int:
    return sum(array.nbytes for array in jax.live_arrays())


@pytest.mark.long
def test_all_lengths_share_one_compiled_function(mimi):
    mimi.decode(mimi.encode(noise(1)))
    compiled = cache_size(encode_block), cache_size(decode_block)
    for num_samples in (700, FRAME, 5 * FRAME + 3, BLOCK, BLOCK + 1, 2 * BLOCK + 999):
        mimi.decode(mimi.encode(noise(num_samples)))
        mimi.encode_batch([noise(num_samples), noise(num_samples + 50)])
        stream = mimi.encoder_stream()
        stream.push(noise(num_samples))
        stream.finish()
    for num_codebooks in range(1, 9):
        mimi.decode(np.zeros((3, num_codebooks), np.int32))
    assert (cache_size(encode_block), cache_size(decode_block)) == compiled


def test_memory_does_not_grow_with_the_signal(mimi):
    encoder, decoder = mimi.encoder_stream(), mimi.decoder_stream()
    gc.collect()  # so that what earlier tests left does not go away meanwhile
    held = []
    for _ in range(12):
        decoder.push(encoder.push(noise(BLOCK)))
        held.append(live_bytes())
    assert len(set(held)) == 1


@pytest.mark.slow
def test_without_a_window_memory_and_compiled_functions_double_seldom(unbounded):
    """At 16 and 32 blocks of 1.28 s."""
    jitted: Any = encode_block
    jitted.clear_cache()
    encoder = unbounded.encoder_stream()
    gc.collect()
    held = []
    for _ in range(34):
        encoder.push(noise(BLOCK))
        held.append(live_bytes())
    assert len(set(held)) == cache_size(encode_block) == 3
    assert held[16] - held[15] == 2 * 2 * 4 * 512 * 16 * 4  # layers, keys and values, heads, positions, dim, bytes


@pytest.mark.parametrize("window", [None, 0.8])
def test_a_long_signal_encodes_the_same_whatever_it_is_cut_into(mimi_folder, window):
    """Long enough for rings to come round and, without a window, to grow."""
    codec = load_mimi(str(mimi_folder), attention_window_seconds=window)
    samples = noise(22 * 24_000 + 5)
    stream = codec.encoder_stream()
    pieces = [stream.push(piece) for piece in np.split(samples, [7, 50_001, 300_000, 300_001, 500_000])]
    np.testing.assert_array_equal(np.concatenate([*pieces, stream.finish()]), codec.encode(samples))


def test_codes_of_fewer_codebooks_are_the_first_of_more(mimi_folder, mimi):
    samples = noise(2 * BLOCK)
    most = load_mimi(str(mimi_folder), num_codebooks=32).encode(samples)
    assert most.shape == (32, 32)
    np.testing.assert_array_equal(mimi.encode(samples), most[:, :8])


def test_codebook_vectors_add_up_to_what_is_decoded(mimi):
    codes = mimi.encode(noise(FRAME * 3))
    added = mimi.codebook_vectors()[np.arange(8), codes].sum(axis=1)
    np.testing.assert_allclose(added, mimi.quantizer.decode(jnp.asarray(codes), jnp.int32(8)), atol=1e-5)


@pytest.mark.long
def test_lanes_change_nothing_but_rounding(mimi_folder, mimi):
    wide = load_mimi(str(mimi_folder), num_lanes=4)
    assert (mimi.arithmetic["lanes"], wide.arithmetic["lanes"]) == (1, 4)
    assert {**mimi.arithmetic, "lanes": 4} == wide.arithmetic
    assert wide.description == mimi.description, "which is what a second run must agree with"
    signals = [noise(length) for length in (100, 2 * BLOCK + 5, 40_000, 0, BLOCK, 90_000)]
    for one, other in zip(mimi.encode_batch(signals), wide.encode_batch(signals), strict=True):
        assert one.shape == other.shape
        assert (one != other).any(axis=1).sum() <= 1
        np.testing.assert_allclose(mimi.decode(one), wide.decode(one), atol=1e-4)


def test_a_decoder_gives_each_frame_at_once_and_keeps_its_codebooks(mimi):
    stream = mimi.decoder_stream()
    assert [len(stream.push(np.zeros((count, 4), np.int32))) for count in (0, 1, 20)] == [0, FRAME, 20 * FRAME]
    with pytest.raises(InputError, match="4 codebooks, as before, got 8"):
        stream.push(np.zeros((1, 8), np.int32))
    stream.finish()
    assert len(stream.push(np.zeros((1, 8), np.int32))) == FRAME


def test_the_window_is_recorded_but_not_in_the_id(mimi, unbounded):
    assert (mimi.description["attention_window_frames"], unbounded.description["attention_window_frames"]) == (
        125,
        None,
    )
    assert mimi.codec_id == unbounded.codec_id == f"mimi-{mimi.description['weights_sha256'][:12]}"


@pytest.mark.parametrize("seconds", [0, -1.0, 0.05, float("nan"), float("inf")])
def test_a_window_is_a_number_of_frames(mimi_folder, seconds):
    with pytest.raises(InputError, match=r"`attention_window_seconds` to be a multiple of 0\.08 or none, got"):
        load_mimi(str(mimi_folder), attention_window_seconds=seconds)


@pytest.mark.parametrize("count", [0, 33])
def test_there_are_as_many_codebooks_as_the_weights_have(mimi_folder, count):
    with pytest.raises(InputError, match=f"`num_codebooks` from 1 to 32, .* got {count}"):
        load_mimi(str(mimi_folder), num_codebooks=count)


def test_a_codec_is_immutable(mimi):
    with pytest.raises(dataclasses.FrozenInstanceError):
        mimi.num_codebooks = 4
