"""The card as one HTML page, with figures, that loads nothing."""

import importlib.resources
from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element

import numpy as np

from audio_tokenize.inspection import card_facts as facts
from audio_tokenize.inspection.statistics import CorpusStatistics
from audio_tokenize.inspection.svg_charts import (
    Bar,
    Line,
    bar_chart,
    element,
    line_chart,
    linear_axis,
    logarithmic_axis,
    named_axis,
    page,
    share_strip,
)

# Nothing may be loaded, so that no name in a corpus can reach out, whatever it is.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_POINTS = 60


def card_page(statistics: CorpusStatistics) -> str:
    """The page.

    Args:
        statistics: What was counted.

    Returns:
        HTML that needs no other file and no network.
    """
    style = importlib.resources.files("audio_tokenize.inspection").joinpath("card.css").read_text(encoding="utf-8")
    policy = element("meta", content=_POLICY)
    policy.set("http-equiv", "Content-Security-Policy")
    head = [
        element("meta", charset="utf-8"),
        policy,
        element("meta", name="generator", content="audio-tokenize"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", statistics.name),
        element("style", style),
    ]
    counts = [
        element("div", element("b", value), element("span", name), class_="count")
        for value, name in facts.headline(statistics)
    ]
    body = [
        element("h1", statistics.name),
        element("p", facts.summary(statistics).replace("`", ""), class_="muted"),
        element("div", counts, class_="counts"),
        *_figures(statistics),
        element("h2", "What it is and how it was made"),
        element("dl", [(element("dt", name), element("dd", value)) for name, value in facts.description(statistics)]),
        *(part for table in facts.tables(statistics) for part in _table(table)),
    ]
    return page(head, body)


def _table(table: facts.Table) -> tuple[Element, Element]:
    head = element("thead", element("tr", [element("th", name, scope="col") for name in table.columns]))
    rows = element("tbody", [element("tr", [element("td", cell) for cell in row]) for row in table.rows])
    return element("h2", table.title), element("div", element("table", head, rows), class_="table")


def _figures(statistics: CorpusStatistics) -> Iterable[Element]:
    shares = _shares(statistics)
    if statistics.form == "dataset" and shares:
        yield element("h2", "Tokens")
        yield share_strip("Tokens by kind", shares)
    charts = [_durations(statistics)] if len(statistics.durations) else []
    if statistics.codebooks:
        charts += [_perplexities(statistics), _usage(statistics)]
        charts += [_repetition(statistics)] if statistics.codebooks[0].repeated_fraction is not None else []
    if charts:
        yield element("h2", "Figures")
        yield element("div", charts, class_="figures")


def _shares(statistics: CorpusStatistics) -> list[tuple[str, float]]:
    total = max(1, statistics.num_tokens)
    return [(kind.replace("_", " "), amount / total) for kind, amount in statistics.tokens_by_kind.items() if amount]


def _durations(statistics: CorpusStatistics) -> Element:
    bins = statistics.durations.histogram()
    bars = [
        Bar(
            b.begin_seconds,
            b.end_seconds,
            b.num_lengths,
            f"{b.begin_seconds:.3g} to {b.end_seconds:.3g} s: {b.num_lengths:,}",
        )
        for b in bins
    ]
    return bar_chart(
        "Length of a document",
        bars,
        logarithmic_axis("seconds", bins[0].begin_seconds, bins[-1].end_seconds),
        linear_axis("documents", max(bar.value for bar in bars)),
    )


def _perplexities(statistics: CorpusStatistics) -> Element:
    values = [use.perplexity for use in statistics.codebooks]
    size = statistics.codebooks[0].codebook_size
    return _by_codebook(f"Perplexity of each codebook (at most {size:,})", values, "perplexity")


def _repetition(statistics: CorpusStatistics) -> Element:
    values = [100 * (use.repeated_fraction or 0.0) for use in statistics.codebooks]
    return _by_codebook("Frames with the code of the frame before", values, "percent")


def _by_codebook(title: str, values: Sequence[float], unit: str) -> Element:
    bars = [Bar(i + 0.15, i + 0.85, value, f"codebook {i}: {value:,.4g}") for i, value in enumerate(values)]
    x = named_axis("codebook", [str(i) for i in range(len(values))])
    return bar_chart(title, bars, x, linear_axis(unit, 1.1 * (max(values) or 1.0)), shown=len(values) <= 16)


def _usage(statistics: CorpusStatistics) -> Element:
    curves = [
        Line(f"codebook {use.codebook}", _by_rank(statistics.code_counts[use.codebook]))
        for use in statistics.codebooks
        if use.num_used
    ]
    ends = [curve.points[place] for curve in curves for place in (0, -1)]
    return line_chart(
        "How often codes occur, by rank",
        curves,
        logarithmic_axis("rank", 1, max(x for x, _ in ends)),
        logarithmic_axis("share of codes, %", min(y for _, y in ends), max(y for _, y in ends)),
    )


def _by_rank(counts: np.ndarray) -> list[tuple[float, float]]:
    """Percentages by rank, at ranks a constant factor apart."""
    found = 100 * np.sort(counts[counts > 0])[::-1] / counts.sum()
    ranks = np.unique(np.geomspace(1, len(found), _POINTS).round().astype(int))
    return [(float(rank), float(found[rank - 1])) for rank in ranks]
