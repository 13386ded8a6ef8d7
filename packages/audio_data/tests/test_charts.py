import itertools
import math
from xml.etree import ElementTree

import numpy as np
import pytest

from audio_data.charts import (
    Bar,
    Frame,
    Line,
    bar_chart,
    chart_style,
    colour,
    legend,
    line_chart,
    linear_axis,
    logarithmic_axis,
    named_axis,
    share_strip,
    short,
    ticks,
)


def points_of(chart) -> list[list[tuple[float, float]]]:
    """Points of each unbroken part of the lines of a chart."""
    drawn = [path.get("d") or "" for path in ElementTree.fromstring(str(chart)).iter("path")]
    parts = [part for line in drawn for part in line.split("M") if part]
    return [[(float(x), float(y)) for x, y in (point.split() for point in part.split("L"))] for part in parts]


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ((0.0, 1.0), [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        ((0.3, 7.9), [2, 4, 6]),
        ((0.0, 850.0), [0, 200, 400, 600, 800]),
        ((-0.02, 0.019), [-0.02, -0.01, 0, 0.01]),
        ((3.0, 3.0), [3]),
    ],
)
def test_ticks_are_round_and_inside(bounds, expected):
    assert ticks(*bounds) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        (linear_axis("y", 0, 1.0), ["0", "0.5", "1"]),
        (linear_axis("y", 0, 1180.0), ["0", "500", "1,000"]),
        (logarithmic_axis("x", 0.9, 3.1), ["1", "2"]),
        (logarithmic_axis("x", 1, 2000), ["1", "10", "100", "1k"]),
        (logarithmic_axis("x", 5, 5), ["5"]),
        (logarithmic_axis("x", 1.4e6, 1.7e6), ["1.4M", "1.5M", "1.6M", "1.7M"]),
        (named_axis("x", [str(i) for i in range(20)]), [str(i) for i in range(0, 20, 2)]),
    ],
)
def test_axes_are_labelled_at_round_values_inside(axis, expected):
    assert [name for _, name in axis.labels] == expected
    assert all(axis.start * 0.999 <= place <= axis.stop * 1.001 for place, _ in axis.labels)


def test_bars_are_proportional_to_their_values_and_carry_their_intervals():
    bars = [Bar(i, i + 1, value, f"<{value}>", low, high) for i, (value, low, high) in enumerate(VALUES)]
    chart = ElementTree.fromstring(bar_chart("t", bars, named_axis("x", ["a", "b", "c"]), linear_axis("y", 0, 3.0)))
    heights = [float(rect.get("height") or 0) for rect in chart.iter("rect")]
    assert heights == pytest.approx(np.array([1, 3, 2]) * heights[0], abs=0.05)
    assert [rect[0].text for rect in chart.iter("rect")] == ["<1.0>", "<3.0>", "<2.0>"]
    (whisker,) = (line for line in chart.iter("line") if line.get("class") == "whisker")
    length = float(whisker.get("y1") or 0) - float(whisker.get("y2") or 0)
    assert length == pytest.approx(0.5 * heights[0], abs=0.05)
    assert "1.0" not in [text.text for text in chart.iter("text")]
    shown = bar_chart("t", bars, named_axis("x", ["a"]), linear_axis("y", 0, 3.0), shown=True)
    assert shown.count("<text") == 3 + 1 + 4 + 2


VALUES = [(1.0, None, None), (3.0, 2.75, 3.25), (2.0, None, None)]


def test_lines_on_logarithmic_axes_step_evenly_by_factors():
    points = [(10.0**i, 10.0**-i) for i in range(4)]
    chart = line_chart("t", [Line("a", points)], logarithmic_axis("x", 1, 1000), logarithmic_axis("y", 1e-3, 1))
    (drawn,) = points_of(chart)
    assert np.diff(drawn, n=2, axis=0) == pytest.approx(0, abs=0.05)
    assert all(x1 < x2 and y1 < y2 for (x1, y1), (x2, y2) in itertools.pairwise(drawn))


def test_lines_break_at_missing_values_and_stay_inside():
    line = Line("text", [(float(step), math.nan if step == 5 else 3 / (step + 1)) for step in range(10)])
    marks = [(4.0, "stage 2"), (0.0, "stage 1")]
    chart = line_chart("t", [line], linear_axis("step", 0, 9), linear_axis("y", 0, 3), size=(880, 320), marks=marks)
    drawn = points_of(chart)
    assert [len(part) for part in drawn] == [5, 4]
    assert all(0 <= x <= 880 and 0 <= y <= 320 for part in drawn for x, y in part)
    assert ("stage 2" in chart, "stage 1" in chart) == (True, False)


def test_a_range_without_extent_can_be_drawn():
    (((x, y),),) = points_of(line_chart("t", [Line("", [(1.0, 0.0)])], linear_axis("x", 1, 1), linear_axis("y", 0, 0)))
    assert 0 <= x <= 460
    assert 0 <= y <= 250


def test_shares_fill_the_strip():
    strip = ElementTree.fromstring(str(share_strip("t", [("a", 0.25), ("b", 0.7), ("c", 0.05)])))
    parts = [(float(r.get("x") or 0), float(r.get("width") or 0)) for r in strip.iter("rect")]
    assert np.array(parts) == pytest.approx(np.array([(0, 250), (250, 700), (950, 50)]))


def test_names_are_escaped_and_every_class_has_a_rule():
    frame = Frame(linear_axis("<x>", 0, 1), named_axis("<y>", ["<a>"]))
    marked = frame.axes(vertical_grid=True) + frame.mark(0.5, "<m>") + frame.line(Line("<l>", [(0.0, 0.0)], 11))
    made = marked + frame.bar(Bar(0, 1, 1, "<b>", 0.5, 1.5)) + legend(["<n>"])
    root = ElementTree.fromstring(f"<svg>{made}</svg>")
    assert {"<x>", "<y>", "<a>", "<m>", "<l>", "<b>", "<n>"} <= set(root.itertext())
    used = {name for element in root.iter() for name in (element.get("class") or "").split()}
    assert used - {"bar"} <= {name for name in used if f".{name} " in chart_style()}
    assert colour(11) in used


@pytest.mark.parametrize(
    ("value", "written"), [(0.02, "0.02"), (3.5, "3.5"), (512, "512"), (1234, "1.23k"), (3e6, "3M")]
)
def test_numbers_are_short(value, written):
    assert short(value) == written
