"""SVG charts from numbers: axes, lines, points, bars and legends, in the light or dark colours of the page.

A page that holds charts includes `chart_style()`, the style sheet of their classes and colours.
"""

import importlib.resources
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

from audio_data.markup import Markup, join, tag

Number: TypeAlias = int | float
NUM_COLOURS = 10
SMALL = (460, 250)
_MARGINS = (60, 14, 16, 44)


class Axis(NamedTuple):
    """An axis: its name, its range, and where it is labelled."""

    name: str
    start: Number
    stop: Number
    labels: Sequence[tuple[Number, str]]
    logarithmic: bool = False

    def scale(self, first: Number, last: Number) -> Callable[[Number], float]:
        """Return the function from values to pixels `first..last`; a range without extent counts as one of 1."""
        grow = math.log if self.logarithmic else float
        start = grow(self.start)
        extent = (grow(self.stop) - start) or 1.0
        return lambda value: round(first + (grow(value) - start) / extent * (last - first), 2)


class Line(NamedTuple):
    """A named line through points `(x, y)`; a value that is not finite breaks it."""

    name: str
    points: Sequence[tuple[Number, Number]]
    colour: int = 0


class Bar(NamedTuple):
    """A bar from 0 to `value`, between two places of the x axis, with the interval of its value where there is one."""

    begin: Number
    end: Number
    value: Number
    title: str
    low: Number | None = None
    high: Number | None = None
    colour: int = 0


def ticks(start: Number, stop: Number, count: int = 5) -> list[float]:
    """Return round values (1, 2 or 5 times a power of ten apart) that lie within `start..stop`.

    Args:
        start: Least value.
        stop: Greatest value.
        count: About how many steps.
    """
    if not stop > start:
        return [float(start)]
    rough = (stop - start) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(start / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(stop / step + 1e-9) + 1)]


def linear_axis(
    name: str, start: Number, stop: Number, *, count: int = 4, written: Callable[[Number], str] = "{:,.10g}".format
) -> Axis:
    """Make an axis that is labelled at round values.

    Args:
        name: Of the axis, with its unit.
        start: Least value.
        stop: Greatest value.
        count: About how many labels.
        written: How a label is written.
    """
    return Axis(name, start, stop, [(place, written(place)) for place in ticks(start, stop, count)])


