"""Files of a corpus on the Hugging Face hub: listed, and fetched one shard at a time."""

import re
from collections.abc import Sequence
from pathlib import Path

from audio_data import HubRepository, InputError
from audio_tokenize.corpora.card import CorpusCard
from audio_tokenize.corpora.readers.base import PublishedFile

_SCHEME = "hf://datasets/"
_LOCATION = re.compile(rf"{_SCHEME}(?P<repository>[^@]+)@(?P<revision>[^/]+)/(?P<name>.+)")


def is_hub_location(location: str) -> bool:
    """Whether a location is one of `hub_files`."""
    return location.startswith(_SCHEME)


def _pattern(glob: str) -> str:
    """Return a regular expression of a path glob: `*` stays within a folder, `**/` is any number of folders."""
    parts = re.split(r"(\*\*/|\*|\?|\[[^\]]+\])", glob)
    meanings = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    return "".join(meanings.get(part, part if part.startswith("[") else re.escape(part)) for part in parts)


def matches(name: str, globs: Sequence[str]) -> bool:
    """Whether a file's name fits one of the globs, as `Path.glob` would have it."""
    return any(re.fullmatch(_pattern(glob), name) for glob in globs)


def _repository(card: CorpusCard, what: str, revision: str) -> HubRepository:
    return HubRepository(card.repository, what, f"give it: `{card.name} --root DIR`", revision, "dataset")


def hub_files(card: CorpusCard) -> list[PublishedFile]:
    """List the files of a corpus on the hub, with their sizes; downloads nothing.

    Raises:
        InputError: If the hub cannot be reached, refuses, or has no such revision.
    """
    listed = _repository(card, f"corpus `{card.name}`", card.revision).list_files(card.folders, *card.files)
    root = f"{_SCHEME}{card.repository}@{card.revision}"
    return [PublishedFile(name, f"{root}/{name}", size) for name, size in listed if matches(name, card.files)]


def fetch_from_hub(card: CorpusCard, location: str) -> Path:
    """Return a local file with the content of a file on the hub; it is downloaded once into the hub's own cache.

    Args:
        card: The corpus.
        location: As `hub_files` gives it.

    Raises:
        InputError: If the hub cannot be reached, refuses, or has no such file.
    """
    match = _LOCATION.fullmatch(location)
    if match is None:
        raise InputError(f"`{location}`: expected {_SCHEME}OWNER/NAME@REVISION/FILE; list the shards again")
    _, revision, name = match.groups()
    return _repository(card, f"file `{name}` of corpus `{card.name}`", revision).fetch_file(name)
