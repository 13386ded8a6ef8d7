"""The card as lines for a terminal."""

from audio_tokenize.inspection.dataset_cards import facts
from audio_tokenize.inspection.statistics import CorpusStatistics


def card_text(statistics: CorpusStatistics) -> str:
    """The card's facts and tables.

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
