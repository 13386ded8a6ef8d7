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
    parts = [f"<h1>{html.escape(title)}</h1>", tokens_figure({c: e["tokens_by_kind"] for c, e in corpora.items()})]
    parts.append(_table(corpora, report["total"]))
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return f"<!doctype html>\n<html lang=en><head>{head}</head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"


def tokens_figure(tokens_by_kind: Mapping[str, Mapping[str, int]]) -> str:
    """One bar a corpus, as long as it has tokens, in a colour for each kind: an SVG element.

    Args:
        tokens_by_kind: Tokens of each kind, by corpus. All corpora have the same kinds.
    """
    kinds = list(next(iter(tokens_by_kind.values())))
    longest = max(1, *(sum(tokens.values()) for tokens in tokens_by_kind.values()))
    legend_rows = -(-len(kinds) * _LEGEND // _WIDTH)
    top = _ROW * legend_rows
    height = top + _ROW * len(tokens_by_kind)
    shapes = [_legend(kinds)]
    for row, (corpus, tokens) in enumerate(tokens_by_kind.items()):
        shapes += _bar(corpus, tokens, top + row * _ROW, (_WIDTH - _LABEL - 90) / longest)
    label = "Tokens by kind and corpus"
    return f'<svg viewBox="0 0 {_WIDTH} {height}" width="100%" role="img" aria-label="{label}">{"".join(shapes)}</svg>'


def _legend(kinds: Iterable[str]) -> str:
    shapes, per_row = [], _WIDTH // _LEGEND
    for i, kind in enumerate(kinds):
        x, y = i % per_row * _LEGEND, i // per_row * _ROW
        shapes.append(f'<rect x="{x}" y="{y + 4}" width="12" height="12" fill="{_colour(i)}"/>')
        shapes.append(f'<text x="{x + 16}" y="{y + 14}">{html.escape(kind)}</text>')
    return "".join(shapes)


def _bar(corpus: str, tokens: Mapping[str, int], y: int, pixels_per_token: float) -> list[str]:
    shapes = [f'<text x="0" y="{y + 14}">{html.escape(corpus)}</text>']
    x = float(_LABEL)
    for i, (kind, count) in enumerate(tokens.items()):
        width = count * pixels_per_token
        if count:
            title = f"<title>{html.escape(corpus)}, {html.escape(kind)}: {count:,} tokens</title>"
            size = f'x="{x:.2f}" y="{y}" width="{width:.2f}" height="{_BAR}"'
            shapes.append(f'<rect {size} fill="{_colour(i)}">{title}</rect>')
        x += width
    shapes.append(f'<text x="{x + 6:.2f}" y="{y + 14}">{sum(tokens.values()):,}</text>')
    return shapes


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
