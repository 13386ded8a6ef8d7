import base64
import io
import re
import zlib

import numpy as np
import pytest
import soundfile

from audio_eval.report.media import encode_png, loudness, player, spectrogram

RATE_HZ = 24_000


def tone(frequency_hz, seconds=1.0):
    return (0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)).astype(np.float32)


def test_player_holds_the_samples_without_loss():
    samples = tone(440)
    markup = player(samples, RATE_HZ, 'say "hi"')
    content = base64.b64decode(re.search(r"base64,([^\"]+)", markup)[1])
    decoded, rate_hz = soundfile.read(io.BytesIO(content), dtype="float32")
    assert rate_hz == RATE_HZ
    assert np.abs(decoded - samples).max() <= 1 / 32768
    assert 'aria-label="say &quot;hi&quot;"' in markup


@pytest.mark.parametrize("frequency_hz", [200, 1_000, 4_000, 8_000])
def test_a_tone_is_loudest_at_its_own_height(frequency_hz):
    levels = loudness(tone(frequency_hz), RATE_HZ)
    row = levels[:, 20:80].mean(axis=1).argmax()
    mel = 2595 * np.log10(1 + frequency_hz / 700)
    lowest, highest = 2595 * np.log10(1 + 60 / 700), 2595 * np.log10(1 + 9_000 / 700)
    assert row == pytest.approx((highest - mel) / (highest - lowest) * (len(levels) - 1), abs=1)
    assert levels.max() == 255


def test_picture_is_as_long_as_the_sound_and_silence_is_flat():
    assert loudness(tone(300, 2.0), RATE_HZ).shape[1] == pytest.approx(200, abs=3)
    assert np.ptp(loudness(np.zeros(2_400, np.float32), RATE_HZ)) == 0


def test_png_holds_the_levels():
    levels = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    png = encode_png(levels)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    body = png[png.index(b"IDAT") + 4 : png.index(b"IEND") - 8]
    rows = np.frombuffer(zlib.decompress(body), np.uint8).reshape(3, 5)
    assert (rows[:, 0] == 0).all()
    assert (rows[:, 1:] == levels).all()


def test_spectrogram_of_a_very_short_sound():
    assert spectrogram(np.full(7, 0.1, np.float32), RATE_HZ, "x").startswith("<img")
