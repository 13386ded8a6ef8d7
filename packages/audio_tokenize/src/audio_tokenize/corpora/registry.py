"""The shipped corpora; from a name or a path to a corpus; and its description for the command line."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, overload

from audio_data import InputError, StoragePath, disk_errors, nearest, storage_path
from audio_tokenize.corpora.card import CorpusCard
from audio_tokenize.corpora.cards import CARDS
from audio_tokenize.corpora.corpus import AbstractCorpus, Corpus
from audio_tokenize.corpora.entries import OWN_LICENCE, assemble, transcript_rule
from audio_tokenize.corpora.folder import read_folder
from audio_tokenize.corpora.kaldi import RECORDINGS, read_kaldi
from audio_tokenize.corpora.lhotse import is_lhotse_file, is_lhotse_folder, read_lhotse
from audio_tokenize.corpora.manifest import read_manifest, read_table
from audio_tokenize.corpora.published import PublishedCorpus
from audio_tokenize.corpora.record_rules import printable

_DATA = Path(__file__).parent / "data"
_MANIFEST = "manifest.jsonl"
_TABLE = "metadata.csv"
# What a folder is known by, the first that is there.
_FILES = {_TABLE: "ljspeech", "metadata.tsv": "ljspeech", _MANIFEST: "jsonl", "metadata.jsonl": "jsonl"}
_SHARDS = {"parquet": ("**/*.parquet",), "tar": ("**/*.tar", "**/*.tar.gz", "**/*.tgz")}
_SUFFIXES = {
    "ljspeech": (".csv", ".tsv"),
    "jsonl": (".jsonl", ".jsonl.gz"),
    "parquet": (".parquet",),
    "tar": (".tar", ".tar.gz", ".tgz"),
}
FORMS = ("folder", "jsonl", "ljspeech", "kaldi", "lhotse", *_SHARDS)
"""Forms in which people keep their own speech."""

_UNITS = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k"))
_SYNTHETIC = "Apache-2.0 (texts written for this project; audio synthesised with flite and espeak-ng)"


@dataclass(frozen=True)
class ShippedCorpus:
    """A corpus inside this package.

    Attributes:
        name: What `open_corpus` calls it.
        folder: Folder below `corpora/data` with recordings and `manifest.jsonl`.
        description: One line.
        licence: Terms of the audio and the texts.
    """

    name: str
    folder: str
    description: str
    licence: str = _SYNTHETIC


SHIPPED = (
    ShippedCorpus(
        "sample",
        "english",
        "2.5 hours of short English commands, 73 words, six synthetic voices and two held-out ones",
    ),
    ShippedCorpus(
        "sample-multilingual",
        "multilingual",
        "one to two minutes each of Arabic, German, English, Spanish, French, Hindi, Thai and Mandarin",
    ),
    ShippedCorpus(
        "sample-parallel",
        "parallel",
        "the same sentences in German, Spanish and French, each with its English translation, spoken",
    ),
)


def _open_shipped(card: ShippedCorpus) -> Corpus:
    manifest = _DATA / card.folder / _MANIFEST
    return assemble(card.name, manifest, read_manifest(manifest), card.licence)


def _name(path: StoragePath) -> str:
    """Names a corpus after its folder, or after its file where that has a name of its own."""
    resolved = path.resolve()
    if resolved.is_dir():
        return printable(resolved.name)
    name = resolved.name
    return printable(resolved.parent.name if name in _FILES else name.removesuffix(".gz").rpartition(".")[0])


def _own(path: StoragePath, reader: str) -> CorpusCard:
    """Return the card of somebody's own shards in one of the generic layouts."""
    return CorpusCard(
        name=_name(path),
        kind="speech",
        description="your own",
        repository=f"file://{path}",
        files=_SHARDS[reader],
        reader=reader,
        licence=OWN_LICENCE,
        languages=(),
        source="",
        needs="",
        transcripts="stripped",
    )


