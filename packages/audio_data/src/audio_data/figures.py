"""The counts of datasets as one HTML page with a figure: tokens by kind and corpus, and epochs of a run."""

import html
from collections.abc import Iterable, Mapping
from typing import Any

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
    "body{font-family:system-ui,sans-serif;margin:2em auto;max-width:960px;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #ddd}"
    "td:first-child,th:first-child{text-align:left}svg text{font-size:12px;fill:#222}"
)


def statistics_page(report: Mapping[str, Any], title: str) -> str:
    """The page, whole in itself: no script, no outside file.

    Args:
        report: What `describe_datasets` says.
        title: Heading of the page.
    """
    corpora: Mapping[str, Mapping[str, Any]] = report["corpora"]
    tokens = {corpus: entry["tokens_by_kind"] for corpus, entry in corpora.items()}
    epochs = {corpus: {"epochs": entry["epochs"]} for corpus, entry in corpora.items() if "epochs" in entry}
    parts = [f"<h1>{html.escape(title)}</h1>", "<h2>Tokens by kind</h2>", bars(tokens, "tokens")]
    if epochs:
        parts += ["<h2>How often the run reads each corpus</h2>", bars(epochs, "times")]
    parts.append(_table(corpora, report["total"]))
    head = f'<meta charset="utf-8">{GENERATOR}<title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return f"<!doctype html>\n<html lang=en><head>{head}</head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"


def bars(values: Mapping[str, Mapping[str, int | float]], unit: str) -> str:
    """One bar a corpus, as long as the sum of its values, in a colour for each kind: an SVG element.

    Args:
        values: A value of each kind, by corpus. All corpora have the same kinds.
        unit: What is counted, in the plural.
    """
    kinds = list(next(iter(values.values())))
    longest = max(sum(parts.values()) for parts in values.values()) or 1
    top = _ROW * -(-len(kinds) // (_WIDTH // _LEGEND))
    shapes = [_legend(kinds)]
    for row, (corpus, parts) in enumerate(values.items()):
        shapes += _bar(corpus, parts, unit, top + row * _ROW, (_WIDTH - _LABEL - 120) / longest)
    height = top + _ROW * len(values)
    label = f"{unit} by corpus"
    return f'<svg viewBox="0 0 {_WIDTH} {height}" width="100%" role="img" aria-label="{label}">{"".join(shapes)}</svg>'


def _legend(kinds: Iterable[str]) -> str:
    shapes, per_row = [], _WIDTH // _LEGEND
    for i, kind in enumerate(kinds):
        x, y = i % per_row * _LEGEND, i // per_row * _ROW
        shapes.append(f'<rect x="{x}" y="{y + 4}" width="12" height="12" fill="{_colour(i)}"/>')
        shapes.append(f'<text x="{x + 16}" y="{y + 14}">{html.escape(kind)}</text>')
    return "".join(shapes)


def _bar(corpus: str, parts: Mapping[str, int | float], unit: str, y: int, pixels: float) -> list[str]:
    shapes = [f'<text x="0" y="{y + 14}">{html.escape(corpus)}</text>']
    x = float(_LABEL)
    for i, (kind, value) in enumerate(parts.items()):
        width = value * pixels
        if value:
            title = f"<title>{html.escape(corpus)}, {html.escape(kind)}: {_number(value)} {unit}</title>"
            size = f'x="{x:.2f}" y="{y}" width="{width:.2f}" height="{_BAR}"'
            shapes.append(f'<rect {size} fill="{_colour(i)}">{title}</rect>')
        x += width
    shapes.append(f'<text x="{x + 6:.2f}" y="{y + 14}">{_number(sum(parts.values()))}</text>')
    return shapes


def _number(value: int | float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def _colour(index: int) -> str:
    return _COLOURS[index] if index < 2 else _COLOURS[2 + (index - 2) % (len(_COLOURS) - 2)]


def _table(corpora: Mapping[str, Mapping[str, Any]], total: Mapping[str, Any]) -> str:
    extra = [name for name in ("weight", "epochs") if any(name in entry for entry in corpora.values())]
    lines = [["corpus", "documents", "tokens", "hours", *extra]]
    for corpus, entry in {**corpora, "total": total}.items():
        hours = entry["audio_seconds"] / 3600
        counts = [f"{entry['num_documents']:,}", f"{entry['num_tokens']:,}", f"{hours:,.2f}"]
        lines.append([corpus, *counts, *(f"{entry[name]:.4g}" if name in entry else "" for name in extra)])
    head, *rows = lines
    cells = ["<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>"]
    cells += ["<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return "<table>" + "\n".join(cells) + "</table>"
