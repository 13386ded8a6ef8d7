"""Dataset cards: what a corpus or dataset holds, as a page, as the README of a dataset on a hub, and as text."""

import importlib.resources
import json
from collections.abc import Iterable, Sequence

import numpy as np

from audio_data import InputError, StoragePath, charts, markup, storage_path, write_output
from audio_tokenize.corpora.record_rules import escaped
from audio_tokenize.inspection import card_facts as facts
from audio_tokenize.inspection.statistics import CorpusStatistics

# Nothing may be loaded, so that no name in a corpus can reach out, whatever it is.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_POINTS = 60


def card_page(statistics: CorpusStatistics) -> str:
    """Return the page.

    Args:
        statistics: What was counted.

    Returns:
        HTML that needs no other file and no network.
    """
    style = importlib.resources.files("audio_tokenize.inspection").joinpath("card.css").read_text(encoding="utf-8")
    head = [
        markup.tag("meta", attributes={"http-equiv": "Content-Security-Policy", "content": _POLICY}),
        markup.tag("meta", name="generator", content="audio-tokenize"),
        markup.tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        markup.tag("title", statistics.name),
        markup.style_sheet(charts.chart_style() + style),
    ]
    counts = [
        markup.tag("div", markup.tag("b", value), markup.tag("span", name), class_="count")
        for value, name in facts.headline(statistics)
    ]
    body = [
        markup.tag("h1", statistics.name),
        markup.tag("p", facts.summary(statistics).replace("`", ""), class_="muted"),
        markup.tag("div", counts, class_="counts"),
        *_figures(statistics),
        markup.tag("h2", "What it is and how it was made"),
        markup.tag(
            "dl", [(markup.tag("dt", name), markup.tag("dd", value)) for name, value in facts.description(statistics)]
        ),
        *(part for table in facts.tables(statistics) for part in _html_table(table)),
    ]
    return markup.page(head, body)


def _html_table(table: facts.Table) -> tuple[markup.Markup, markup.Markup]:
    head = markup.tag("thead", markup.tag("tr", [markup.tag("th", name, scope="col") for name in table.columns]))
    rows = markup.tag("tbody", [markup.tag("tr", [markup.tag("td", cell) for cell in row]) for row in table.rows])
    return markup.tag("h2", table.title), markup.tag("div", markup.tag("table", head, rows), class_="table")


def _figures(statistics: CorpusStatistics) -> Iterable[markup.Markup]:
    shares = _shares(statistics)
    if statistics.form == "dataset" and shares:
        yield markup.tag("h2", "Tokens")
        names = charts.legend([f"{name} {share:.1%}" for name, share in shares])
        yield markup.tag("figure", charts.share_strip("Tokens by kind", shares), names)
    figures = [_durations(statistics)] if len(statistics.durations) else []
    if statistics.codebooks:
        figures += [_perplexities(statistics), _usage(statistics)]
        figures += [_repetition(statistics)] if statistics.codebooks[0].repeated_fraction is not None else []
    if figures:
        yield markup.tag("h2", "Figures")
        yield markup.tag("div", figures, class_="figures")


def _shares(statistics: CorpusStatistics) -> list[tuple[str, float]]:
    total = max(1, statistics.num_tokens)
    return [(kind.replace("_", " "), amount / total) for kind, amount in statistics.tokens_by_kind.items() if amount]


def _durations(statistics: CorpusStatistics) -> markup.Markup:
    bins = statistics.durations.histogram()
    bars = [
        charts.Bar(
            b.begin_seconds,
            b.end_seconds,
            b.num_lengths,
            f"{b.begin_seconds:.3g} to {b.end_seconds:.3g} s: {b.num_lengths:,}",
        )
        for b in bins
    ]
    x = charts.logarithmic_axis("seconds", bins[0].begin_seconds, bins[-1].end_seconds)
    y = charts.linear_axis("documents", 0, max(bar.value for bar in bars))
    return _figure("Length of a document", charts.bar_chart("Length of a document", bars, x, y))


def _perplexities(statistics: CorpusStatistics) -> markup.Markup:
    values = [use.perplexity for use in statistics.codebooks]
    size = statistics.codebooks[0].codebook_size
    return _by_codebook(f"Perplexity of each codebook (at most {size:,})", values, "perplexity")


def _repetition(statistics: CorpusStatistics) -> markup.Markup:
    values = [100 * (use.repeated_fraction or 0.0) for use in statistics.codebooks]
    return _by_codebook("Frames with the code of the frame before", values, "percent")


def _by_codebook(title: str, values: Sequence[float], unit: str) -> markup.Markup:
    bars = [charts.Bar(i + 0.15, i + 0.85, value, f"codebook {i}: {value:,.4g}") for i, value in enumerate(values)]
    x = charts.named_axis("codebook", [str(i) for i in range(len(values))])
    y = charts.linear_axis(unit, 0, 1.1 * (max(values) or 1.0))
    return _figure(title, charts.bar_chart(title, bars, x, y, shown=len(values) <= 16))


