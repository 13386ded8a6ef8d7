"""Figures place numbers where they belong."""

import re
from xml.etree import ElementTree

import pytest

from audio_train.figures import Series, bar_figure, line_figure

SVG = "{http://www.w3.org/2000/svg}"


def circles(svg: str) -> list[tuple[float, float]]:
    """Centres of the points, without those of the legend."""
    marks = [mark for mark in ElementTree.fromstring(svg).iter(f"{SVG}circle") if mark.get("r") == "3.5"]
    return [(float(mark.get("cx") or 0), float(mark.get("cy") or 0)) for mark in marks]


def test_equal_ratios_are_equal_distances_on_a_logarithmic_axis():
    svg = line_figure("t", "x", "y", [Series("a & b", [1e6, 1e7, 1e9], [1.0, 2.0, 3.0])])
    (x0, y0), (x1, y1), (x2, y2) = circles(svg)
    assert (x2 - x1) / (x1 - x0) == pytest.approx(2, abs=0.01)
    assert y0 > y1 > y2
    assert (y0 - y1) == pytest.approx(y1 - y2, abs=0.2)
    assert "a &amp; b" in svg
    assert {">1e6<", ">1e7<", ">1e8<", ">1e9<"} <= set(re.findall(r">1e\d<", svg))


@pytest.mark.parametrize(
    ("sizes", "labels"),
    [
        ([3e5, 4e6], ["5e5", "1e6", "2e6"]),
        ([2e11, 2.4e12], ["2e11", "5e11", "1e12", "2e12"]),
        ([1.45e6, 1.65e6], ["1.4e6", "1.5e6", "1.6e6", "1.7e6"]),
        ([1e6, 1e9], ["1e6", "1e7", "1e8", "1e9"]),
    ],
)
def test_a_logarithmic_axis_is_marked_at_round_numbers_that_differ(sizes: list[float], labels: list[str]):
    svg = line_figure("t", "x", "y", [Series("", sizes, [1.0, 2.0])])
    assert re.findall(r'y="364.0">([^<]*)<', svg) == labels


@pytest.mark.parametrize("log_y", [True, False])
def test_points_that_agree_are_drawn(log_y: bool):
    ((x, y),) = circles(line_figure("t", "x", "y", [Series("", [5.0], [2.0])], log_y=log_y))
    assert 0 < x < 640
    assert 0 < y < 400


def test_bars_are_as_long_as_their_numbers():
    svg = bar_figure("t", "nats", [("one", 1.0), ("three", 3.0), ("none", 0.0)])
    widths = [float(bar.get("width") or 0) for bar in ElementTree.fromstring(svg).iter(f"{SVG}rect")]
    assert widths[1] / widths[0] == pytest.approx(3, rel=0.01)
    assert widths[2] == 0
