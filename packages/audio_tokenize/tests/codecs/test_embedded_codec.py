import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from audio_data import InputError
from audio_tokenize import load_codec
from audio_tokenize.codecs.embedded import EmbeddedCodec
from audio_tokenize.codecs.embedded.codec import SHIPPED_WEIGHTS, load_embedded
from audio_tokenize.codecs.embedded.features import mel_filters

FRAME = 1920


@pytest.fixture(scope="module")
def embedded() -> EmbeddedCodec:
    return load_embedded()


def voice(seconds: float, pitch_hz: float = 120.0) -> np.ndarray:
    """A buzz through two moving formants, with pauses: speech-like enough for every stage of the codec to matter."""
    time = np.arange(round(seconds * 24_000)) / 24_000
    phase = 2 * np.pi * np.cumsum(pitch_hz * (1 + 0.1 * np.sin(2 * np.pi * 1.3 * time))) / 24_000
    samples = np.zeros_like(time)
    for harmonic in range(1, 40):
        hz = harmonic * pitch_hz
        gain = sum(
            np.exp(-(((hz - center - spread * np.sin(2 * np.pi * rate * time)) / 180) ** 2))
            for center, spread, rate in ((600, 200, 2.1), (1700, 600, 1.7))
        )
        samples += gain * np.sin(harmonic * phase)
    samples *= np.sin(2 * np.pi * 0.9 * time) > -0.6
    return (0.07 * samples / np.sqrt(np.mean(samples**2) + 1e-9)).astype(np.float32)


def test_the_default_codec_has_mimis_interface(embedded):
    codec = load_codec("embedded")
    assert (codec.codec_id, codec.frame_rate_hz) == ("embedded-v1", 12.5)
    assert codec.codebook_vectors().shape[:2] == (codec.num_codebooks, codec.codebook_size) == (8, 2048)
    assert SHIPPED_WEIGHTS.stat().st_size <= 5_000_000


def test_no_two_codes_of_a_codebook_mean_the_same(embedded):
    for book in embedded.codebook_vectors():
        assert len(np.unique(book, axis=0)) == embedded.codebook_size


@pytest.mark.parametrize("num_samples", [0, 1, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME + 7])
def test_frames_cover_all_samples(embedded, num_samples):
    codes = embedded.encode(voice(1)[:num_samples])
    assert codes.shape == (-(-num_samples // FRAME), 8)
    assert embedded.decode(codes).shape == (len(codes) * FRAME,)


def test_batch_equals_single(embedded):
    long = voice(7.1, 210)
    signals = [voice(3.3, 90), long[:240], long, long[:0], voice(1.6)]
    for one, batched in zip(map(embedded.encode, signals), embedded.encode_batch(signals), strict=True):
        np.testing.assert_array_equal(one, batched)
    assert embedded.encode_batch([]) == []


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 5_000), max_size=12))
def test_pieces_encode_as_the_whole(embedded, lengths):
    speech = voice(2.5)
    stream, start, codes = embedded.encoder_stream(), 0, []
    for length in lengths:
        codes.append(stream.push(speech[start : start + length]))
        start += length
        assert sum(map(len, codes)) == min(start, len(speech)) // FRAME
    codes += [stream.push(speech[start:]), stream.finish(), stream.finish()]
    np.testing.assert_array_equal(np.concatenate(codes), embedded.encode(speech))


def test_no_code_hears_the_future(embedded):
    speech = voice(3)
    changed = speech.copy()
    changed[20 * FRAME :] *= -0.5
    before, after = embedded.encode(speech), embedded.encode(changed)
    np.testing.assert_array_equal(before[:20], after[:20])
    assert (before[20:] != after[20:]).any()


def test_codes_do_not_depend_on_the_input_type(embedded):
    speech = voice(2)
    np.testing.assert_array_equal(embedded.encode(speech), embedded.encode(speech.astype(np.float64)))


@settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(0, 6), max_size=5))
def test_pieces_decode_as_the_whole(embedded, lengths):
    codes = np.random.default_rng(0).integers(0, 2048, (12, 8))
    stream, start, samples = embedded.decoder_stream(), 0, []
    for length in lengths:
        samples.append(stream.push(codes[start : start + length]))
        start += length
        assert sum(map(len, samples)) == max(0, min(start, 12) - 1) * FRAME
    samples += [stream.push(codes[start:]), stream.finish(), stream.finish()]
    np.testing.assert_array_equal(np.concatenate(samples), embedded.decode(codes))


def test_fewer_codebooks_decode_to_a_coarser_sound(embedded):
    speech = voice(2)
    codes = embedded.encode(speech)
    errors = [mel_error_db(speech, embedded.decode(codes[:, :count])) for count in (1, 3, 8)]
    assert errors[0] > errors[1] > errors[2]


def mel_error_db(original: np.ndarray, decoded: np.ndarray) -> float:
    """Mean |difference| of centred log-mel powers over active frames, from scipy's spectrogram."""
    levels = []
    for samples in (original, decoded[: len(original)]):
        _, _, spectra = signal.stft(samples, window="hann", nperseg=1024, noverlap=1024 - 240)
        levels.append(np.log(np.maximum((np.abs(spectra.T) * 512) ** 2 @ mel_filters(), 1e-4)))
    level = levels[0].mean(axis=1)
    return float(4.343 * np.abs(levels[0] - levels[1])[level > level.max() - 9].mean())


def test_decoded_speech_keeps_its_spectrum(embedded):
    speech = voice(4)
    assert mel_error_db(speech, embedded.decode(embedded.encode(speech))) < 5.0


def test_broken_input_is_named(embedded):
    speech = voice(1)
    speech[100] = np.nan
    with pytest.raises(InputError, match="signal 1"):
        embedded.encode_batch([voice(1), speech])
    with pytest.raises(InputError, match="piece of a stream"):
        embedded.encoder_stream().push(speech)
    with pytest.raises(InputError, match="0 to 2047, got 5 to 2048"):
        embedded.decode(np.array([[5, 2048]]))
    with pytest.raises(InputError, match="1 to 8 codebooks, got 9"):
        embedded.decode(np.zeros((2, 9), np.int32))