def _form(path: StoragePath) -> str:
    """Which of the generic forms lies there."""
    if path.is_dir():
        if found := next((form for file, form in _FILES.items() if (path / file).is_file()), None):
            return found
        if isinstance(path, Path) and (path / RECORDINGS).is_file():
            return "kaldi"
        if isinstance(path, Path) and is_lhotse_folder(path):
            return "lhotse"
        sharded = (form for form, globs in _SHARDS.items() if any(next(iter(path.glob(g)), None) for g in globs))
        return next(sharded, "folder")
    forms = {form for form, suffixes in _SUFFIXES.items() if path.name.lower().endswith(suffixes)}
    if not forms:
        raise InputError(
            f"`{path}`: expected a folder of audio, a table such as metadata.csv, a .jsonl manifest, parquet "
            f"tables or tar archives, got a {path.suffix!r} file"
        )
    form = forms.pop()
    return "lhotse" if form == "jsonl" and isinstance(path, Path) and is_lhotse_file(path) else form


def _in_memory(path: Path, form: str, rule: str, language: str | None) -> Corpus:
    """Open one of the forms whose texts and audio files lie open."""
    if form == "folder":
        if not path.is_dir():
            raise InputError(f"`{path}`: expected a folder of audio files, got a file")
        found = read_folder(path)
    elif form in ("kaldi", "lhotse"):
        found = {"kaldi": read_kaldi, "lhotse": read_lhotse}[form](path)
    else:
        read = {"ljspeech": read_table, "jsonl": read_manifest}[form]
        names = [name for name, each in _FILES.items() if each == form]
        default = next((name for name in names if (path / name).is_file()), names[0])
        found = read(path / default if path.is_dir() else path)
    return assemble(_name(path), path, found, rule=transcript_rule(rule), language=language)


def _require_known_language(card: CorpusCard, language: str | None) -> None:
    if language is not None and card.languages and language not in card.languages:
        raise InputError(
            f"`language` of corpus `{card.name}`: expected one of its languages, got {language!r}; "
            f"{nearest(language, card.languages)}"
        )


def _published(
    card: CorpusCard,
    root: StoragePath | None,
    language: str | None,
    split: str | Sequence[str] | None,
    transcripts: str | None,
    strict: bool,
    revision: str | None,
) -> PublishedCorpus:
    if card.kind != "speech":
        raise InputError(
            f"corpus `{card.name}`: expected speech to encode, got {card.kind}, which needs no codec; "
            f"use `audio-tokenize build {card.name}`"
        )
    _require_known_language(card, language)
    rule = transcripts or card.transcripts
    transcript_rule(rule)
    if revision is not None:
        card = replace(card, revision=revision, revision_note="given")
    name = card.name if language is None else f"{card.name}-{language}"
    splits = (split,) if isinstance(split, str) else tuple(split or ())
    return PublishedCorpus(name, card.licence, card, root, language, splits, rule, strict)


def _unknown(name: str) -> InputError:
    shipped = ", ".join(card.name for card in SHIPPED)
    names = [*(card.name for card in SHIPPED), *(card.name for card in CARDS), *FORMS]
    # What has a separator was meant for a path.
    advice = "" if "/" in name else f"; {nearest(name, names)}"
    return InputError(
        f"corpus `{name}`: expected a path that exists, one of {shipped} or another name that `audio-tokenize corpora` "
        f"lists; got neither{advice}"
    )


