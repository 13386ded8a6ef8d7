"""Line and bar figures as SVG, drawn from numbers alone, with light and dark colours of the page they stand in."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640.0, 400.0
SVG_MARK = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img"><title>'.encode()
"""What every figure begins with; a file that does not is someone else's."""
LETTER = 6.4
"""Mean width of a letter of the labels."""
LEFT, RIGHT, TOP, BOTTOM = 78.0, 172.0, 34.0, 54.0
COLOURS = ("#0b6e99", "#d9730d", "#448361", "#9065b0", "#c14c8a", "#b8860b", "#d44c47", "#787774")


@dataclass(frozen=True)
class Series:
    """Points of one colour.

    Attributes:
        label: in the legend; "" for none.
        x: of the points.
        y: of the points.
        style: `"points"`, `"line"` or `"stars"`.
        colour: index into the palette.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    style: str = "points"
    colour: int = 0


@dataclass(frozen=True)
class _Axis:
    """A span of numbers on a span of pixels."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool

    def place(self, value: float) -> float:
        low, high, at = (math.log10(v) if self.logarithmic else v for v in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (at - low) / (high - low)

    def ticks(self) -> list[float]:
        if self.logarithmic:
            factors = (1.0,) if self.high / self.low > 300 else (1.0, 2.0, 5.0)
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)))
            places = [factor * 10.0**power for power in powers for factor in factors]
            found = [place for place in places if self.low <= place <= self.high]
            if len(found) > 1:
                return found
        step = 10.0 ** math.floor(math.log10((self.high - self.low) / 2))
        step *= next(m for m in (5, 2, 1, 0.5) if (self.high - self.low) / (step * m) >= 2.5)
        first = math.ceil(self.low / step)
        return [step * n for n in range(first, math.floor(self.high / step) + 1)]


def line_figure(
    title: str,
    x_label: str,
    y_label: str,
    series: Sequence[Series],
    *,
    log_x: bool = True,
    log_y: bool = False,
) -> str:
    """Points and lines over two axes.

    Args:
        title: above the figure.
        x_label: below the horizontal axis.
        y_label: beside the vertical axis.
        series: what to draw, later ones on top; at least one point in all.
        log_x: whether the horizontal axis is logarithmic.
        log_y: whether the vertical axis is.

    Returns:
        An SVG document.
    """
    xs, ys = [v for s in series for v in s.x], [v for s in series for v in s.y]
    x_axis = _axis(xs, LEFT, WIDTH - RIGHT, log_x)
    y_axis = _axis(ys, HEIGHT - BOTTOM, TOP, log_y)
    marks = [_marks(one, x_axis, y_axis) for one in series]
    legend = [one for one in series if one.label]
    labels = [
        f'<circle cx="{WIDTH - RIGHT + 14}" cy="{TOP + 8 + 18 * i}" r="4" fill="{_colour(one.colour)}"/>'
        f'<text x="{WIDTH - RIGHT + 24}" y="{TOP + 12 + 18 * i}">{escape(one.label)}</text>'
        for i, one in enumerate(legend)
    ]
    return _document(title, [*_grid(x_axis, y_axis, x_label, y_label), *marks, *labels])


def bar_figure(title: str, x_label: str, bars: Sequence[tuple[str, float]]) -> str:
    """Horizontal bars from zero.

    Args:
        title: above the figure.
        x_label: below the axis.
        bars: label and length of each, at least 0; at least one.

    Returns:
        An SVG document.
    """
    left = min(max(12 + LETTER * max(len(label) for label, _ in bars), 120.0), 0.6 * WIDTH)
    row = min(26.0, (HEIGHT - TOP - BOTTOM) / len(bars))
    most = max(value for _, value in bars) or 1.0
    axis = _Axis(0.0, most * 1.08, left, WIDTH - 60, logarithmic=False)
    parts = []
    for i, (label, value) in enumerate(bars):
        y, end = TOP + row * i, axis.place(value)
        parts.append(
            f'<rect x="{left}" y="{y + 2:.1f}" width="{end - left:.1f}" height="{row - 4:.1f}" fill="{_colour(0)}"/>'
            f'<text x="{left - 6}" y="{y + row / 2 + 4:.1f}" text-anchor="end">{escape(label)}</text>'
            f'<text x="{end + 4:.1f}" y="{y + row / 2 + 4:.1f}">{value:.3g}</text>'
        )
    bottom = TOP + row * len(bars) + 20
    parts.append(f'<text x="{(left + WIDTH - 60) / 2}" y="{bottom:.1f}" text-anchor="middle">{escape(x_label)}</text>')
    return _document(title, parts)


def _axis(values: Sequence[float], start: float, end: float, logarithmic: bool) -> _Axis:
    low, high = min(values), max(values)
    if logarithmic:
        margin = max((high / low) ** 0.06, 1.05)
        return _Axis(low / margin, high * margin, start, end, True)
    margin = max(0.06 * (high - low), 1e-3 * abs(high), 1e-9)
    return _Axis(low - margin, high + margin, start, end, False)


def _grid(x_axis: _Axis, y_axis: _Axis, x_label: str, y_label: str) -> list[str]:
    left, right, bottom, top = x_axis.start, x_axis.end, y_axis.start, y_axis.end
    parts = []
    for tick in x_axis.ticks():
        x = x_axis.place(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{top}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{_number(tick)}</text>')
    for tick in y_axis.ticks():
        y = y_axis.place(tick)
        parts.append(f'<line class="grid" x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{_number(tick)}</text>')
    middle_x, middle_y = (left + right) / 2, (bottom + top) / 2
    parts.append(f'<text x="{middle_x}" y="{bottom + 42}" text-anchor="middle">{escape(x_label)}</text>')
    turned = f'transform="rotate(-90 18 {middle_y})"'
    parts.append(f'<text x="18" y="{middle_y}" text-anchor="middle" {turned}>{escape(y_label)}</text>')
    return parts


def _marks(one: Series, x_axis: _Axis, y_axis: _Axis) -> str:
    colour = _colour(one.colour)
    places = [(x_axis.place(x), y_axis.place(y)) for x, y in zip(one.x, one.y, strict=True)]
    if one.style == "line":
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
    if one.style == "stars":
        return "".join(
            f'<text x="{x:.1f}" y="{y + 6:.1f}" class="star" style="fill:{colour}">★</text>' for x, y in places
        )
    return "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places)


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _number(value: float) -> str:
    if value != 0 and (abs(value) >= 1e4 or abs(value) < 1e-3):
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:.4g}"


def _document(title: str, parts: Sequence[str]) -> str:
    style = (
        "text{font:12px system-ui,sans-serif;fill:#444}.title{font-size:14px;font-weight:600}"
        ".grid{stroke:#8884;stroke-width:1}.star{font-size:18px;text-anchor:middle}"
        "@media(prefers-color-scheme:dark){text{fill:#bbb}}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img">'
        f"<title>{escape(title)}</title><style>{style}</style>"
        f'<text class="title" x="{LEFT}" y="20">{escape(title)}</text>{"".join(parts)}</svg>\n'
    )
