"""What becomes of each kind of odd audio is what is right for it, from disk and from memory, whole and in pieces."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from audio_tokenize.waveform import AudioBytes, audio_info, audio_pieces, load_audio

_SPEC = importlib.util.spec_from_file_location("odd_audio", Path(__file__).parent / "odd_audio.py")
assert _SPEC is not None
assert _SPEC.loader is not None
odd_audio = importlib.util.module_from_spec(_SPEC)
sys.modules["odd_audio"] = odd_audio
_SPEC.loader.exec_module(odd_audio)
KINDS = {kind.name: kind for kind in odd_audio.kinds()}
# A frame of MPEG, and what an encoder fills up, are not sound that someone wrote.
TOLERANCE_SECONDS = 0.001


@pytest.mark.parametrize("name", KINDS)
def test_the_outcome_is_the_right_one(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    for folder in (None, tmp_path):
        found = odd_audio.outcome(kind, folder)
        if kind.verdict == "quarantined":
            assert found.verdict == "quarantined", found
            assert kind.reason in found.reason
            continue
        assert found.verdict == "read", found.reason
        assert found.seconds == pytest.approx(kind.seconds, abs=TOLERANCE_SECONDS)
        assert found.stated_seconds == pytest.approx(found.seconds, abs=1e-4)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.verdict != "quarantined"])
def test_pieces_and_segments_are_of_the_whole(name: str) -> None:
    source = AudioBytes("odd", KINDS[name].content)
    rate_hz = audio_info(source).sample_rate_hz
    whole = load_audio(source, rate_hz)
    pieces = list(audio_pieces(source, rate_hz, piece_seconds=0.17))
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    assert np.isfinite(whole).all()


VOICES = {
    "two MP3 joined": ("MP3", None, 1),
    "chained Ogg Vorbis": ("OGG", "VORBIS", 1),
    "chained Ogg Opus": ("OGG", "OPUS", 2),
    "two FLAC of one length joined": ("FLAC", None, 1),
    "two WAV joined": ("WAV", None, 1),
}


@pytest.mark.parametrize("name", VOICES)
def test_what_lies_behind_the_first_part_is_the_second(name: str) -> None:
    """Joined files hold the same speech again: what is read behind the first is what the part alone gives."""
    format, subtype, place = VOICES[name]
    alone = load_audio(AudioBytes("one", odd_audio.written(odd_audio.speech(), format, subtype)), odd_audio.RATE_HZ)
    joined = load_audio(AudioBytes("joined", KINDS[name].content), odd_audio.RATE_HZ)
    second = joined[place * len(alone) :][: len(alone)]
    np.testing.assert_allclose(second, alone, atol=2e-4)
    times = (float(place), place + 0.5)
    segment = load_audio(AudioBytes("joined", KINDS[name].content), odd_audio.RATE_HZ, *times)
    np.testing.assert_allclose(segment[4000:], alone[4000:8000], atol=2e-2)


def test_speech_behind_silence_is_read_without_an_index() -> None:
    """Of MPEG of variable bit rate without an index, libsndfile guesses the length by the first frame."""
    for name, place in (("MP3 without an index, silence last", 0), ("MP3 without an index, speech last", 3)):
        found = load_audio(AudioBytes("odd", KINDS[name].content), odd_audio.RATE_HZ)
        # The encoder's delay, less what the decoder takes away.
        shift = place * odd_audio.RATE_HZ + 1105 - 529
        wanted = odd_audio.speech()[2000:14_000]
        heard = found[shift + 2000 : shift + 14_000]
        assert np.corrcoef(heard, wanted)[0, 1] > 0.98


def test_opposite_channels_keep_the_speech() -> None:
    found = load_audio(AudioBytes("odd", KINDS["opposite channels"].content), odd_audio.RATE_HZ)
    np.testing.assert_allclose(found, odd_audio.speech(), atol=1e-4)


def test_the_table_names_every_kind_and_no_wrong_outcome() -> None:
    table = odd_audio.table()
    assert "WRONG" not in table
    assert all(f"| {name} |" in table for name in KINDS)
    assert len(KINDS) == len(odd_audio.kinds()) >= 70
