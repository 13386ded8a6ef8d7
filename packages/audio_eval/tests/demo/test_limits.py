"""The demo's limits hold for the sound that a file has, not for what its header states."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_data import InputError
from audio_eval.demo.limits import Limits, read_recording

RATE_HZ = 16_000


def _written(seconds: float, format: str, subtype: str | None = None) -> bytes:
    stream = io.BytesIO()
    samples = np.random.default_rng(0).uniform(-0.3, 0.3, round(seconds * RATE_HZ))
    soundfile.write(stream, samples, RATE_HZ, format=format, subtype=subtype)
    return stream.getvalue()


def _pipe_wav(seconds: float) -> bytes:
    """A WAV file that states no size, and of which libsndfile then reads nothing."""
    content = _written(seconds, "WAV")
    at = content.index(b"data") + 4
    return content[:at] + bytes(4) + content[at + 4 :]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("chained.opus", 2 * _written(1.0, "OGG", "OPUS")),
        ("chained.ogg", 2 * _written(1.0, "OGG", "VORBIS")),
        ("joined.mp3", 2 * _written(1.0, "MP3")),
        ("joined.flac", 2 * _written(1.0, "FLAC")),
        ("pipe.wav", _pipe_wav(2.0)),
    ],
)
def test_a_recording_is_as_long_as_its_sound(tmp_path: Path, monkeypatch, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)
    assert len(read_recording(tmp_path / name, RATE_HZ, Limits(max_seconds=2.01))) == pytest.approx(2 * RATE_HZ, abs=5)
    monkeypatch.setattr("audio_eval.demo.limits.load_audio", lambda *given: pytest.fail("it was decoded"))
    with pytest.raises(InputError, match=rf"`{name}` must be at most 1\.5 s long, got 2\.0 s"):
        read_recording(tmp_path / name, RATE_HZ, Limits(max_seconds=1.5))


def test_a_recording_that_is_cut_short_is_refused(tmp_path: Path):
    (tmp_path / "cut.wav").write_bytes(_written(1.0, "WAV")[:20_000])
    with pytest.raises(InputError, match=r"`cut\.wav`: expected whole audio, got a file that is cut short"):
        read_recording(tmp_path / "cut.wav", RATE_HZ, Limits())
