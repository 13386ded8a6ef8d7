"""Figures and sounds of a report, as parts of one file.

Figures are lines with the starts of stages, grouped bars with intervals, and intervals in table cells. Sounds and their
spectrograms are data URIs.
"""

import base64
import io
import math
import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import soundfile
from jaxtyping import Float, UInt8

from audio_data import charts
from audio_data.markup import Markup, join, tag

WIDE, NARROW = (880, 320), (440, 230)
_NUMBER = "{:,g}".format


class ScoreBar(NamedTuple):
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


def bar_chart(
    groups: Sequence[tuple[str, Sequence[ScoreBar]]], *, y_label: str, size: tuple[int, int] = WIDE
) -> Markup:
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


_WINDOW_SECONDS, _HOP_SECONDS = 0.025, 0.01
_ROWS = 72
_LOWEST_HZ, _HIGHEST_HZ = 60.0, 9_000.0
_RANGE_DB = 65.0
# Dark to bright, evenly spaced; a spectrogram is drawn with 256 steps between these.
_PALETTE_ANCHORS = (
    (8, 8, 24),
    (49, 22, 97),
    (121, 34, 120),
    (195, 60, 98),
    (245, 125, 70),
    (254, 204, 120),
    (253, 246, 220),
)


def player(samples: Float[np.ndarray, " samples"], sample_rate_hz: int, label: str) -> Markup:
    """Make a player for mono samples in -1..1, embedded as FLAC: lossless, and every current browser plays it."""
    stream = io.BytesIO()
    soundfile.write(stream, np.clip(samples, -1.0, 1.0), sample_rate_hz, format="FLAC", subtype="PCM_16")
    source = data_uri("audio/flac", stream.getvalue())
    return tag("audio", controls=True, preload="metadata", src=source, aria_label=label)


def spectrogram(samples: Float[np.ndarray, " samples"], sample_rate_hz: int, label: str) -> Markup:
    """Make a picture of the loudness over time and mel-spaced frequency, 60 Hz to 9 kHz, 65 dB from dark to bright."""
    return tag("img", src=data_uri("image/png", encode_png(loudness(samples, sample_rate_hz))), alt=label)


def data_uri(media_type: str, content: bytes) -> str:
    """Return bytes as a `data:` address."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def loudness(samples: Float[np.ndarray, " samples"], sample_rate_hz: int) -> UInt8[np.ndarray, "rows columns"]:
    """Return a spectrogram, highest frequency in the first row, 255 at the loudest point and 0 at 65 dB below it."""
    window, hop = int(_WINDOW_SECONDS * sample_rate_hz), int(_HOP_SECONDS * sample_rate_hz)
    padded = np.pad(samples.astype(np.float64), (window // 2, window))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(window), axis=1)) ** 2
    bins = _mel_frequencies(sample_rate_hz) * window / sample_rate_hz
    lower = np.floor(bins).astype(int)
    upper_share = bins - lower
    rows = power[:, lower] * (1 - upper_share) + power[:, lower + 1] * upper_share
    decibels = 10 * np.log10(rows.T + 1e-10)
    return np.clip((decibels - decibels.max()) / _RANGE_DB * 255 + 255, 0, 255).astype(np.uint8)


def _mel_frequencies(sample_rate_hz: int) -> Float[np.ndarray, " rows"]:
    highest_hz = min(_HIGHEST_HZ, sample_rate_hz / 2 * 0.95)
    low, high = (2595 * np.log10(1 + frequency / 700) for frequency in (_LOWEST_HZ, highest_hz))
    return 700 * (10 ** (np.linspace(high, low, _ROWS) / 2595) - 1)


def encode_png(levels: UInt8[np.ndarray, "rows columns"]) -> bytes:
    """Encode levels 0..255 as a PNG with this module's palette: one byte a pixel before compression."""
    rows, columns = levels.shape
    header = struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)
    # Every row begins with its filter type, 0 for none.
    pixels = np.concatenate([np.zeros((rows, 1), np.uint8), levels], axis=1).tobytes()
    chunks = ((b"IHDR", header), (b"PLTE", _palette()), (b"IDAT", zlib.compress(pixels, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def _palette() -> bytes:
    positions = np.linspace(0, 255, len(_PALETTE_ANCHORS))
    anchors = np.array(_PALETTE_ANCHORS)
    channels = [np.interp(np.arange(256), positions, anchors[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=1).round().astype(np.uint8).tobytes()
