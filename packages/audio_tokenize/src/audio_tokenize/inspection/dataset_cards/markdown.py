"""The card as the README of a dataset: front matter that hubs read, then the facts."""

import json

from audio_tokenize.inspection.dataset_cards import facts
from audio_tokenize.inspection.statistics import CorpusStatistics

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LARGER = ((10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"))


def card_markdown(statistics: CorpusStatistics) -> str:
    """The README.

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
