"""Figures as inline SVG: they follow the page's light or dark colours, stay sharp, and need no plotting library."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from audio_eval.report.markup import Markup, join, tag

WIDE, NARROW = (880, 320), (440, 230)
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 14, 42
_NUM_COLOURS = 10


class Series(NamedTuple):
    """One line: points `(x, y)` in order, and its name."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int


class Bar(NamedTuple):
    """One bar with its interval; `low` and `high` are None where there is none."""

    label: str
    value: float
    low: float | None
    high: float | None


class _Scale(NamedTuple):
    """Maps values `start..stop` to pixels `first..last`."""

    start: float
    stop: float
    first: float
    last: float

    def __call__(self, value: float) -> float:
        share = (value - self.start) / (self.stop - self.start)
        return round(self.first + share * (self.last - self.first), 2)


class _Frame(NamedTuple):
    """The area in which data is drawn."""

    x: _Scale
    y: _Scale

    @classmethod
    def of(cls, size: tuple[int, int], x_range: tuple[float, float], y_range: tuple[float, float]) -> "_Frame":
        """Leave margins for labels; a range without extent is widened, since a scale needs one."""
        (x_start, x_stop), (y_start, y_stop) = (
            (low, high if high > low else low + 1.0) for low, high in (x_range, y_range)
        )
        width, height = size
        return cls(
            _Scale(x_start, x_stop, _LEFT, width - _RIGHT),
            _Scale(y_start, y_stop, height - _BOTTOM, _TOP),
        )


def ticks(start: float, stop: float, count: int = 5) -> list[float]:
    """Return round tick values (1, 2 or 5 times a power of ten apart) that lie within `start..stop`."""
    if not stop > start:
        return [start]
    rough = (stop - start) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(start / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(stop / step + 1e-9) + 1)]


def line_chart(
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    marks: Sequence[tuple[float, str]] = (),
    size: tuple[int, int] = WIDE,
    from_zero: bool = False,
) -> Markup:
    """Draw lines over a common x axis, with a legend.

    Args:
        series: At least one series with at least one finite point; points that are not finite break the line.
        x_label: Name of the x axis.
        y_label: Name of the y axis.
        marks: Vertical lines `(x, name)`, such as the start of a stage.
        size: Width and height in the figure's own units, in which text is 11 high.
        from_zero: Whether the y axis begins at zero; otherwise a little below the lowest value.
    """
    finite = [point for line in series for point in line.points if math.isfinite(point[1])]
    xs, ys = [x for x, _ in finite], [y for _, y in finite]
    margin = 0.05 * (max(ys) - min(ys))
    lowest = 0.0 if from_zero else min(ys) - margin
    frame = _Frame.of(size, (min(xs), max(xs)), (lowest, max(ys) + margin))
    lines = [
        tag("path", d=_path(line.points, frame), class_=f"line colour-{line.colour % _NUM_COLOURS}") for line in series
    ]
    drawn = join(_y_axis(frame, y_label), _x_axis(frame, x_label), _marks(marks, frame), lines)
    names = ", ".join(line.name for line in series)
    return tag("figure", _svg(drawn, size, f"{y_label} over {x_label}: {names}"), _legend(series))


def bar_chart(groups: Sequence[tuple[str, Sequence[Bar]]], *, y_label: str, size: tuple[int, int] = WIDE) -> Markup:
    """Draw grouped bars with their intervals, from zero up.

    Args:
        groups: Named groups; bars of one label stand beside each other, in the order in which labels first appear.
        y_label: Name and unit of the values, which are not negative.
        size: Width and height in the figure's own units, in which text is 11 high.
    """
    labels = list(dict.fromkeys(bar.label for _, bars in groups for bar in bars))
    tops = [bar.value if bar.high is None else bar.high for _, bars in groups for bar in bars]
    frame = _Frame.of(size, (0.0, float(len(labels))), (0.0, 1.08 * max(tops)))
    width = 0.72 / len(groups)
    drawn = [
        _bar(bar, name, labels.index(bar.label) + 0.14 + index * width, width * 0.9, frame, index)
        for index, (name, bars) in enumerate(groups)
        for bar in bars
    ]
    names = [_x_tick(label, frame, index + 0.5) for index, label in enumerate(labels)]
    legend = [Series(name, (), index) for index, (name, _) in enumerate(groups)]
    content = join(_y_axis(frame, y_label), drawn, names)
    return tag("figure", _svg(content, size, f"{y_label} for {', '.join(labels)}"), _legend(legend))


