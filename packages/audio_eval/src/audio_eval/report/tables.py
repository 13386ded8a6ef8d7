"""Scores as cards, tables and Markdown."""

from collections.abc import Callable, Iterable, Sequence

from audio_data.markup import Markup, join, markdown_table, markdown_text, tag
from audio_eval.evaluation import Evaluation
from audio_eval.report.figures import interval_strip
from audio_eval.scores import Comparison, Measure, Score

_NONE = "\u2013"
# Scores at the top of the page, where measured: name, title, the score to compare with, and a note.
_HEADLINES = (
    ("asr_wer", "Recognition, word error rate", "asr_wer_mismatched_audio", "with mismatched audio (control)"),
    ("text_nll_with_over_without_audio", "Text loss with audio over without", None, "1 for a model that ignores audio"),
    ("tts_wer", "Synthesis, word error rate", "tts_wer_mismatched_text", "against mismatched texts (control)"),
    ("audio_first.bits_per_audio_second", "Bits a second of audio", None, "Fewer are better"),
    ("stored.bits_per_text_token", "Bits a text token", None, "Fewer are better"),
    ("stored.bits_per_audio_second", "Bits a second of audio", None, "Fewer are better"),
)


def cards(evaluation: Evaluation) -> Markup | None:
    """Return the main scores as cards."""
    main = evaluation.provenance.get("main_dataset")
    scores = {score.name: score for score in evaluation.scores if score.dataset == main}
    drawn = [
        _card(scores[name], title, scores.get(beside or ""), note)
        for name, title, beside, note in _HEADLINES
        if name in scores
    ]
    return tag("div", drawn, class_="cards") if drawn else None


def _card(score: Score, title: str, beside: Score | None, note: str) -> Markup:
    if beside is not None and beside.value is not None:
        note = f"{number(beside.value)} {note}"
    interval = f"95 %: {_interval(score)}" if score.low is not None else None
    if score.value is None:
        note, interval = "Not measured: the table says why", None
    parts = (
        tag("div", title, class_="name"),
        tag("div", number(score.value), class_="value"),
        tag("div", interval, class_="note") if interval else None,
        tag("div", note, class_="note"),
    )
    return tag("div", parts, class_="card")


def score_table(scores: Sequence[Score], *, strips: bool = False) -> Markup:
    """Return a table with one row per measure and one column per dataset.

    Args:
        scores: Scores of one task.
        strips: Whether to draw each value with its interval on a line from 0.
    """
    datasets = list(dict.fromkeys(score.dataset for score in scores))
    measures = {score.name: score.measure for score in scores}
    found = {(score.name, score.dataset): score for score in scores}
    limit = max([1.0, *(score.high or score.value or 0.0 for score in scores)])
    head = tag("tr", tag("th", "Score", scope="col"), [tag("th", name, scope="col") for name in datasets])
    rows = [
        tag("tr", _name_cell(measure), [_cell(found.get((name, d)), d, limit if strips else None) for d in datasets])
        for name, measure in measures.items()
    ]
    return scrolled_table(head, rows)


def scrolled_table(head: Markup, rows: Sequence[Markup]) -> Markup:
    """Return a table. A narrow page shows each cell on a line of its own, after its `data-label`."""
    return tag("div", tag("table", tag("thead", head), tag("tbody", rows)), class_="scroll")


def item_table(columns: Sequence[str], rows: Iterable[Sequence[Markup | str]]) -> Markup:
    """Return a table with a row for each item.

    Args:
        columns: Heading of each column.
        rows: Cells of each row, which hold words.
    """
    head = tag("tr", [tag("th", name, scope="col") for name in columns])
    cells = (zip(columns, row, strict=True) for row in rows)
    return scrolled_table(
        head,
        [tag("tr", [tag("td", cell, class_="words", data_label=name) for name, cell in row]) for row in cells],
    )


def comparison_table(comparisons: Sequence[Comparison]) -> Markup:
    """Return a table of paired differences: values before and after, the difference with its interval, a verdict."""
    titles = ("Score", "Dataset", "Before", "After", "Difference", "95 % interval")
    head = tag("tr", [tag("th", title, scope="col") for title in (*titles, "")])
    rows = []
    for one in comparisons:
        found = one.difference
        interval = _NONE if found.low is None or found.high is None else f"{found.low:+.3f} to {found.high:+.3f}"
        cells = (number(one.first), number(one.second), f"{found.value:+.3f}", interval)
        rows.append(
            tag(
                "tr",
                _name_cell(one.measure),
                tag("td", one.dataset, data_label=titles[1]),
                [
                    tag("td", cell, class_="number", data_label=title)
                    for cell, title in zip(cells, titles[2:], strict=True)
                ],
                tag("td", one.verdict),
            )
        )
    return tag("div", tag("table", tag("thead", head), tag("tbody", rows)), class_="scroll")


def _name_cell(measure: Measure) -> Markup:
    meaning = tag("span", measure.meaning, class_="measure") if measure.meaning else None
    direction = "" if measure.better == "neither" else f", {measure.better} is better"
    unit = tag("span", f" {measure.unit}{direction}", class_="muted small")
    return tag("th", tag("code", measure.name), unit, meaning, scope="row")


def _cell(score: Score | None, dataset: str, limit: float | None) -> Markup:
    if score is None:
        return tag("td", tag("span", _NONE, class_="muted"), class_="number", data_label=dataset)
    if score.value is None:
        reason = tag("span", score.reason, class_="measure")
        return tag("td", tag("span", "not measured", class_="muted"), reason, data_label=dataset)
    strip = interval_strip(score.value, score.low, score.high, limit) if limit and score.value >= 0 else None
    interval = tag("span", join(_interval(score), f" · n {score.num_items:,}"), class_="interval")
    return tag("td", tag("b", number(score.value)), strip, interval, class_="number", data_label=dataset)


def number(value: float | None) -> str:
    """Format a value: three decimals below 10, fewer above; a dash for none."""
    if value is None:
        return _NONE
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"


def _interval(score: Score) -> str:
    if score.low is None or score.high is None:
        return "no interval for one item"
    return f"{number(score.low)} to {number(score.high)}"


def markdown(title: str, evaluation: Evaluation) -> str:
    """Return the scores as Markdown tables, one per task."""
    header = ("score", "dataset", "value", "95 % interval", "n", "unit")
    lines = [f"# {markdown_text(title)}", ""]
    for result in evaluation.results:
        lines += [f"## {result.task}", "", markdown_table(header, map(_markdown_row, result.scores)), ""]
    lines += ["## Provenance", ""]
    lines += [f"- {markdown_text(key)}: {markdown_text(str(value))}" for key, value in evaluation.provenance.items()]
    return "\n".join(lines) + "\n"


def _markdown_row(score: Score) -> Sequence[str]:
    value = number(score.value) if score.reason is None else f"not measured: {score.reason}"
    interval = _interval(score) if score.low is not None else _NONE
    return score.name, score.dataset, value, interval, str(score.num_items), score.measure.unit


def definitions(entries: Iterable[tuple[str, object]], show: Callable[[object], Markup | str] = str) -> Markup:
    """Return a list of names and values."""
    return tag("dl", [join(tag("dt", name), tag("dd", tag("code", show(value)))) for name, value in entries])
