"""Figures of a report: lines with the starts of stages, grouped bars with intervals, intervals in table cells."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from audio_data import charts
from audio_data.markup import Markup, join, tag

WIDE, NARROW = (880, 320), (440, 230)
_NUMBER = "{:,g}".format


class Bar(NamedTuple):
    """One bar with its interval; `low` and `high` are None where there is none."""

    label: str
    value: float
    low: float | None
    high: float | None


def line_chart(
    lines: Sequence[charts.Line],
    *,
    x_label: str,
    y_label: str,
    marks: Sequence[tuple[float, str]] = (),
    size: tuple[int, int] = WIDE,
    from_zero: bool = False,
) -> Markup:
    """Draw lines over a common x axis, with a legend where there are several.

    Args:
        lines: At least one line with at least one finite point; points that are not finite break the line.
        x_label: Name of the x axis.
        y_label: Name of the y axis.
        marks: Vertical lines `(x, name)`, such as the start of a stage.
        size: Width and height in the figure's own units, in which text is 11.5 high.
        from_zero: Whether the y axis begins at zero; otherwise a little below the lowest value.
    """
    finite = [point for line in lines for point in line.points if math.isfinite(point[1])]
    xs, ys = [x for x, _ in finite], [y for _, y in finite]
    margin = 0.05 * (max(ys) - min(ys))
    lowest = 0.0 if from_zero else min(ys) - margin
    x = charts.linear_axis(x_label, min(xs), max(xs), count=6, written=_NUMBER)
    y = charts.linear_axis(y_label, lowest, max(ys) + margin, count=5, written=_NUMBER)
    names, colours = [line.name for line in lines], [line.colour for line in lines]
    drawn = charts.line_chart(f"{y_label} over {x_label}: {', '.join(names)}", lines, x, y, size=size, marks=marks)
    return _figure(drawn, names, colours)


def bar_chart(groups: Sequence[tuple[str, Sequence[Bar]]], *, y_label: str, size: tuple[int, int] = WIDE) -> Markup:
    """Draw grouped bars with their intervals, from zero up.

    Args:
        groups: Named groups; bars of one label stand beside each other, in the order in which labels first appear.
        y_label: Name and unit of the values, which are not negative.
        size: Width and height in the figure's own units, in which text is 11.5 high.
    """
    labels = list(dict.fromkeys(bar.label for _, bars in groups for bar in bars))
    tops = [bar.value if bar.high is None else bar.high for _, bars in groups for bar in bars]
    width = 0.72 / len(groups)
    drawn = []
    for index, (name, bars) in enumerate(groups):
        for bar in bars:
            interval = "" if bar.low is None or bar.high is None else f" ({bar.low:.3f} to {bar.high:.3f})"
            title = f"{name}, {bar.label}: {bar.value:.3f}{interval}"
            start = labels.index(bar.label) + 0.14 + index * width
            drawn.append(charts.Bar(start, start + 0.9 * width, bar.value, title, bar.low, bar.high, index))
    x = charts.named_axis("", labels, most=len(labels))
    y = charts.linear_axis(y_label, 0.0, 1.08 * max(tops), count=5, written=_NUMBER)
    chart = charts.bar_chart(f"{y_label} for {', '.join(labels)}", drawn, x, y, size=size)
    return _figure(chart, [name for name, _ in groups], range(len(groups)))


def interval_strip(value: float, low: float | None, high: float | None, limit: float) -> Markup:
    """Draw a value and its interval on a line from 0 to `limit`, small enough for a table cell."""
    width, middle = 120, 8
    across = charts.linear_axis("", 0.0, limit).scale(4, width - 4)
    whisker = None
    if low is not None and high is not None:
        whisker = tag("line", x1=across(low), x2=across(high), y1=middle, y2=middle, class_="whisker")
    parts = join(
        tag("line", x1=4, x2=width - 4, y1=middle, y2=middle, class_="rail"),
        whisker,
        tag("circle", cx=across(value), cy=middle, r=3.5, class_="dot"),
    )
    return tag("svg", parts, viewBox=f"0 0 {width} 16", width=width, height=16, class_="strip", aria_hidden="true")


def _figure(chart: Markup, names: Sequence[str], colours: Sequence[int]) -> Markup:
    return tag("figure", chart, charts.legend(names, colours, "figcaption") if len(names) > 1 else None)
