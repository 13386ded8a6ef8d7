"""The facts of a card, the same in every form."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from audio_tokenize.inspection.statistics import CorpusStatistics, Tally


class Table(NamedTuple):
    """A table with a heading; the first column is text, the others are numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def summary(statistics: CorpusStatistics) -> str:
    """One sentence."""
    if statistics.form == "codes":
        what = f"the codes of {statistics.num_utterances:,} utterances"
        what += (
            f" ({statistics.num_documents:,} records)" if statistics.num_documents != statistics.num_utterances else ""
        )
    else:
        what = f"{statistics.num_tokens:,} tokens in {statistics.num_documents:,} documents"
    codec = statistics.facts["codec"].get("id")
    return f"{what[0].upper()}{what[1:]}, {hours(statistics)} h of audio" + (f", codec `{codec}`." if codec else ".")


def hours(statistics: CorpusStatistics) -> str:
    """Hours of audio, to three digits or whole hours."""
    value = statistics.audio_seconds / 3600
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def headline(statistics: CorpusStatistics) -> list[tuple[str, str]]:
    """Return the numbers that stand large: value and what it counts."""
    units = "records" if statistics.form == "codes" else "documents"
    found = [
        (hours(statistics), "hours of audio"),
        (f"{statistics.num_tokens:,}", "codes" if statistics.form == "codes" else "tokens"),
        (f"{statistics.num_documents:,}", units),
        (f"{statistics.num_utterances:,}", "utterances"),
    ]
    rates = statistics.rates
    names = {"words_per_second": "words a second", "text_tokens_per_second": "text tokens a second of audio"}
    return found + [(f"{rates[key]:.2f}", name) for key, name in names.items() if key in rates]


def description(statistics: CorpusStatistics) -> list[tuple[str, str]]:
    """Return what it is and how it was made: name and value."""
    facts = statistics.facts
    found = [
        ("corpus", statistics.name),
        ("licence", facts.get("licence") or "not recorded here; that of the corpus it was made of applies"),
        ("codec", _codec(facts["codec"])),
    ]
    if "vocabulary" in facts:
        vocabulary = facts["vocabulary"]
        text = f"{vocabulary['num_text']:,} of them text by {vocabulary['text_tokenizer']}"
        found.append(("vocabulary", f"{vocabulary['name']}: {vocabulary['num_ids']:,} ids, {text}"))
        found.append(("vocabulary fingerprint", vocabulary["fingerprint"]))
    if layouts := statistics.tallies["layout"].largest():
        found.append(("layout", ", ".join(name for name, _, _ in layouts)))
    if statistics.num_skipped:
        found.append(("left out", f"{statistics.num_skipped:,} utterances; `codes.json` lists them with the reason"))
    found += [(f"made with {name.replace('_', ' ')}", value) for name, value in _flat(facts["provenance"])]
    return [*found, ("fingerprint", facts["fingerprint"])]


def tables(statistics: CorpusStatistics) -> list[Table]:
    """All tables that have a row."""
    kinds = tuple(
        (kind.replace("_", " "), f"{amount:,}", f"{amount / max(1, statistics.num_tokens):.2%}")
        for kind, amount in statistics.tokens_by_kind.items()
        if amount
    )
    found = [
        Table("Tokens by kind", ("kind", "tokens", "share"), kinds),
        Table("Seconds per document", ("", "seconds"), _durations(statistics)),
        Table(
            "Use of the codebooks",
            ("codebook", "codes", "used", "unused", "entropy", "perplexity", "repeated"),
            tuple(_codebook(use) for use in statistics.codebooks),
        ),
    ]
    found += [_tally(name, tally) for name, tally in statistics.tallies.items()]
    return [table for table in found if table.rows]


def _codec(codec: Mapping[str, Any]) -> str:
    if not codec.get("id"):
        return "none"
    parts = [f"{codec['id']}"]
    if codec.get("num_codebooks"):
        parts.append(f"{codec['num_codebooks']} codebooks of {codec['codebook_size']:,}")
        parts.append(f"{codec['frame_rate_hz']:g} frames a second of {codec['sample_rate_hz']:,} Hz")
    if "attention_window_frames" in codec:
        parts.append(_window(codec))
    return ", ".join(parts)


def _window(codec: Mapping[str, Any]) -> str:
    frames = codec["attention_window_frames"]
    if frames is None:
        return "no attention window" if codec.get("name") != "mimi" else "attention over all of the past"
    return f"attention over the past {frames / codec['frame_rate_hz']:g} s ({frames:g} frames)"


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is inside mappings, without what says nothing."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from ((f"{name} {inner}", text) for inner, text in _flat(value))
        elif value not in (None, "", [], (), False):
            yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _durations(statistics: CorpusStatistics) -> tuple[tuple[str, str], ...]:
    found = statistics.durations.to_json()
    names = {"p05": "5 % are shorter than", "p25": "25 %", "p50": "half", "p75": "75 %", "p95": "95 %"}
    names = {"mean": "mean", "shortest": "shortest", **names, "longest": "longest"}
    return tuple((name, f"{found[key]:,.2f}") for key, name in names.items() if key in found)


def _codebook(use: Any) -> tuple[str, ...]:
    repeated = "" if use.repeated_fraction is None else f"{use.repeated_fraction:.2%}"
    return (
        str(use.codebook),
        f"{use.num_codes:,}",
        f"{use.num_used:,} of {use.codebook_size:,}",
        f"{use.unused_fraction:.1%}",
        f"{use.entropy_bits:.3f} bits",
        f"{use.perplexity:,.1f}",
        repeated,
    )


def _tally(name: str, tally: Tally) -> Table:
    total = len(tally.documents)
    title = f"{name.capitalize()}s"
    if total > len(tally.largest()):
        title += f": the {len(tally.largest())} largest of {total:,}{'' if tally.complete else ' or more'}"
    rows = tuple((value, f"{documents:,}", f"{seconds / 3600:,.3f}") for value, documents, seconds in tally.largest())
    return Table(title, (name, "documents", "hours"), rows)
