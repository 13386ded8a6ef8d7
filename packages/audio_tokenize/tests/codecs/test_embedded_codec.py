import numpy as np
import pytest
from scipy import signal

from audio_tokenize import load_codec
from audio_tokenize.codecs.embedded import EmbeddedCodec
from audio_tokenize.codecs.embedded.codec import SHIPPED_WEIGHTS, load_embedded
from audio_tokenize.codecs.embedded.features import mel_filters

FRAME = 1920


@pytest.fixture(scope="module")
def embedded() -> EmbeddedCodec:
    return load_embedded()


def test_the_default_codec_has_mimis_interface(embedded):
    codec = load_codec("embedded")
    assert (codec.codec_id, codec.frame_rate_hz) == ("embedded-v1", 12.5)
    assert codec.codebook_vectors().shape[:2] == (codec.num_codebooks, codec.codebook_size) == (8, 2048)
    assert SHIPPED_WEIGHTS.stat().st_size <= 5_000_000


def test_samples_follow_one_frame_late(embedded):
    codes = np.random.default_rng(0).integers(0, 2048, (5, 8))
    stream = embedded.decoder_stream()
    assert [len(stream.push(codes[:count])) for count in (0, 1, 1, 3)] == [0, 0, FRAME, 3 * FRAME]
    assert len(stream.finish()) == FRAME


def test_fewer_codebooks_decode_to_a_coarser_sound(embedded, voice):
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


def test_decoded_speech_keeps_its_spectrum(embedded, voice):
    speech = voice(4)
    assert mel_error_db(speech, embedded.decode(embedded.encode(speech))) < 5.0
