"""A corpus as published: its card, and its files in a folder, an object store or on the Hugging Face hub.

Files of the hub are listed without a download and fetched one shard at a time.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from audio_data import HubRepository, InputError, StoragePath, disk_errors, fetch, storage_path
from audio_tokenize.corpora.card import CorpusCard
from audio_tokenize.corpora.corpus import UNDETERMINED_LANGUAGE, AbstractCorpus, CorpusShard, Skipped, Utterance
from audio_tokenize.corpora.entries import resolve_stream, transcript_rule
from audio_tokenize.corpora.reader import PublishedFile, Reader, ShardFiles

_SCHEME = "hf://datasets/"
_LOCATION = re.compile(rf"{_SCHEME}(?P<repository>[^@]+)@(?P<revision>[^/]+)/(?P<name>.+)")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._/-]")
# What the rule was called when the first folders of codes were begun.
_NAMES_IN_FINGERPRINTS = {"verbatim": "as-published"}


def matches(name: str, globs: Sequence[str]) -> bool:
    """Whether a file's name fits one of the globs, as `Path.glob` would have it."""
    return any(re.fullmatch(_pattern(glob), name) for glob in globs)


def _pattern(glob: str) -> str:
    """Return a regular expression of a path glob: `*` stays within a folder, `**/` is any number of folders."""
    parts = re.split(r"(\*\*/|\*|\?|\[[^\]]+\])", glob)
    meanings = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    return "".join(meanings.get(part, part if part.startswith("[") else re.escape(part)) for part in parts)


