"""Line and bar charts as standalone SVG files."""

from collections.abc import Sequence
from dataclasses import dataclass

from audio_data import charts, markup

WIDTH, HEIGHT = 640.0, 400.0
SVG_MARK = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img"><title>'.encode()
"""First bytes of every chart; a file without them was not written by this module and is not replaced."""
_LETTER = 6.4
"""Mean width of a letter of the labels."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 78.0, 172.0, 34.0, 54.0
_COLOURS = ("#0b6e99", "#d9730d", "#448361", "#9065b0", "#c14c8a", "#b8860b", "#d44c47", "#787774")
_STYLE = (
    "svg text{font-size:12px}svg .title{font-size:14px;font-weight:600;fill:var(--ink)}svg .star{font-size:18px}"
    f":root{{{''.join(f'--c{i}:{colour};' for i, colour in enumerate((*_COLOURS, *_COLOURS[:2])))}}}"
)


@dataclass(frozen=True)
class Series:
    """Points of one colour.

    Attributes:
        label: Label in the legend; "" for none.
        x: Horizontal values.
        y: Vertical values.
        style: `"points"`, `"line"` or `"stars"`.
        colour: Index into the palette.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    style: str = "points"
    colour: int = 0


def line_figure(
    title: str,
    x_label: str,
    y_label: str,
    series: Sequence[Series],
    *,
    log_x: bool = True,
    log_y: bool = False,
) -> str:
    """Draw points and lines over two axes.

    Args:
        title: Title.
        x_label: Label of the horizontal axis.
        y_label: Label of the vertical axis.
        series: Series, later ones on top; at least one point in total.
        log_x: Whether the horizontal axis is logarithmic.
        log_y: Whether the vertical axis is logarithmic.

    Returns:
        An SVG document.
    """
    xs, ys = [v for s in series for v in s.x], [v for s in series for v in s.y]
    axes = _axis(x_label, xs, logarithmic=log_x), _axis(y_label, ys, logarithmic=log_y)
    frame = charts.Frame(*axes, (WIDTH, HEIGHT), (_LEFT, _RIGHT, _TOP, _BOTTOM))
    legend = [
        (
            markup.tag("circle", cx=WIDTH - _RIGHT + 14, cy=_TOP + 8 + 18 * i, r=4, class_=_fill(one)),
            markup.tag("text", one.label, x=WIDTH - _RIGHT + 24, y=_TOP + 12 + 18 * i, class_="start"),
        )
        for i, one in enumerate(one for one in series if one.label)
    ]
    drawn = [_marks(one, frame) for one in series]
    return _document(title, markup.join(frame.axes(vertical_grid=True), drawn, legend))


def bar_figure(title: str, x_label: str, bars: Sequence[tuple[str, float]]) -> str:
    """Draw horizontal bars from zero.

    Args:
        title: Title.
        x_label: Label of the axis.
        bars: Label and length (at least 0) of each bar; at least one bar.

    Returns:
        An SVG document.
    """
    left = min(max(12 + _LETTER * max(len(label) for label, _ in bars), 120.0), 0.6 * WIDTH)
    row = min(26.0, (HEIGHT - _TOP - _BOTTOM) / len(bars))
    most = max(value for _, value in bars) or 1.0
    across = charts.linear_axis("", 0.0, most * 1.08).scale(left, WIDTH - 60)
    drawn = []
    for i, (label, value) in enumerate(bars):
        y, end = round(_TOP + row * i, 2), across(value)
        size = {"width": round(end - left, 2), "height": round(row - 4, 2)}
        drawn += [
            markup.tag("rect", x=left, y=y + 2, attributes=size, class_=f"fill {charts.colour(0)}"),
            markup.tag("text", label, x=left - 6, y=round(y + row / 2 + 4, 2), class_="end"),
            markup.tag("text", f"{value:.3g}", x=end + 4, y=round(y + row / 2 + 4, 2), class_="start"),
        ]
    bottom = round(_TOP + row * len(bars) + 20, 2)
    return _document(title, markup.join(drawn, markup.tag("text", x_label, x=(left + WIDTH - 60) / 2, y=bottom)))


def _axis(label: str, values: Sequence[float], *, logarithmic: bool) -> charts.Axis:
    low, high = min(values), max(values)
    if logarithmic:
        margin = max((high / low) ** 0.06, 1.05)
        return charts.logarithmic_axis(label, low / margin, high * margin, written=_number)
    margin = max(0.06 * (high - low), 1e-3 * abs(high), 1e-9)
    return charts.linear_axis(label, low - margin, high + margin, count=5, written=_number)


def _marks(one: Series, frame: charts.Frame) -> markup.Markup:
    if one.style == "line":
        return frame.line(charts.Line(one.label, list(zip(one.x, one.y, strict=True)), one.colour))
    places = [(frame.across(x), frame.up(y)) for x, y in zip(one.x, one.y, strict=True)]
    if one.style == "stars":
        return markup.join(markup.tag("text", "★", x=x, y=y + 6, class_=f"star {_fill(one)}") for x, y in places)
    return markup.join(markup.tag("circle", cx=x, cy=y, r=3.5, class_=_fill(one)) for x, y in places)


def _fill(one: Series) -> str:
    return f"fill {charts.colour(one.colour)}"


def _number(value: float) -> str:
    if value != 0 and (abs(value) >= 1e4 or abs(value) < 1e-3):
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:.4g}"


def _document(title: str, content: markup.Markup) -> str:
    style = markup.style_sheet(charts.chart_style() + _STYLE)
    heading = markup.tag("text", title, x=_LEFT, y=20, class_="title start")
    xmlns = {"xmlns": "http://www.w3.org/2000/svg"}
    return charts.svg(title, markup.join(style, heading, content), (WIDTH, HEIGHT), xmlns) + "\n"