def short(value: Number) -> str:
    """Return a number in few characters: 0.02, 3.5, 512, 1.2k, 3M."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"


def logarithmic_axis(name: str, start: Number, stop: Number, *, written: Callable[[Number], str] = short) -> Axis:
    """Make an axis that is labelled at powers of ten, at 1, 2 and 5 times them, or at round values: what its range has.

    Args:
        name: Of the axis, with its unit.
        start: Least value, above 0.
        stop: Greatest value.
        written: How a label is written.
    """
    stop = max(stop, start * 1.01)
    powers = range(math.floor(math.log10(start)), math.ceil(math.log10(stop)) + 1)
    factors = (1,) if math.log10(stop / start) > 2.5 else (1, 2, 5)
    # At most six powers: more would run into each other.
    thinned = powers[:: -(-len(powers) // 6)] if factors == (1,) else powers
    places = [factor * 10.0**power for power in thinned for factor in factors]
    found = [place for place in places if start * 0.999 <= place <= stop * 1.001]
    if len(found) < 2 and stop > 1.1 * start:
        found = ticks(start, stop)
    return Axis(name, start, stop, [(place, written(place)) for place in found], logarithmic=True)


def named_axis(name: str, labels: Sequence[str], *, most: int = 16) -> Axis:
    """Make an axis of places 0 to 1, 1 to 2, ..., each with a name.

    Args:
        name: Of the axis.
        labels: Of the places.
        most: Of more labels than this, only some are written.
    """
    step = -(-len(labels) // most)
    return Axis(name, 0.0, float(len(labels)), [(i + 0.5, labels[i]) for i in range(0, len(labels), step)])


@dataclass(frozen=True)
class Frame:
    """The area of a chart in which data are drawn.

    Attributes:
        x: Horizontal axis.
        y: Vertical axis.
        size: Width and height of the whole chart, in pixels.
        margins: To the left, to the right, above and below the area.
    """

    x: Axis
    y: Axis
    size: tuple[Number, Number] = SMALL
    margins: tuple[Number, Number, Number, Number] = _MARGINS

    @property
    def right(self) -> Number:
        """Where the area ends on the right, in pixels."""
        return self.size[0] - self.margins[1]

    @property
    def bottom(self) -> Number:
        """Where the area ends below, in pixels."""
        return self.size[1] - self.margins[3]

    @cached_property
    def across(self) -> Callable[[Number], float]:
        """The function from values of the x axis to pixels."""
        return self.x.scale(self.margins[0], self.right)

    @cached_property
    def up(self) -> Callable[[Number], float]:
        """The function from values of the y axis to pixels."""
        return self.y.scale(self.bottom, self.margins[2])

    def axes(self, *, vertical_grid: bool = False) -> Markup:
        """Draw the axes: a line at each label of the y axis, the labels, and the names.

        Args:
            vertical_grid: Draw lines at the labels of the x axis as well.
        """
        left, _, top, _ = self.margins
        across = [(self.across(value), name) for value, name in self.x.labels]
        up = [(self.up(value), name) for value, name in self.y.labels]
        middle = f"translate(13 {(top + self.bottom) / 2}) rotate(-90)"
        return join(
            [tag("line", x1=x, x2=x, y1=top, y2=self.bottom, class_="grid") for x, _ in across if vertical_grid],
            [tag("line", x1=left, x2=self.right, y1=y, y2=y, class_="grid") for y, _ in up],
            [tag("text", name, x=left - 8, y=y + 4, class_="end") for y, name in up],
            [tag("text", name, x=x, y=self.bottom + 18) for x, name in across],
            tag("text", self.x.name, x=(left + self.right) / 2, y=self.size[1] - 8) if self.x.name else None,
            tag("text", self.y.name, transform=middle),
        )

    def line(self, line: Line) -> Markup:
        """Draw a line."""
        commands, pen = [], "M"
        for x, y in line.points:
            if math.isfinite(y):
                commands.append(f"{pen}{self.across(x)} {self.up(y)}")
            pen = "L" if math.isfinite(y) else "M"
        return tag("path", tag("title", line.name), d="".join(commands), class_=f"line {colour(line.colour)}")

    def bar(self, bar: Bar) -> Markup:
        """Draw a bar, and its interval."""
        left, right, top = self.across(bar.begin), self.across(bar.end), self.up(bar.value)
        size = {"width": round(right - left, 2), "height": round(self.up(0.0) - top, 2)}
        shape = tag(
            "rect", tag("title", bar.title), x=left, y=top, attributes=size, class_=f"bar fill {colour(bar.colour)}"
        )
        if bar.low is None or bar.high is None:
            return shape
        x = round((left + right) / 2, 2)
        return join(shape, tag("line", x1=x, x2=x, y1=self.up(bar.low), y2=self.up(bar.high), class_="whisker"))

    def mark(self, place: Number, name: str) -> Markup:
        """Draw a named vertical line at a place of the x axis."""
        x = self.across(place)
        line = tag("line", x1=x, x2=x, y1=self.margins[2], y2=self.bottom, class_="mark")
        return join(line, tag("text", name, x=x + 4, y=self.bottom - 6, class_="start"))


def line_chart(
    title: str,
    lines: Sequence[Line],
    x: Axis,
    y: Axis,
    *,
    size: tuple[Number, Number] = SMALL,
    marks: Sequence[tuple[Number, str]] = (),
) -> Markup:
    """Draw lines over one x axis.

    Args:
        title: What is seen, for those who cannot see it.
        lines: Lines, on the axes.
        x: Places of the points.
        y: Their values.
        size: Width and height in pixels.
        marks: Vertical lines `(x, name)`, such as the start of a stage; those at the ends of the axis are left out.
    """
    frame = Frame(x, y, size)
    inside = [frame.mark(place, name) for place, name in marks if x.start < place < x.stop]
    return svg(title, join(frame.axes(), inside, map(frame.line, lines)), size)


def bar_chart(
    title: str, bars: Sequence[Bar], x: Axis, y: Axis, *, size: tuple[Number, Number] = SMALL, shown: bool = False
) -> Markup:
    """Draw bars from 0 upwards.

    Args:
        title: What is seen, for those who cannot see it.
        bars: Bars, on the axes.
        x: Places of the bars.
        y: From 0.
        size: Width and height in pixels.
        shown: Write each value above its bar.
    """
    frame = Frame(x, y, size)
    written = [
        tag("text", short(b.value), x=(frame.across(b.begin) + frame.across(b.end)) / 2, y=frame.up(b.value) - 4)
        for b in bars
        if shown
    ]
    return svg(title, join(frame.axes(), map(frame.bar, bars), written), size)


def share_strip(title: str, shares: Sequence[tuple[str, Number]]) -> Markup:
    """Draw one strip that is divided into shares.

    Args:
        title: What is seen, for those who cannot see it.
        shares: Name and share of each part; they sum to 1.
    """
    begin, parts = 0.0, []
    for index, (name, share) in enumerate(shares):
        place = {"x": round(begin * 1000, 2), "y": 0, "width": round(share * 1000, 2), "height": 28}
        parts.append(
            tag("rect", tag("title", f"{name}: {share:.1%}"), attributes=place, class_=f"fill {colour(index)}")
        )
        begin += share
    # Stretched to the page's width, whatever that is: there is no text inside that this would distort.
    return svg(title, join(parts), (1000, 28), {"preserveAspectRatio": "none", "class": "strip"})


def svg(
    title: str, content: Markup, size: tuple[Number, Number], attributes: Mapping[str, object] | None = None
) -> Markup:
    """Make a picture.

    Args:
        title: What is seen, for those who cannot see it.
        content: What is drawn.
        size: Width and height of the area that `content` is drawn in, in pixels.
        attributes: Further attributes of the element.
    """
    box = f"0 0 {size[0]:g} {size[1]:g}"
    return tag("svg", tag("title", title), content, attributes=attributes, viewBox=box, role="img")


def legend(names: Sequence[str], colours: Sequence[int] | None = None, element: str = "div") -> Markup:
    """Make a legend.

    Args:
        names: What each colour stands for.
        colours: The colours; None for 0, 1, 2, ....
        element: HTML element of the legend.
    """
    pairs = zip(names, colours or range(len(names)), strict=True)
    entries = [tag("span", tag("i", class_=f"swatch {colour(index)}"), name) for name, index in pairs]
    return tag(element, entries, class_="legend")


def colour(index: int) -> str:
    """Return the class of a colour; the colours repeat."""
    return f"colour-{index % NUM_COLOURS}"


def chart_style() -> str:
    """Return the style sheet of the classes and colours of charts."""
    return importlib.resources.files("audio_data").joinpath("charts.css").read_text(encoding="utf-8")