@dataclass(frozen=True)
class PublishedCorpus(AbstractCorpus):
    """A corpus whose shards are published files, read in place and one at a time.

    Attributes:
        name: The card's, and the language where one was chosen.
        licence: The card's.
        card: What is known of it.
        root: Folder with the files under their published names, local or in an object store; None reads from the hub.
        language: The only language to read, and that of files that state none; None reads all.
        splits: The only splits to read (`train`, `dev`, `test`), by the names of the files; none reads all.
        transcripts: Name of the transcript rule.
        strict: Whether an utterance that cannot be used is an error instead of skipped.
    """

    name: str
    licence: str
    card: CorpusCard
    root: StoragePath | None
    language: str | None = None
    splits: tuple[str, ...] = ()
    transcripts: str = "verbatim"
    strict: bool = False

    def shards(self) -> tuple[CorpusShard, ...]:
        """List the shards by the names of their files, in alphabetical order.

        Raises:
            InputError: If there are no files of the corpus, none of the language or split, or the listing fails.
        """
        files = self._published() if self.root is None else self._stored(self.root)
        chosen = [file for file in files if self._may_be_chosen(file.name)]
        groups = self._reader().group(sorted(chosen, key=lambda file: file.name))
        shards = [self._shard(name, group) for name, group in groups.items() if self._may_be_of(group, self.splits)]
        for splits in [(split,) for split in self.splits] or [()]:
            if not any(self._may_be_of(group, splits) for group in groups.values()):
                raise self._none_of(splits, files)
        shards.sort(key=lambda shard: shard.name)
        for one, other in pairwise(shards):
            if one.name == other.name:
                raise InputError(
                    f"shard `{one.name}`: expected files whose names differ in letters, digits or ._/-, got "
                    f"{one.files[0]!r} and {other.files[0]!r}; rename one of them"
                )
        return tuple(shards)

    def read(self, shard: CorpusShard) -> Iterator[Utterance | Skipped]:
        """Stream the utterances of `shard` in the order of its files; see `AbstractCorpus.read`.

        Remote files of the shard are downloaded first, into the cache of `audio_data.fetch` or of the hub.

        Raises:
            InputError: If a file is missing, damaged, cut short or of another layout, or with `strict` at the first
                utterance that cannot be used.
        """
        files = self.fetch_shard(shard)
        for item in resolve_stream(self._reader().read(files), transcript_rule(self.transcripts)):
            if self.strict and isinstance(item, Skipped):
                raise InputError(f"utterance {item.id!r}: expected one that can be used, got: {item.reason}")
            if isinstance(item, Skipped) or self._is_wanted(item):
                yield item

    def fetch_shard(self, shard: CorpusShard) -> ShardFiles:
        """Bring the files of a shard to this machine; local ones stay where they are.

        Raises:
            InputError: If one is missing or cannot be downloaded.
        """
        names = [self._published_name(location) for location in shard.files]
        paths = {name: self._fetch(location) for name, location in zip(names, shard.files, strict=True)}
        language = self.card.language_of(names[0])
        if language == UNDETERMINED_LANGUAGE and self.language is not None:
            language = self.language
        return ShardFiles(shard.name, paths, language, self.card.split_of(names[0]) or "train")

    def _fetch(self, location: str) -> Path:
        """Return a local file; one of the hub is downloaded once into the hub's own cache."""
        if not location.startswith(_SCHEME):
            return fetch(storage_path(location))
        match = _LOCATION.fullmatch(location)
        if match is None:
            raise InputError(f"`{location}`: expected {_SCHEME}OWNER/NAME@REVISION/FILE; list the shards again")
        _, revision, name = match.groups()
        return self._repository(f"file `{name}` of corpus `{self.card.name}`", revision).fetch_file(name)

    def _repository(self, what: str, revision: str) -> HubRepository:
        way = f"give it: `{self.card.name} --root DIR`"
        return HubRepository(self.card.repository, what, way, revision, "dataset")

    @property
    def _hub_root(self) -> str:
        return f"{_SCHEME}{self.card.repository}@{self.card.revision}"

    def _published_name(self, location: str) -> str:
        """Return the name under which a file was published, of the place where it lies."""
        root = self._hub_root if self.root is None else str(self.root)
        return location.removeprefix(root).lstrip("/") or location.rpartition("/")[2]

    def _published(self) -> list[PublishedFile]:
        """List the files of the corpus on the hub, with their sizes; download nothing."""
        card = self.card
        if not card.on_hub:
            raise InputError(
                f"corpus `{card.name}`: expected a folder with its files, got none; it is not on the hub: "
                f"{card.download}, needed: {card.needs}; then give the folder: "
                f"`{card.name} --root DIR`"
            )
        listed = self._repository(f"corpus `{card.name}`", card.revision).list_files(card.folders, *card.files)
        return [
            PublishedFile(name, f"{self._hub_root}/{name}", size) for name, size in listed if matches(name, card.files)
        ]

    def _stored(self, root: StoragePath) -> list[PublishedFile]:
        """Return the corpus's files below a folder, or the one file that was given."""
        with disk_errors(root, "read"):
            if root.is_file():
                return [PublishedFile(root.name, str(root), root.stat().st_size)]
            is_folder = root.is_dir()
            paths = {str(path): path for glob in self.card.files for path in root.glob(glob) if path.is_file()}
        if not is_folder:
            raise InputError(f"corpus `{self.name}`: expected a folder or a file, got `{root}`, which does not exist")
        if not paths:
            raise InputError(
                f"`{root}`: expected files of corpus `{self.card.name}` as published "
                f"({', '.join(self.card.files)}), got none; to get them: {self.card.download.replace('DIR', str(root))}"
            )
        return [PublishedFile(self._published_name(name), name, path.stat().st_size) for name, path in paths.items()]

    def _may_be_chosen(self, name: str) -> bool:
        language = self.card.language_of(name)
        return self.language is None or language in (self.language, UNDETERMINED_LANGUAGE)

    def _may_be_of(self, group: Sequence[PublishedFile], splits: Sequence[str]) -> bool:
        """Whether a shard may hold utterances of one of the splits: a name that says nothing leaves it to them."""
        return not splits or self.card.split_of(group[0].name) in (None, *splits)

    def _none_of(self, splits: Sequence[str], files: Sequence[PublishedFile]) -> InputError:
        languages = sorted({self.card.language_of(file.name) for file in files})
        found = sorted({self.card.split_of(file.name) or "none" for file in files})
        return InputError(
            f"`{self.root or self.card.repository}`: expected whole shards of corpus `{self.name}` (language "
            f"{self.language!r}, split {splits[0] if splits else None!r}), got none in {len(files)} files; by their "
            f"names the languages are {languages} and the splits {found}"
        )

    def _is_wanted(self, utterance: Utterance) -> bool:
        # Where files have one language each, the choice is made; a translation pair has an utterance in another.
        by_file = self.card.language_pattern is not None
        has_split = not self.splits or utterance.split in self.splits
        return has_split and (by_file or self.language in (None, utterance.language))

    def _shard(self, name: str, files: tuple[PublishedFile, ...]) -> CorpusShard:
        sizes = [file.num_bytes for file in files]
        digest = [[file.name, file.num_bytes] for file in files]
        settings = [self.card.reader, _NAMES_IN_FINGERPRINTS.get(self.transcripts, self.transcripts)]
        return CorpusShard(
            name=_NOT_IN_A_NAME.sub("_", name),
            fingerprint=hashlib.sha256(json.dumps([digest, settings]).encode()).hexdigest(),
            num_bytes=None if None in sizes else sum(size for size in sizes if size is not None),
            files=tuple(file.location for file in files),
        )

    def _reader(self) -> Reader:
        from audio_tokenize.corpora.readers import READERS

        return READERS[self.card.reader]
