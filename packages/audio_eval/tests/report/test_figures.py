import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from audio_data.charts import Line
from audio_eval.report.figures import Bar, bar_chart, interval_strip, line_chart


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
        ("heard", [Bar("text", 1.0, 0.9, 1.1), Bar("codebook 0", 3.0, None, None)]),
        ("unheard", [Bar("text", 2.0, 1.9, 2.2)]),
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
