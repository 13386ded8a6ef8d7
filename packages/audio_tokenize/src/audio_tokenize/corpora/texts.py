"""Corpora of text and of published document strings: files that are listed as shards and streamed.

Nemotron-CC is JSON lines in `.jsonl.zstd` with `warc_record_id`, `url`, `language` and `text`; the copy that SODA's
training read is `.jsonl.gz` with `id` and `text`. DCLM-baseline is `.jsonl.zst` with `text` and `url` and no id. Token
corpora are parquet with `id` and `text`, a whole document string each, the evaluation sets with `file_id`.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from audio_data import InputError, StoragePath, disk_errors, fetch, nearest, storage_path
from audio_tokenize.corpora.card import CorpusCard
from audio_tokenize.corpora.cards import CARDS
from audio_tokenize.corpora.corpus import UNDETERMINED_LANGUAGE, CorpusShard, Skipped
from audio_tokenize.corpora.record_rules import printable
from audio_tokenize.corpora.text_files import TextDocument, TextFields, is_text_file, read_text_file

OWN_LICENCE = "unknown"


@dataclass(frozen=True)
class TextCorpus:
    """Text documents in files.

    Attributes:
        name: Short name, used for datasets made of it.
        licence: Terms of the texts, `unknown` for a user's own.
        root: Folder that `files` are below, or the one file.
        files: Paths below `root`, with `/`, sorted; `.` where `root` is the file.
        fields: Where records keep what.
        card: What is known of a published corpus.
    """

    name: str
    licence: str
    root: StoragePath
    files: tuple[str, ...]
    fields: TextFields = field(default_factory=TextFields)
    card: CorpusCard | None = None

    def shards(self) -> tuple[CorpusShard, ...]:
        """One shard a file, in the order of their names; nothing is opened.

        Raises:
            InputError: A file cannot be listed.
        """
        return tuple(self._shard(name) for name in self.files)

    def read(self, shard: CorpusShard) -> Iterator[TextDocument | Skipped]:
        """Stream the documents of a shard in order, and records that are none; reading again yields the same.

        Where the record does not say its `language` and the card knows it, it is added to the metadata.

        Args:
            shard: One of `shards()`.

        Raises:
            InputError: The file is missing, cut short or damaged; names the file and the line or row.
        """
        language = UNDETERMINED_LANGUAGE if self.card is None else self.card.language_of(shard.name)
        for document in read_text_file(fetch(storage_path(shard.files[0])), shard.name, self.fields):
            if isinstance(document, Skipped) or language == UNDETERMINED_LANGUAGE or "language" in document.metadata:
                yield document
            else:
                yield replace(document, metadata={**document.metadata, "language": language})

    def __iter__(self) -> Iterator[TextDocument | Skipped]:
        for shard in self.shards():
            yield from self.read(shard)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the names and sizes of the files."""
        content = [[shard.name, shard.fingerprint] for shard in self.shards()]
        return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()

    def _shard(self, name: str) -> CorpusShard:
        path = self.root if name == "." else self.root / name
        with disk_errors(path, "read"):
            num_bytes = path.stat().st_size
        published = path.name if name == "." else name
        return CorpusShard(
            name=re.sub(r"[^A-Za-z0-9._/-]", "-", published),
            fingerprint=hashlib.sha256(os.fsencode(f"{published}:{num_bytes}")).hexdigest()[:16],
            num_bytes=num_bytes,
            files=(str(path),),
        )


def open_text_corpus(source: str | StoragePath | CorpusCard, *, root: str | StoragePath | None = None) -> TextCorpus:
    """Open a published corpus of text or documents, or text on disk by its path.

    Args:
        source: Name or card of a corpus of kind `text` or `documents`, or a path: a `.jsonl`, `.parquet` or `.txt`
            file, compressed or not, or a folder of such files at any depth.
        root: Folder with the files of a named corpus, under their published names.

    Raises:
        InputError: No such corpus or path, or no file of the corpus below `root`; says how to get them.
    """
    found = source if isinstance(source, CorpusCard) else _card(source)
    if found is not None:
        return _open_published(found, root)
    if root is not None:
        names = (card.name for card in CARDS if card.kind != "speech")
        raise InputError(f"text corpus {str(source)!r}: no corpus has that name; {nearest(str(source), names)}")
    return _open_path(storage_path(source))  # pyright: ignore[reportArgumentType]


def read_text_documents(
    source: str | StoragePath | CorpusCard, *, root: str | StoragePath | None = None
) -> Iterator[TextDocument | Skipped]:
    """Stream the documents of a corpus, file by file, and records that are none, with the reason.

    Args:
        source: As for `open_text_corpus`.
        root: As for `open_text_corpus`.

    Raises:
        InputError: As for `open_text_corpus` and `TextCorpus.read`.
    """
    yield from open_text_corpus(source, root=root)


def _card(source: str | StoragePath) -> CorpusCard | None:
    return next((card for card in CARDS if card.name == source and card.kind != "speech"), None)


def _open_published(card: CorpusCard, root: str | StoragePath | None) -> TextCorpus:
    if card.kind == "speech":
        raise InputError(f"corpus `{card.name}` must be text or documents, got speech: encode it first")
    if root is None:
        raise InputError(f"corpus `{card.name}`: say where its files are; to get them: {card.download}")
    folder = storage_path(root)
    with disk_errors(folder, "read"):
        files = {path for glob in card.files for path in folder.glob(glob) if is_text_file(path.name)}
    if not files:
        raise InputError(
            f"`{folder}`: expected files of corpus `{card.name}`, {', '.join(card.files)}, got none; "
            f"to get them: {card.download}"
        )
    return TextCorpus(card.name, card.licence, folder, _names(files, folder), _fields(card), card)


def _fields(card: CorpusCard) -> TextFields:
    ids = [card.id_field] if card.id_field else []
    return TextFields(card.text_field, (*ids, *(name for name in TextFields().ids if name not in ids)))


def _open_path(path: StoragePath) -> TextCorpus:
    if path.is_file():
        if not is_text_file(path.name):
            raise InputError(
                f"`{path}`: expected a .jsonl, .parquet or .txt file, compressed or not, got {path.name!r}"
            )
        return TextCorpus(printable(path.name.partition(".")[0]), OWN_LICENCE, path, (".",))
    if not path.is_dir():
        raise InputError(f"text corpus `{path}`: expected the name of a corpus or a path that exists, got neither")
    files = _names((found for found in path.rglob("*") if is_text_file(found.name) and found.is_file()), path)
    if not files:
        raise InputError(f"`{path}`: expected .jsonl, .parquet or .txt files, compressed or not, got none")
    name = path.resolve().name if isinstance(path, Path) else path.name
    return TextCorpus(printable(name), OWN_LICENCE, path, files)


def _names(paths: Iterable[StoragePath], root: StoragePath) -> tuple[str, ...]:
    folder = PurePosixPath(root.as_posix())
    return tuple(sorted(PurePosixPath(path.as_posix()).relative_to(folder).as_posix() for path in paths))
