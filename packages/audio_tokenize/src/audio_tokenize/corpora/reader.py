"""The interface of a reader: how the files of a published layout form shards, and how a shard becomes entries."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audio_tokenize.corpora.corpus import Skipped
from audio_tokenize.corpora.entries import Entry
from audio_tokenize.corpora.times import number

# Longest first, so that the whole of a double suffix goes.
_SUFFIXES = (".tar.gz", ".jsonl.gz", ".trans.txt", ".parquet", ".tar", ".tgz", ".json", ".tsv")


@dataclass(frozen=True)
class PublishedFile:
    """A file of a corpus, here or in a repository.

    Attributes:
        name: Its path in the corpus as published, with `/`.
        location: Where it lies: a path, or a URL.
        num_bytes: Its size, where the listing says it.
    """

    name: str
    location: str
    num_bytes: int | None = None


@dataclass(frozen=True)
class ShardFiles:
    """The files of one shard on this machine.

    Attributes:
        name: Of the shard.
        paths: By their published names, in the order in which the reader grouped them.
        language: What the corpus or the file's name says of the language.
        split: What the file's name says of the split.
    """

    name: str
    paths: Mapping[str, Path]
    language: str
    split: str

    @property
    def path(self) -> Path:
        """The first file; the only one in most layouts."""
        return next(iter(self.paths.values()))


def stem(name: str) -> str:
    """Return a published file's name without its suffixes."""
    suffix = next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), "")
    return name.removesuffix(suffix)


def one_file_each(files: Sequence[PublishedFile]) -> dict[str, tuple[PublishedFile, ...]]:
    """Group files in the simplest way: each is a shard, named after itself."""
    return {stem(file.name): (file,) for file in files}


@dataclass(frozen=True)
class Reader:
    """One published layout.

    Attributes:
        read: Streams the entries of a shard in order, holding no more than one recording.
        group: Puts files together to shards, by the name of the shard.
    """

    read: Callable[[ShardFiles], Iterator[Entry | Skipped]]
    group: Callable[[Sequence[PublishedFile]], Mapping[str, tuple[PublishedFile, ...]]] = one_file_each


def first_string(content: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return the first of the named fields that is a string or a whole number, as a string; empty where none is."""
    for name in names:
        value = content.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return ""


def first_text(content: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """Return the transcript of a record whose corpus may lack it: None where no named field has a value."""
    return first_string(content, names) if any(content.get(name) is not None for name in names) else None


def stated_length(value: object) -> float | str | None:
    """Return a length in a table or JSON object: a finite number above 0, None where there is none, or what is wrong.

    Args:
        value: A number, or the text of one.
    """
    if value is None or value == "":
        return None
    parsed = number(value)
    return parsed if parsed is not None and parsed > 0 else f"is expected to be a finite number above 0, got {value!r}"


def short_digest(text: str) -> str:
    """Eight hexadecimal digits that stand for a long name inside an id."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
