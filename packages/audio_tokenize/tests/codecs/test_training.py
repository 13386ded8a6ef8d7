from dataclasses import replace
from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from threadpoolctl import threadpool_limits

from audio_data import InputError
from audio_tokenize import load_codec
from audio_tokenize.codecs.embedded import training

TINY = training.CodecRecipe(
    attribution="nobody",
    speeds=(1.0,),
    num_components=12,
    num_codebooks=3,
    codebook_size=16,
    kmeans_iterations=4,
    decoder_width=16,
    decoder_hidden=24,
    decoder_blocks=1,
    decoder_steps=5,
    decoder_batch=8,
    decoder_frames=8,
)


@pytest.fixture(scope="module", autouse=True)
def one_blas_thread():
    """So small matrices gain nothing from threads, and lose much where another process holds a core."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
    """Fifteen seconds of tones that glide and pause, in two files of different rates."""
    folder = tmp_path_factory.mktemp("audio")
    for rate, suffix in ((16_000, "wav"), (24_000, "flac")):
        time = np.arange(8 * rate) / rate
        phase = 2 * np.pi * np.cumsum(300 + 200 * np.sin(2 * time)) / rate
        tones = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 12))
        (folder / suffix).mkdir()
        soundfile.write(folder / suffix / f"tones.{suffix}", 0.1 * tones * (np.sin(5 * time) > -0.5), rate)
    return folder


@pytest.fixture(scope="module")
def mels(audio):
    return training.training_features(TINY, audio, np.random.default_rng(0))


def test_a_trained_codec_is_a_codec_in_the_same_format(audio, tmp_path):
    out = tmp_path / "tiny.safetensors"
    trained = training.train_codec(TINY, audio, out)
    loaded = load_codec(str(out))
    assert loaded.codec_id == trained.codec_id == f"embedded-{trained.quantizer.fingerprint[:12]}"
    assert loaded.codebook_vectors().shape == (3, 16, 12)
    samples, _ = soundfile.read(audio / "flac" / "tones.flac", dtype="float32")
    codes = loaded.encode(samples)
    np.testing.assert_array_equal(codes, trained.encode(samples))
    assert all(len(np.unique(column)) > 4 for column in codes.T)
    assert loaded.decode(codes).shape == (len(codes) * 1920,)


def test_fitting_again_gives_the_same_codes(mels):
    first, second = (training.fit_quantizer(TINY, mels, np.random.default_rng(0)) for _ in range(2))
    assert first.fingerprint == second.fingerprint


def test_the_decoder_lowers_the_error_of_the_codes(mels):
    quantizer = training.fit_quantizer(TINY, mels, np.random.default_rng(0))
    decoder = training.fit_decoder(replace(TINY, decoder_steps=200, learning_rate=5e-3), quantizer, mels)
    coordinates = quantizer.coordinates(quantizer.encode_features(mels))
    _, correction = decoder(decoder.initial_state(), jnp.asarray(coordinates))
    restored = coordinates @ quantizer.inverse + quantizer.mean
    before, after = (np.abs(guess - mels).mean() for guess in (restored, restored + np.asarray(correction)))
    assert after < 0.95 * before


def test_random_gain_keeps_the_level_within_its_bounds():
    samples = np.random.default_rng(0).standard_normal(20 * 24_000).astype(np.float32)
    varied = training.vary_level(samples, TINY, np.random.default_rng(1)).reshape(5, -1)
    levels = np.log(np.sqrt((varied**2).mean(axis=1)) / TINY.rms)
    assert np.all(np.abs(levels) < TINY.gain_nats + 0.02)
    assert np.ptp(levels) > 0.2


def test_no_audio_is_an_input_error(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing to hear")
    with pytest.raises(InputError, match=r"expected audio .* got none"):
        training.train_codec(TINY, tmp_path, tmp_path / "out.safetensors")


def test_too_little_audio_is_an_input_error(tmp_path):
    soundfile.write(tmp_path / "short.wav", np.zeros(24_000), 24_000)
    with pytest.raises(InputError, match="distinct"):
        training.train_codec(TINY, tmp_path, tmp_path / "out.safetensors")


def test_kmeans_finds_separate_clusters_and_no_empty_one():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((5, 3)).astype(np.float32) * 20
    labels = rng.integers(0, 5, 400)
    points = centres[labels] + rng.standard_normal((400, 3)).astype(np.float32) * np.float32(0.1)
    points[:50] = centres[0]
    found = training.kmeans(points, 40, 8, rng)
    assert len(np.unique(found, axis=0)) == 40
    distances = np.sqrt(((points[:, None] - found[None]) ** 2).sum(axis=2)).min(axis=1)
    assert distances.max() < 1


def test_each_stage_lowers_what_the_last_left():
    rng = np.random.default_rng(0)
    points = rng.standard_normal((2_000, 6)).astype(np.float32)
    books = training.residual_kmeans(points, 4, 16, 6, rng)
    left = [float((points**2).sum())]
    for book in books:
        points = points - book[training.nearest(points, book)]
        left.append(float((points**2).sum()))
    assert all(after < 0.8 * before for before, after in pairwise(left))