def interval_strip(value: float, low: float | None, high: float | None, limit: float) -> Markup:
    """Draw a value and its interval on a line from 0 to `limit`, small enough for a table cell."""
    width, middle = 120, 8
    scale = _Scale(0.0, limit, 4, width - 4)
    whisker = None
    if low is not None and high is not None:
        whisker = tag("line", x1=scale(low), x2=scale(high), y1=middle, y2=middle, class_="whisker")
    parts = join(
        tag("line", x1=4, x2=width - 4, y1=middle, y2=middle, class_="rail"),
        whisker,
        tag("circle", cx=scale(value), cy=middle, r=3.5, class_="dot"),
    )
    return tag("svg", parts, viewBox=f"0 0 {width} 16", width=width, height=16, class_="strip", aria_hidden="true")


def _svg(content: Markup, size: tuple[int, int], description: str) -> Markup:
    return tag("svg", tag("title", description), content, viewBox=f"0 0 {size[0]} {size[1]}", role="img")


def _path(points: Sequence[tuple[float, float]], frame: _Frame) -> str:
    commands, pen = [], "M"
    for x, y in points:
        if not math.isfinite(y):
            pen = "M"
            continue
        commands.append(f"{pen}{frame.x(x)} {frame.y(y)}")
        pen = "L"
    return "".join(commands)


def _x_axis(frame: _Frame, label: str) -> Markup:
    names = [_x_tick(f"{value:,g}", frame, value) for value in ticks(frame.x.start, frame.x.stop, 6)]
    middle = (frame.x.first + frame.x.last) / 2
    return join(names, tag("text", label, x=middle, y=frame.y.first + 37, class_="label middle"))


def _x_tick(name: str, frame: _Frame, value: float) -> Markup:
    return tag("text", name, x=frame.x(value), y=frame.y.first + 18, class_="tick middle")


def _y_axis(frame: _Frame, label: str) -> Markup:
    lines = [
        join(
            tag("line", x1=frame.x.first, x2=frame.x.last, y1=frame.y(value), y2=frame.y(value), class_="grid"),
            tag("text", f"{value:,g}", x=frame.x.first - 8, y=frame.y(value) + 4, class_="tick end"),
        )
        for value in ticks(frame.y.start, frame.y.stop)
    ]
    turned = f"translate(12 {(frame.y.first + frame.y.last) / 2}) rotate(-90)"
    return join(lines, tag("text", label, transform=turned, class_="label middle"))


def _bar(bar: Bar, group: str, start: float, width: float, frame: _Frame, colour: int) -> Markup:
    left, right, top, bottom = frame.x(start), frame.x(start + width), frame.y(bar.value), frame.y(0.0)
    whisker, interval = None, ""
    if bar.low is not None and bar.high is not None:
        middle = frame.x(start + width / 2)
        whisker = tag("line", x1=middle, x2=middle, y1=frame.y(bar.low), y2=frame.y(bar.high), class_="whisker")
        interval = f" ({bar.low:.3f} to {bar.high:.3f})"
    shape = tag(
        "rect",
        tag("title", f"{group}, {bar.label}: {bar.value:.3f}{interval}"),
        x=left,
        y=top,
        width=round(right - left, 2),
        height=round(bottom - top, 2),
        rx=2,
        class_=f"bar colour-{colour % _NUM_COLOURS}",
    )
    return join(shape, whisker)


def _marks(marks: Sequence[tuple[float, str]], frame: _Frame) -> list[Markup]:
    return [
        join(
            tag("line", x1=frame.x(x), x2=frame.x(x), y1=frame.y.last, y2=frame.y.first, class_="mark"),
            tag("text", name, x=frame.x(x) + 4, y=frame.y.first - 6, class_="tick"),
        )
        for x, name in marks
        if frame.x.start < x < frame.x.stop
    ]


def _legend(series: Sequence[Series]) -> Markup | None:
    if len(series) < 2:
        return None
    entries = [
        tag("span", tag("i", class_=f"swatch colour-{line.colour % _NUM_COLOURS}"), line.name) for line in series
    ]
    return tag("figcaption", entries, class_="legend")
