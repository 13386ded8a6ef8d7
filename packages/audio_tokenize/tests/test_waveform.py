import numpy as np
import pytest
import scipy.signal
import soundfile

from audio_data import InputError
from audio_tokenize.waveform import audio_info, load_audio, resample


def _tone(rate_hz: int, seconds: float = 1.0, hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(rate_hz * seconds)) / rate_hz)).astype(np.float32)


@pytest.mark.parametrize(
    ("suffix", "options", "tolerance"),
    [
        ("wav", {"subtype": "PCM_16"}, 1e-4),
        ("wav", {"subtype": "FLOAT"}, 0.0),
        ("flac", {}, 1e-4),
        ("ogg", {}, 0.05),
        ("opus", {"format": "OGG", "subtype": "OPUS"}, 0.1),
        ("mp3", {}, 0.05),
    ],
)
def test_every_format_gives_back_what_was_written(tmp_path, suffix, options, tolerance):
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, _tone(24_000), 24_000, **options)
    loaded = load_audio(path)
    assert loaded.dtype == np.float32
    assert len(loaded) == 24_000
    middle = slice(2_000, -2_000)
    np.testing.assert_allclose(loaded[middle], _tone(24_000)[middle], atol=tolerance)


def test_channels_are_averaged(tmp_path):
    left, right = _tone(24_000), _tone(24_000, hz=700.0)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], 1), 24_000, subtype="FLOAT")
    np.testing.assert_allclose(load_audio(tmp_path / "stereo.wav"), (left + right) / 2, atol=1e-7)


@pytest.mark.parametrize(("start", "end"), [(0.0, 0.25), (0.25, 0.5), (0.5, None), (None, None), (0.9, 1.04)])
def test_a_segment_is_the_slice_of_the_whole(tmp_path, start, end):
    path = tmp_path / "noise.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.9, 0.9, 24_000), 24_000)
    first, stop = round((start or 0) * 24_000), None if end is None else round(end * 24_000)
    np.testing.assert_array_equal(load_audio(path, 24_000, start, end), load_audio(path)[first:stop])


@pytest.mark.parametrize("from_hz", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_resampling_agrees_with_a_fourier_resampler(tmp_path, from_hz):
    path = tmp_path / "tone.wav"
    soundfile.write(path, _tone(from_hz), from_hz, subtype="FLOAT")
    loaded = load_audio(path, 24_000)
    assert len(loaded) == 24_000
    expected = np.asarray(scipy.signal.resample(_tone(from_hz), 24_000))
    np.testing.assert_allclose(loaded[1_000:-1_000], expected[1_000:-1_000], atol=2e-3)


def test_equal_rates_leave_the_samples_alone():
    samples = _tone(24_000)
    assert resample(samples, 24_000, 24_000) is samples


def test_info_reads_the_header(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((4_000, 2)), 16_000)
    info = audio_info(tmp_path / "a.wav")
    assert (info.seconds, info.sample_rate_hz, info.num_channels, info.num_samples) == (0.25, 16_000, 2, 8_000)


def _wav_with_rate(rate_hz: int) -> bytes:
    """A wav header of 8 zero samples, 16 bit mono."""
    fields = (1).to_bytes(2, "little") * 2 + rate_hz.to_bytes(4, "little") + (2 * rate_hz).to_bytes(4, "little")
    form = b"fmt " + (16).to_bytes(4, "little") + fields + b"\x02\x00\x10\x00" + b"data\x10\x00\x00\x00" + bytes(16)
    return b"RIFF" + (len(form) + 4).to_bytes(4, "little") + b"WAVE" + form


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"not audio at all", "readable audio"),
        (_wav_with_rate(0), "sample rate of 0 Hz"),
    ],
)
def test_a_file_that_is_no_audio_is_named(tmp_path, content, message):
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_audio(path)
    assert str(path) in caught.value.message


def test_a_header_without_samples_is_refused(tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(0), 24_000)
    with pytest.raises(InputError, match="without samples"):
        load_audio(tmp_path / "silent.wav")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_audio(tmp_path / "absent.wav")
    with pytest.raises(InputError, match="folder"):
        load_audio(tmp_path)


def test_a_file_cut_short_is_refused(tmp_path):
    path = tmp_path / "cut.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.9, 0.9, 24_000), 24_000)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(InputError, match=r"decoded|cut short"):
        load_audio(path)


def test_a_sample_that_is_not_finite_is_named(tmp_path):
    samples = _tone(24_000)
    samples[12_345] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, 24_000, subtype="FLOAT")
    with pytest.raises(InputError, match="12345"):
        load_audio(tmp_path / "nan.wav")


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (0.6, 0.5), (-0.1, 0.5), (1.0, None), (0.5, 1.2)])
def test_a_segment_outside_the_file_is_refused(tmp_path, start, end):
    soundfile.write(tmp_path / "a.wav", _tone(24_000), 24_000)
    with pytest.raises(InputError, match=r"start|within"):
        load_audio(tmp_path / "a.wav", 24_000, start, end)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(24_000, 0), (0, 24_000), (-1, 24_000), (24_000, -1)])
def test_rates_must_be_positive(from_hz: int, to_hz: int):
    with pytest.raises(InputError, match="sample_rate_hz"):
        resample(_tone(24_000), from_hz, to_hz)


def test_samples_of_all_channels_count_against_what_is_held_at_once(tmp_path, monkeypatch):
    stereo = np.stack([_tone(24_000), _tone(24_000)], axis=1)
    soundfile.write(tmp_path / "stereo.wav", stereo, 24_000)
    monkeypatch.setattr("audio_tokenize.waveform._MAX_HELD_SAMPLES", 48_000)
    assert len(load_audio(tmp_path / "stereo.wav")) == 24_000
    monkeypatch.setattr("audio_tokenize.waveform._MAX_HELD_SAMPLES", 47_999)
    with pytest.raises(InputError, match=r"at most 47,999 samples at once, got 48,000; give a segment"):
        load_audio(tmp_path / "stereo.wav")
