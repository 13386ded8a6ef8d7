import jax
import jax.numpy as jnp
import numpy as np

from audio_tokenize.codecs.embedded import features, vocoder

step = jax.jit(vocoder.step)


def synthesize(mels: np.ndarray) -> np.ndarray:
    state, given = vocoder.initial_state(), []
    for token in mels:
        state, samples = step(state, jnp.asarray(token))
        given.append(np.asarray(samples))
    return np.concatenate(given[1:])


def test_a_chord_comes_back_at_its_pitches():
    time = np.arange(14 * features.SAMPLES_PER_TOKEN) / features.SAMPLE_RATE_HZ
    chord = np.sum([0.05 * np.sin(2 * np.pi * hz * time) for hz in (440, 1250, 3100)], axis=0)
    samples = synthesize(features.log_mel(features.token_windows(chord)))
    middle = samples[4 * 1920 : 12 * 1920]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    peaks_hz = np.sort(np.argsort(spectrum)[-12:]) * features.SAMPLE_RATE_HZ / len(middle)
    for hz in (440, 1250, 3100):
        assert np.abs(peaks_hz - hz).min() < 25
    assert 0.5 < np.sqrt(np.mean(middle**2)) / np.sqrt(np.mean(chord**2)) < 2


def test_samples_once_given_out_join_without_a_click():
    rng = np.random.default_rng(0)
    noise = 0.05 * rng.standard_normal(10 * features.SAMPLES_PER_TOKEN)
    samples = synthesize(features.log_mel(features.token_windows(noise)))
    steps = np.abs(np.diff(samples))
    joints = steps[np.arange(2, 8) * 1920 - 1]
    assert joints.max() < np.quantile(steps, 0.9999) * 1.5


def test_magnitudes_fit_their_mel_powers():
    rng = np.random.default_rng(0)
    powers = np.exp(rng.normal(0, 1, (8, features.NUM_BINS)))
    mels = np.log(powers @ features.mel_filters()).astype(np.float32)
    found = np.asarray(vocoder.magnitudes(jnp.asarray(mels.reshape(-1))))
    errors = np.abs(np.log(found**2 @ features.mel_filters() + features.FLOOR) - mels)
    assert errors.mean() < 0.02
    assert errors.max() < 0.6


def test_silence_stays_silent():
    silence = np.full((4, features.NUM_FEATURES), np.log(features.FLOOR), np.float32)
    assert np.sqrt(np.mean(synthesize(silence) ** 2)) < 0.07 / 100
