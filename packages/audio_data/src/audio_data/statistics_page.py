"""An HTML page with charts of the counts of datasets: tokens by kind and corpus, and epochs of a run."""

from collections.abc import Mapping, Sequence
from typing import Any

from audio_data import charts
from audio_data.markup import Markup, join, page, style_sheet, tag

# Paul Tol's muted scheme, told apart also by readers who do not see all colours; codebooks run through the rest.
_COLOURS = (
    "#332288",
    "#999933",
    "#88ccee",
    "#44aa99",
    "#117733",
    "#ddcc77",
    "#cc6677",
    "#882255",
    "#aa4499",
    "#bbbbbb",
)
GENERATOR = '<meta name="generator" content="audio-data">'
"""Element by which a page of this package is known."""

_WIDTH, _LABEL, _ROW, _BAR, _LEGEND = 900, 220, 30, 18, 110
_STYLE = (
    "body{font-family:system-ui,sans-serif;margin:2em auto;max-width:960px;color:var(--ink)}"
    "table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid var(--rule)}"
    "td:first-child,th:first-child{text-align:left}svg text{font-size:12px;fill:var(--ink);text-anchor:start}"
)


def statistics_page(report: Mapping[str, Any], title: str) -> str:
    """Return the page, whole in itself: no script, no outside file.

    Args:
        report: What `describe_datasets` says.
        title: Heading of the page.
    """
    corpora: Mapping[str, Mapping[str, Any]] = report["corpora"]
    tokens = {corpus: entry["tokens_by_kind"] for corpus, entry in corpora.items()}
    epochs = {corpus: {"epochs": entry["epochs"]} for corpus, entry in corpora.items() if "epochs" in entry}
    parts = [tag("h1", title), tag("h2", "Tokens by kind"), stacked_bars(tokens, "tokens")]
    if epochs:
        parts += [tag("h2", "How often the run reads each corpus"), stacked_bars(epochs, "times")]
    parts.append(_table(corpora, report["total"]))
    generator = tag("meta", name="generator", content="audio-data")
    return page([generator, tag("title", title), style_sheet(charts.chart_style() + _STYLE)], parts)


def stacked_bars(values: Mapping[str, Mapping[str, int | float]], unit: str) -> Markup:
    """Draw one bar a corpus, as long as the sum of its values, in a colour for each kind.

    Args:
        values: A value of each kind, by corpus. All corpora have the same kinds.
        unit: What is counted, in the plural.
    """
    kinds, per_line = list(next(iter(values.values()))), _WIDTH // _LEGEND
    longest = max(sum(parts.values()) for parts in values.values()) or 1
    across = charts.linear_axis(unit, 0.0, longest).scale(_LABEL, _WIDTH - 120)
    top = _ROW * -(-len(kinds) // per_line)
    shapes = [_legend_entry(kind, i, i % per_line * _LEGEND, i // per_line * _ROW) for i, kind in enumerate(kinds)]
    for row, (corpus, parts) in enumerate(values.items()):
        y, total = top + row * _ROW, 0
        shapes.append(tag("text", corpus, x=0, y=y + 14))
        for i, (kind, value) in enumerate(parts.items()):
            start, total = across(total), total + value
            title = tag("title", f"{corpus}, {kind}: {_number(value)} {unit}")
            size = {"width": round(across(total) - start, 2), "height": _BAR}
            shapes += [tag("rect", title, x=start, y=y, attributes=size, fill=_colour(i))] if value else []
        shapes.append(tag("text", _number(total), x=across(total) + 6, y=y + 14))
    return charts.svg(f"{unit} by corpus", join(shapes), (_WIDTH, top + _ROW * len(values)), {"width": "100%"})


def _legend_entry(kind: str, index: int, x: int, y: int) -> Markup:
    swatch = tag("rect", x=x, y=y + 4, width=12, height=12, fill=_colour(index))
    return join(swatch, tag("text", kind, x=x + 16, y=y + 14))


def _number(value: int | float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def _colour(index: int) -> str:
    return _COLOURS[index] if index < 2 else _COLOURS[2 + (index - 2) % (len(_COLOURS) - 2)]


def _table(corpora: Mapping[str, Mapping[str, Any]], total: Mapping[str, Any]) -> Markup:
    extra = [name for name in ("weight", "epochs") if any(name in entry for entry in corpora.values())]
    lines = [_row("th", ["corpus", "documents", "tokens", "hours", *extra])]
    for corpus, entry in {**corpora, "total": total}.items():
        hours = entry["audio_seconds"] / 3600
        counts = [f"{entry['num_documents']:,}", f"{entry['num_tokens']:,}", f"{hours:,.2f}"]
        lines.append(_row("td", [corpus, *counts, *(f"{entry[name]:.4g}" if name in entry else "" for name in extra)]))
    return tag("table", lines)


def _row(element: str, cells: Sequence[str]) -> Markup:
    return tag("tr", [tag(element, cell) for cell in cells])