def _usage(statistics: CorpusStatistics) -> markup.Markup:
    used = [use.codebook for use in statistics.codebooks if use.num_used]
    curves = [charts.Line(f"codebook {k}", _by_rank(statistics.code_counts[k]), i) for i, k in enumerate(used)]
    ends = [curve.points[place] for curve in curves for place in (0, -1)]
    x = charts.logarithmic_axis("rank", 1, max(x for x, _ in ends))
    y = charts.logarithmic_axis("share of codes, %", min(y for _, y in ends), max(y for _, y in ends))
    title = "How often codes occur, by rank"
    return _figure(title, charts.line_chart(title, curves, x, y), charts.legend([curve.name for curve in curves]))


def _figure(title: str, *content: markup.Markup) -> markup.Markup:
    return markup.tag("figure", markup.tag("figcaption", title), content)


def _by_rank(counts: np.ndarray) -> list[tuple[float, float]]:
    """Percentages by rank, at ranks a constant factor apart."""
    found = 100 * np.sort(counts[counts > 0])[::-1] / counts.sum()
    ranks = np.unique(np.geomspace(1, len(found), _POINTS).round().astype(int))
    return [(float(rank), float(found[rank - 1])) for rank in ranks]


def card_text(statistics: CorpusStatistics) -> str:
    """Return the card's facts and tables.

    Args:
        statistics: What was counted.
    """
    counts = ", ".join(f"{value} {name}" for value, name in facts.headline(statistics))
    described = [f"  {name}: {escaped(value)}" for name, value in facts.description(statistics)]
    lines = [f"{escaped(statistics.name)}: {counts}", *described]
    for table in facts.tables(statistics):
        lines += ["", table.title, *_aligned([table.columns, *table.rows])]
    return "\n".join(lines)


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    shown = [tuple(map(escaped, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return [
        f"  {first:<{widths[0]}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        for first, *cells in shown
    ]


_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LARGER = ((10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"))


def card_markdown(statistics: CorpusStatistics) -> str:
    """Return the README.

    Args:
        statistics: What was counted.

    Returns:
        Markdown with YAML front matter. The licence stands there as `other` under its own name, since what a corpus
        calls its licence is free text.
    """
    sections = [
        _front_matter(statistics),
        f"# {markup.markdown_text(statistics.name)}",
        facts.summary(statistics),
        "\n".join(f"- **{name}**: {markup.markdown_text(value)}" for name, value in facts.description(statistics)),
    ]
    for table in facts.tables(statistics):
        rows = markup.markdown_table(table.columns, table.rows, has_numbers=True)
        sections += [f"## {markup.markdown_text(table.title)}", rows]
    sections.append(
        "Perplexity is 2 to the entropy of the codes as counted: so many equally frequent codes would be as hard to "
        "guess. Repeated is the share of frames with the code of the frame before them."
        if statistics.codebooks
        else ""
    )
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(statistics: CorpusStatistics) -> str:
    size = next((name for limit, name in (*_SIZES, *_LARGER) if statistics.num_documents < limit), "n>1B")
    languages = [name for name, _, _ in statistics.tallies["language"].largest() if name.isalpha() and name != "und"]
    # JSON strings are YAML, whatever is in them.
    lines = [f"pretty_name: {json.dumps(statistics.name)}"]
    if licence := statistics.facts.get("licence"):
        lines += ["license: other", f"license_name: {json.dumps(licence)}"]
    if languages:
        lines.append(f"language: {json.dumps(languages)}")
    lines += ["tags: [audio, speech, discrete-audio-tokens]", f"size_categories: [{json.dumps(size)}]"]
    return "\n".join(["---", *lines, "---"])


_MARKS = {
    ".html": b'content="audio-tokenize"',
    ".md": b"tags: [audio, speech, discrete-audio-tokens]",
    ".json": b'"num_utterances": ',
}
"""What every card of a form contains; a file without it is someone else's."""

_FORMS = {
    ".html": card_page,
    ".md": card_markdown,
    ".json": lambda statistics: json.dumps(statistics.to_json(), indent=2, ensure_ascii=False) + "\n",
}


def write_card(statistics: CorpusStatistics, out: str | StoragePath) -> None:
    """Write a card, whole or not at all.

    Args:
        statistics: What was counted.
        out: `.html`, a page with figures that needs no network; `.md`, a README with its facts as a dataset hub reads
            them; or `.json`, every count.

    Raises:
        InputError: Another ending, another file is there, or the disk refuses.
    """
    out = storage_path(out)
    if out.suffix not in _FORMS:
        raise InputError(f"`out` must end in {', '.join(_FORMS)}, got {out.name!r}")
    # "replace": a lone surrogate, which JSON allows in a transcript's metadata, has no UTF-8.
    write_output(out, _FORMS[out.suffix](statistics).encode("utf-8", "replace"), _MARKS[out.suffix])
