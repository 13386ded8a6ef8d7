"""HTML elements and charts as inline SVG, which follow the page's light or dark colours; every text is escaped."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeAlias
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

Child: TypeAlias = "str | Element | Iterable[Child] | None"

# Controls, which markup may not hold, and the marks by which a text could reorder the page around it.
_UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff\ufffe\uffff]"
)


def element(name: str, /, *children: Child, **attributes: object) -> Element:
    """Makes an element.

    Args:
        name: Of the element.
        *children: Text, elements, or nested sequences of them; `None` is nothing.
        **attributes: Underscores become hyphens, but one at the end is dropped (`class_`); `None` leaves one out.
    """
    made = Element(name)
    for key, value in attributes.items():
        if value is not None:
            made.set(key.rstrip("_").replace("_", "-"), _seen(str(value)))
    _fill(made, children)
    return made


def page(head: Iterable[Element], body: Iterable[Element]) -> str:
    """A whole document.

    Args:
        head: Title, style and so on.
        body: What is seen.
    """
    # As HTML, not XML: a style sheet is then left as it is, and empty elements are spelt as browsers expect.
    root = element("html", element("head", head), element("body", body), lang="en")
    return "<!doctype html>\n" + ElementTree.tostring(root, encoding="unicode", method="html") + "\n"


def _fill(parent: Element, children: Iterable[Child]) -> None:
    for child in children:
        if isinstance(child, Element):
            parent.append(child)
        elif isinstance(child, str):
            _append_text(parent, _seen(child))
        elif child is not None:
            _fill(parent, child)


def _append_text(parent: Element, text: str) -> None:
    if len(parent):
        parent[-1].tail = (parent[-1].tail or "") + text
    else:
        parent.text = (parent.text or "") + text


def _seen(text: str) -> str:
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)


Number: TypeAlias = int | float
_WIDTH, _HEIGHT = 460, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 16, 44
_NUM_COLOURS = 10


class Bar(NamedTuple):
    """A bar from 0 to `value`; `begin` and `end` place it on the x axis."""

    begin: Number
    end: Number
    value: Number
    title: str


class Line(NamedTuple):
    """A named line through points `(x, y)`."""

    name: str
    points: Sequence[tuple[Number, Number]]


class Axis(NamedTuple):
    """An axis: its name, its range, and where it is labelled."""

    name: str
    start: Number
    stop: Number
    labels: Sequence[tuple[Number, str]]
    logarithmic: bool = False

    def scale(self, first: Number, last: Number) -> Callable[[Number], float]:
        """Maps values to `first..last`."""
        grow = math.log if self.logarithmic else float
        start, stop = grow(self.start), grow(self.stop)
        return lambda value: round(first + (grow(value) - start) / (stop - start) * (last - first), 2)


def linear_axis(name: str, stop: Number) -> Axis:
    """An axis from 0.

    Args:
        name: Of the axis, with its unit.
        stop: Greatest value, above 0.
    """
    power = 10.0 ** math.floor(math.log10(stop / 4))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= stop / 4 * 0.999)
    places = [step * i for i in range(math.floor(stop / step + 1e-9) + 1)]
    return Axis(name, 0.0, stop, [(place, f"{place:,.10g}") for place in places])


def logarithmic_axis(name: str, start: Number, stop: Number) -> Axis:
    """An axis that is labelled at powers of ten, or at 1, 2 and 5 times them where it spans few.

    Args:
        name: Of the axis, with its unit.
        start: Least value, above 0.
        stop: Greatest value.
    """
    stop = max(stop, start * 1.01)
    powers = range(math.floor(math.log10(start)), math.ceil(math.log10(stop)) + 1)
    factors = (1,) if math.log10(stop / start) > 2.5 else (1, 2, 5)
    # At most six powers: more would run into each other.
    thinned = powers[:: -(-len(powers) // 6)] if factors == (1,) else powers
    places = [factor * 10.0**power for power in thinned for factor in factors]
    labels = [(place, _short(place)) for place in places if start * 0.999 <= place <= stop * 1.001]
    return Axis(name, start, stop, labels, logarithmic=True)


def named_axis(name: str, labels: Sequence[str]) -> Axis:
    """An axis of places 0 to 1, 1 to 2, ..., each with a name.

    Args:
        name: Of the axis.
        labels: Of the places; of more than 16 not all are written.
    """
    step = -(-len(labels) // 16)
    return Axis(name, 0.0, float(len(labels)), [(i + 0.5, labels[i]) for i in range(0, len(labels), step)])


def bar_chart(title: str, bars: Sequence[Bar], x: Axis, y: Axis, *, shown: bool = False) -> Element:
    """Bars from 0 upwards.

    Args:
        title: What is seen, for those who cannot see it.
        bars: At least one.
        x: Places of the bars.
        y: From 0.
        shown: Write each value above its bar.
    """
    across, up = x.scale(_LEFT, _WIDTH - _RIGHT), y.scale(_HEIGHT - _BOTTOM, _TOP)
    drawn = [
        element(
            "rect",
            element("title", bar.title),
            x=across(bar.begin),
            y=up(bar.value),
            width=round(across(bar.end) - across(bar.begin), 2),
            height=round(up(0) - up(bar.value), 2),
            class_="bar colour-0",
        )
        for bar in bars
    ]
    values = [
        element(
            "text", _short(bar.value), x=(across(bar.begin) + across(bar.end)) / 2, y=up(bar.value) - 4, class_="tick"
        )
        for bar in bars
        if shown
    ]
    return _figure(title, [*_axes(x, y), *drawn, *values])


def line_chart(title: str, lines: Sequence[Line], x: Axis, y: Axis) -> Element:
    """Lines over one x axis, with a legend.

    Args:
        title: What is seen, for those who cannot see it.
        lines: At least one, of points on the axes.
        x: Places of the points.
        y: Their values.
    """
    across, up = x.scale(_LEFT, _WIDTH - _RIGHT), y.scale(_HEIGHT - _BOTTOM, _TOP)
    drawn = [
        element(
            "polyline",
            element("title", line.name),
            points=" ".join(f"{across(a)},{up(b)}" for a, b in line.points),
            class_=f"line colour-{index % _NUM_COLOURS}",
        )
        for index, line in enumerate(lines)
    ]
    return _figure(title, [*_axes(x, y), *drawn], _legend([line.name for line in lines]))


def share_strip(title: str, shares: Sequence[tuple[str, Number]]) -> Element:
    """One strip divided into shares, with a legend.

    Args:
        title: What is seen, for those who cannot see it.
        shares: Name and share of each part; they sum to 1.
    """
    begin, parts = 0.0, []
    for index, (name, share) in enumerate(shares):
        parts.append(
            element(
                "rect",
                element("title", f"{name}: {share:.1%}"),
                x=round(begin * 1000, 2),
                y=0,
                width=round(share * 1000, 2),
                height=28,
                class_=f"part colour-{index % _NUM_COLOURS}",
            )
        )
        begin += share
    # Stretched to the page's width, whatever that is: there is no text inside that this would distort.
    strip = element(
        "svg",
        element("title", title),
        parts,
        viewBox="0 0 1000 28",
        preserveAspectRatio="none",
        role="img",
        class_="strip",
    )
    return element("figure", strip, _legend([f"{name} {share:.1%}" for name, share in shares]))


def _figure(title: str, drawn: Sequence[Element], legend: Element | None = None) -> Element:
    picture = element("svg", element("title", title), drawn, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img")
    return element("figure", element("figcaption", title), picture, legend)


def _axes(x: Axis, y: Axis) -> list[Element]:
    across, up = x.scale(_LEFT, _WIDTH - _RIGHT), y.scale(_HEIGHT - _BOTTOM, _TOP)
    bottom = _HEIGHT - _BOTTOM
    lines = [element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=up(v), y2=up(v), class_="grid") for v, _ in y.labels]
    left = [element("text", name, x=_LEFT - 7, y=up(value) + 4, class_="tick end") for value, name in y.labels]
    below = [element("text", name, x=across(value), y=bottom + 17, class_="tick") for value, name in x.labels]
    middle = ((_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + bottom) / 2)
    names = [
        element("text", x.name, x=middle[0], y=_HEIGHT - 8, class_="tick"),
        element("text", y.name, transform=f"translate(13 {middle[1]}) rotate(-90)", class_="tick"),
    ]
    return [*lines, *left, *below, *names]


def _legend(names: Sequence[str]) -> Element:
    entries = [
        element("span", element("i", class_=f"swatch colour-{index % _NUM_COLOURS}"), name)
        for index, name in enumerate(names)
    ]
    return element("div", entries, class_="legend")


def _short(value: Number) -> str:
    """A number in few characters: 0.02, 3.5, 512, 1.2k, 3M."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"
