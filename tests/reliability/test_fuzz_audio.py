"""Damaged audio of every format: finite samples of the length that was said, or one line that says why not.

The slow form runs thousands of examples in a process whose memory is bounded.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audio_data import InputError
from audio_tokenize.waveform import AudioBytes, audio_info, audio_pieces, load_audio

_SPEC = importlib.util.spec_from_file_location("odd_audio_of_fuzzing", Path(__file__).parent / "odd_audio.py")
assert _SPEC is not None
assert _SPEC.loader is not None
odd_audio = importlib.util.module_from_spec(_SPEC)
sys.modules["odd_audio_of_fuzzing"] = odd_audio
_SPEC.loader.exec_module(odd_audio)

_VOICE = odd_audio.speech(0.25)
_MPEG = odd_audio.written(_VOICE, "MP3")
_OGG = odd_audio.written(_VOICE, "OGG")
_FORMATS = ["WAV", "RF64", "W64", "AIFF", "AU", "CAF", "NIST"]
SEEDS = {
    **{format: odd_audio.written(_VOICE, format, "PCM_16") for format in _FORMATS},
    "WAV, float": odd_audio.written(_VOICE, "WAV", "FLOAT"),
    "WAV, ADPCM": odd_audio.written(_VOICE, "WAV", "IMA_ADPCM"),
    "WAV, GSM": odd_audio.written(_VOICE, "WAV", "GSM610"),
    "two WAV": 2 * odd_audio.written(_VOICE, "WAV"),
    "FLAC": odd_audio.written(_VOICE, "FLAC"),
    "two FLAC": 2 * odd_audio.written(_VOICE, "FLAC"),
    "FLAC in Ogg": odd_audio.flac_in_ogg(_VOICE),
    "Vorbis": _OGG,
    "Opus": odd_audio.written(_VOICE, "OGG", "OPUS"),
    "chained Ogg": _OGG + odd_audio.written(_VOICE, "OGG", "OPUS"),
    "MP3": _MPEG,
    "MP3 without an index": b"".join(odd_audio.mp3_frames(_MPEG)[1:]),
    "two MP3": _MPEG + _MPEG,
}
_WORDS = [
    b"\xff" * 4,
    b"\0" * 4,
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x80\0\0\0",
    b"OggS",
    b"fLaC",
    b"RIFF",
    b"ID3\4",
]
_PLACES = st.one_of(st.integers(0, 63), st.integers(0, 1023), st.integers(0, 2**16))
_DAMAGES = st.one_of(
    st.tuples(st.just("flip"), _PLACES, st.integers(0, 7)),
    st.tuples(st.just("write"), _PLACES, st.sampled_from(_WORDS) | st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("cut"), _PLACES, st.just(0)),
    st.tuples(st.just("drop"), _PLACES, st.integers(1, 300)),
    st.tuples(st.just("zero"), _PLACES, st.integers(1, 300)),
    st.tuples(st.just("repeat"), _PLACES, st.integers(1, 500)),
    st.tuples(st.just("insert"), _PLACES, st.binary(min_size=1, max_size=40)),
)


def _damaged(content: bytes, damages: list[tuple]) -> bytes:
    for kind, place, detail in damages:
        at = place % (len(content) + 1)
        match kind:
            case "flip":
                content = content[:at] + bytes(byte ^ 1 << detail for byte in content[at : at + 1]) + content[at + 1 :]
            case "write":
                content = content[:at] + detail + content[at + len(detail) :]
            case "cut":
                content = content[:at]
            case "drop":
                content = content[:at] + content[at + detail :]
            case "zero":
                content = content[:at] + bytes(len(content[at : at + detail])) + content[at + detail :]
            case "repeat":
                content = content[: at + detail] + content[at:]
            case _:
                content = content[:at] + detail + content[at:]
    return content


def _read(content: bytes) -> None:
    source = AudioBytes("damaged", content)
    try:
        info = audio_info(source)
        end = info.seconds if info.fault else None
        whole = load_audio(source, odd_audio.RATE_HZ, 0.0, end)
        pieces = list(audio_pieces(source, odd_audio.RATE_HZ, 0.0, end, piece_seconds=0.11))
    except InputError as error:
        refusal = error.message
    else:
        refusal = ""
    if refusal:
        assert refusal.startswith("`damaged`: expected")
        assert "\n" not in refusal
        return
    assert np.isfinite(whole).all()
    # What a decoder finds damaged at the end of a file may be as short as what manifests round.
    assert len(whole) / odd_audio.RATE_HZ == pytest.approx(info.seconds, abs=0.06)
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize("name", SEEDS)
@settings(
    max_examples=int(os.environ.get("AUDIO_FUZZ_EXAMPLES", "12")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(damages=st.lists(_DAMAGES, min_size=1, max_size=6))
def test_damaged_audio_is_read_or_refused(name: str, damages: list[tuple]) -> None:
    _read(_damaged(SEEDS[name], damages))


@given(content=st.binary(max_size=600), begin=st.sampled_from([b"", *(seed[:64] for seed in SEEDS.values())]))
@settings(max_examples=100, deadline=None)
def test_anything_is_read_or_refused(content: bytes, begin: bytes) -> None:
    _read(begin + content)


@pytest.mark.slow
def test_thousands_of_damages_stay_within_two_gigabytes() -> None:
    """A header that promises more than there is reserves no memory for it, and no damage hangs a reader."""
    bounded = (
        "import resource, sys, pytest\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (3600, 3600))\n"
        f"sys.exit(pytest.main(['-n', '0', '-q', '-p', 'no:cacheprovider', {__file__!r}]))\n"
    )
    environment = os.environ | {"AUDIO_FUZZ_EXAMPLES": "500", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    run = subprocess.run([sys.executable, "-c", bounded], capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stdout[-4000:]