@overload
def open_corpus(
    name_or_path: Literal["sample", "sample-multilingual", "sample-parallel"],
    *,
    language: str | None = None,
    split: str | Sequence[str] | None = None,
) -> Corpus: ...
@overload
def open_corpus(
    name_or_path: str | StoragePath,
    *,
    root: str | StoragePath | None = None,
    language: str | None = None,
    split: str | Sequence[str] | None = None,
    transcripts: str | None = None,
    strict: bool = False,
    revision: str | None = None,
) -> AbstractCorpus: ...
def open_corpus(
    name_or_path: str | StoragePath,
    *,
    root: str | StoragePath | None = None,
    language: str | None = None,
    split: str | Sequence[str] | None = None,
    transcripts: str | None = None,
    strict: bool = False,
    revision: str | None = None,
) -> AbstractCorpus:
    """Open a corpus: a shipped one, a published one, or your own.

    - `sample`, `sample-multilingual`, `sample-parallel` are shipped.
    - A name of `CARDS`, such as `yodas2`, is read from `root`, the folder with its files as published, or from the hub
      where `root` is None; nothing is downloaded before a shard is read.
    - `folder`, `jsonl`, `ljspeech`, `kaldi`, `lhotse`, `parquet` and `tar` say what is in `root`, your own folder or
      file.
    - A path is looked at: a folder with `metadata.csv`, `manifest.jsonl` or `metadata.jsonl`, a data folder of Kaldi, a
      folder with cuts or recordings of lhotse, a folder of audio files with transcripts as `.txt` beside them or
      without, a folder of parquet tables or tar archives, or such a file itself. Of all but tables and archives only
      texts and the headers of audio files are read, all at once; they become a `Corpus` in memory.

    Args:
        name_or_path: A `Path`, or a string with a separator, is never taken for a name.
        root: Where the files lie, for a name: a path or a URL (`gs://`, `s3://`).
        language: BCP 47 code of the only language to read, and of your own files that state none; None reads all.
        split: The only split to read, or several; None reads all.
        transcripts: Name of a transcript rule (`TRANSCRIPT_RULES`); by default that of the corpus' card, and
            `stripped` for your own. Emilia's stray space is kept by `verbatim`.
        strict: Whether the first utterance that cannot be used is an error; otherwise it is skipped with its reason.
        revision: Of the repository on the hub, instead of the card's.

    Raises:
        InputError: If there is no such name or path, language or rule, the texts or a table are malformed, or no usable
            utterance is left.
    """
    found = {card.name: card for card in CARDS}
    if isinstance(name_or_path, str):
        for shipped in SHIPPED:
            if name_or_path == shipped.name:
                return _open_shipped(shipped).select(split=split, language=language)
        location = None if root is None else storage_path(root)
        if name_or_path in found:
            return _published(found[name_or_path], location, language, split, transcripts, strict, revision)
        if location is not None and name_or_path not in FORMS:
            raise _unknown(name_or_path)
    form = str(name_or_path) if root is not None else None
    path = storage_path(name_or_path if root is None else root)
    with disk_errors(path, "read"):
        if not path.exists():
            raise _unknown(str(path))
        form = form or _form(path)
    if form in _SHARDS:
        return _published(_own(path, form), path, language, split, transcripts, strict, revision)
    if not isinstance(path, Path):
        raise InputError(
            f"corpus `{path}`: expected parquet tables or tar archives in an object store, got the form {form}, "
            "which is read from a local disk; copy it here"
        )
    opened = _in_memory(path, form, transcripts or "stripped", language)
    if strict and opened.skipped:
        first = opened.skipped[0]
        raise InputError(f"utterance {first.id!r}: expected one that can be used, got: {first.reason}")
    return opened.select(split=split, language=language)


def list_corpora(kind: str | None = None) -> list[dict[str, Any]]:
    """Every corpus that has a name, the shipped ones first; None lists all kinds."""
    shipped = [
        {
            "name": corpus.name,
            "kind": "speech",
            "description": corpus.description,
            "licence": corpus.licence,
            "needs": "nothing, it is in this package",
        }
        for corpus in SHIPPED
    ]
    entries = [*shipped, *(vars(card) | {"download": card.download} for card in CARDS)]
    return [entry for entry in entries if kind in (None, entry["kind"])]


def describe(name_or_path: str) -> dict[str, Any]:
    """Everything known of a corpus: its card, or what is in it where it is shipped or your own.

    Raises:
        InputError: As for `open_corpus`.
    """
    for entry in list_corpora():
        if entry["name"] == name_or_path and "download" in entry:
            return {name: value for name, value in entry.items() if value not in (None, "", ())}
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
