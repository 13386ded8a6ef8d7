"""Dataset cards: what a corpus or dataset holds, as a page, as the README of a dataset on a hub, and as text."""

import json

from audio_data import InputError, StoragePath, storage_path, write_output
from audio_tokenize.inspection import card_facts as facts
from audio_tokenize.inspection.card_page import card_page
from audio_tokenize.inspection.statistics import CorpusStatistics


def card_text(statistics: CorpusStatistics) -> str:
    """Return the card's facts and tables.

    Args:
        statistics: What was counted.
    """
    counts = ", ".join(f"{value} {name}" for value, name in facts.headline(statistics))
    described = [f"  {name}: {_visible(value)}" for name, value in facts.description(statistics)]
    lines = [f"{_visible(statistics.name)}: {counts}", *described]
    for table in facts.tables(statistics):
        lines += ["", table.title, *_aligned([table.columns, *table.rows])]
    return "\n".join(lines)


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    shown = [tuple(map(_visible, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return [
        f"  {first:<{widths[0]}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        for first, *cells in shown
    ]


def _visible(text: str) -> str:
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


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
        f"# {_text(statistics.name)}",
        facts.summary(statistics),
        "\n".join(f"- **{name}**: {_text(value)}" for name, value in facts.description(statistics)),
    ]
    for table in facts.tables(statistics):
        sections += [f"## {_text(table.title)}", _table(table)]
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


def _table(table: facts.Table) -> str:
    rule = ["---", *["---:"] * (len(table.columns) - 1)]
    rows = [table.columns, rule, *table.rows]
    return "\n".join(f"| {' | '.join(_text(cell) for cell in row)} |" for row in rows)


def _text(value: str) -> str:
    """On one line, and not mistaken for markup."""
    line = " ".join(value.split())
    return line.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


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
