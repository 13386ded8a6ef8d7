"""What the command line says of corpora: a list of all, or one in full."""

from typing import Any

from audio_tokenize.corpora.card import CorpusCard
from audio_tokenize.corpora.cards import CARDS
from audio_tokenize.corpora.memory import Corpus
from audio_tokenize.corpora.registry import SHIPPED, ShippedCorpus, open_corpus

_UNITS = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k"))


def _shipped(corpus: ShippedCorpus) -> dict[str, Any]:
    return {
        "name": corpus.name,
        "kind": "speech",
        "description": corpus.description,
        "licence": corpus.licence,
        "needs": "nothing, it is in this package",
    }


def _published(card: CorpusCard) -> dict[str, Any]:
    return vars(card) | {"download": card.download}


def list_corpora(kind: str | None = None) -> list[dict[str, Any]]:
    """Every corpus that has a name, the shipped ones first; None lists all kinds."""
    entries = [*map(_shipped, SHIPPED), *map(_published, CARDS)]
    return [entry for entry in entries if kind in (None, entry["kind"])]


def describe(name_or_path: str) -> dict[str, Any]:
    """Everything known of a corpus: its card, or what is in it where it is shipped or your own.

    Raises:
        InputError: As for `open_corpus`.
    """
    for card in CARDS:
        if card.name == name_or_path:
            return {name: value for name, value in _published(card).items() if value not in (None, "", ())}
    corpus = open_corpus(name_or_path)
    if not isinstance(corpus, Corpus):
        shards = corpus.shards()
        num_bytes = sum(shard.num_bytes or 0 for shard in shards)
        return {"name": corpus.name, "licence": corpus.licence, "num_shards": len(shards), "num_bytes": num_bytes}
    return {
        "name": corpus.name,
        "licence": corpus.licence,
        "num_utterances": len(corpus),
        "hours": round(corpus.seconds / 3600, 3),
        "splits": corpus.splits,
        "speakers": corpus.speakers,
        "languages": corpus.languages,
        "skipped": [{"id": entry.id, "reason": entry.reason} for entry in corpus.skipped],
    }


def _short(count: int) -> str:
    """Return a count in three digits or so: 131B of 131,000,000,000."""
    scale, unit = next(((scale, unit) for scale, unit in _UNITS if count >= scale), (1, ""))
    return f"{count / scale:.4g}{unit}"


def _size(entry: dict[str, Any]) -> str:
    """All that is known of how large a corpus is; what is shipped says it in words."""
    sizes = {"h": entry.get("hours"), "tokens": entry.get("num_tokens"), "bytes": entry.get("num_bytes")}
    known = [f"{_short(count)} {unit}" for unit, count in sizes.items() if count is not None]
    if entry.get("hours") is None:
        known += [f"{_short(hours)} h in {language}" for language, hours in entry.get("language_hours", ())]
    return ", ".join(known) or ("size unknown" if "reader" in entry else "")


def one_line(entry: dict[str, Any]) -> str:
    """Return an entry of `list_corpora` for people: name, kind, languages, size, and below it what it is and needs."""
    languages = entry.get("languages", ())
    facts = [entry["kind"], " ".join(languages), _size(entry)]
    return (
        f"{entry['name']}  ({'; '.join(fact for fact in facts if fact)})\n"
        f"  {entry['description']}\n  needs: {entry['needs']}"
    )
