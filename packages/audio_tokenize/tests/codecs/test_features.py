import numpy as np
import pytest
from scipy import signal

from audio_tokenize.codecs.embedded import features


def test_filters_have_unit_area_and_slaneys_centres():
    filters = features.mel_filters()
    bins_hz = np.linspace(0, 12_000, features.NUM_BINS)
    np.testing.assert_allclose(filters[:, 40:].sum(axis=0) * (12_000 / 512), 1, rtol=0.05)
    centres = (filters * bins_hz[:, None]).sum(axis=0) / filters.sum(axis=0)
    below = centres[centres < 900]
    np.testing.assert_allclose(np.diff(below[2:]), np.diff(below[2:]).mean(), atol=12)
    above = centres[centres > 1200]
    ratios = above[1:] / above[:-1]
    np.testing.assert_allclose(ratios[:-1], ratios.mean(), rtol=0.01)


def test_a_tone_is_loudest_in_its_band():
    time = np.arange(24_000) / 24_000
    filters = features.mel_filters()
    for hz in (300, 1000, 4000, 9000):
        mels = features.log_mel(features.token_windows(np.sin(2 * np.pi * hz * time)))[5].reshape(8, 100)
        expected = filters[round(hz / 12_000 * 512)].argmax()
        assert np.all(np.abs(mels.argmax(axis=1) - expected) <= 1)


def test_log_mel_agrees_with_scipys_spectrogram():
    samples = 0.1 * np.random.default_rng(0).standard_normal(3 * features.SAMPLES_PER_TOKEN)
    _, _, spectra = signal.stft(
        np.concatenate([np.zeros(features.CONTEXT), samples]),
        window="hann",
        nperseg=1024,
        noverlap=1024 - 240,
        boundary=None,  # pyright: ignore[reportArgumentType]: scipy takes None
        padded=False,
    )
    powers = (np.abs(spectra.T) * 512) ** 2
    expected = np.log(np.maximum(powers @ features.mel_filters(), 1e-4))
    mels = features.log_mel(features.token_windows(samples)).reshape(-1, 100)
    np.testing.assert_allclose(mels, expected, atol=1e-5)


@pytest.mark.parametrize("num_samples", [0, 1, 1919, 1920, 1921, 5000])
def test_windows_hold_each_sample_once_as_their_own(num_samples):
    samples = np.arange(1, num_samples + 1, dtype=np.float32)
    windows = features.token_windows(samples)
    assert windows.shape == (features.num_tokens(num_samples), features.WINDOW)
    own = windows[:, features.CONTEXT :].reshape(-1)
    np.testing.assert_array_equal(own[:num_samples], samples)
    assert not own[num_samples:].any()
    if len(windows) > 1:
        np.testing.assert_array_equal(windows[1, : features.CONTEXT], samples[1920 - features.CONTEXT : 1920])


def test_silence_lies_on_the_floor():
    mels = features.log_mel(features.token_windows(np.zeros(4000)))
    np.testing.assert_allclose(mels, np.log(features.FLOOR), rtol=1e-6)
