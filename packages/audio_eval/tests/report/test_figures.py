import base64
import io
import math
import re
import xml.etree.ElementTree as ElementTree
import zlib

import numpy as np
import pytest
import soundfile

from audio_data.charts import Line
from audio_eval.report.figures import (
    ScoreBar,
    bar_chart,
    encode_png,
    interval_strip,
    line_chart,
    loudness,
    player,
    spectrogram,
)


def svg(figure):
    return ElementTree.fromstring(str(figure)).find("svg")


def test_lines_break_at_missing_values_and_stay_inside():
    points = [(float(step), math.nan if step == 5 else 3 / (step + 1)) for step in range(10)]
    chart = svg(line_chart([Line("text", points, 0)], x_label="step", y_label="nats", marks=[(4.0, "stage 2")]))
    (path,) = chart.findall("path")
    drawn = path.get("d")
    assert drawn.count("M") == 2
    numbers = [float(number) for number in drawn.replace("M", " ").replace("L", " ").split()]
    assert all(0 <= x <= 880 for x in numbers[::2])
    assert all(0 <= y <= 320 for y in numbers[1::2])
    assert "stage 2" in "".join(chart.itertext())


def test_lower_values_are_drawn_lower():
    chart = svg(line_chart([Line("loss", [(0.0, 4.0), (1.0, 2.0)], 0)], x_label="step", y_label="nats"))
    numbers = [float(n) for n in chart.find("path").get("d").replace("M", " ").replace("L", " ").split()]
    assert numbers[1] < numbers[3]


def test_bars_are_proportional_to_their_values_and_carry_their_intervals():
    groups = [
        ("heard", [ScoreBar("text", 1.0, 0.9, 1.1), ScoreBar("codebook 0", 3.0, None, None)]),
        ("unheard", [ScoreBar("text", 2.0, 1.9, 2.2)]),
    ]
    chart = svg(bar_chart(groups, y_label="nats"))
    heights = [float(bar.attrib["height"]) for bar in chart.findall("rect")]
    assert heights == pytest.approx(np.array([1.0, 3.0, 2.0]) * heights[0], abs=0.05)
    assert len([line for line in chart.findall("line") if line.get("class") == "whisker"]) == 2
    assert "heard, text: 1.000 (0.900 to 1.100)" in "".join(chart.itertext())


def test_constant_lines_and_single_points_can_be_drawn():
    line_chart([Line("flat", [(1.0, 0.5), (2.0, 0.5)], 0)], x_label="step", y_label="x")
    line_chart([Line("point", [(1.0, 0.0)], 0)], x_label="step", y_label="x")


def test_strip_places_value_within_its_interval():
    strip = ElementTree.fromstring(str(interval_strip(0.4, 0.3, 0.6, 1.0)))
    whisker = next(line for line in strip.findall("line") if line.get("class") == "whisker")
    (circle,) = strip.iter("circle")
    assert float(whisker.attrib["x1"]) < float(circle.attrib["cx"]) < float(whisker.attrib["x2"])


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
