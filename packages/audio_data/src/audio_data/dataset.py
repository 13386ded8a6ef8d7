"""A dataset for random access: its documents, and the stream of tokens that they form end to end."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Int, Int32, Int64

from audio_data.document_index import DocumentIndex, first_records
from audio_data.errors import InputError
from audio_data.holdouts import Holdout
from audio_data.manifest import MANIFEST_NAME, UNFINISHED_NAME, Manifest
from audio_data.quarantine import Budget, Damaged
from audio_data.record_files import open_records
from audio_data.records import Document, decode_metadata, decode_tokens
from audio_data.shards import (
    check_offsets_size,
    check_shard_size,
    load_holdout_keys,
    load_offsets,
    shard_file,
    shard_files,
)
from audio_data.storage import AnyPath, StoragePath, fetch, file_sizes, storage_path
from audio_data.suggestions import nearest_paths
from audio_data.vocabulary import Vocabulary

_NUM_REQUESTS = 16
_RECORDS_PER_READ = 256
_NUM_SHOWN = 3

T = TypeVar("T")


class TokenDataset:
    """A dataset on disk, read at random: its documents, and the one stream of tokens they form.

    Opening reads the manifest and compares the size of every file; `verify` reads everything. A shard is opened, and
    where its documents begin is looked up, when something of it is first needed; by at most one handle in the process.
    One on an object store is first copied to the cache of `fetch`. Safe to read from several threads.

    Attributes:
        path: The folder.
        manifest: What the dataset on disk holds, of which a `Holdout` takes a part.
        holdout: Which part of the dataset this is; None for the whole.
        quarantined: Numbers of the documents that may not be read, in growing order; see `quarantine_damage`.
    """

    def __init__(
        self,
        path: StoragePath,
        manifest: Manifest,
        index: DocumentIndex,
        holdout: Holdout | None = None,
        quarantined: Iterable[int] = (),
    ):
        """Use `TokenDataset.open`."""
        self.path = path
        self.manifest = manifest
        self.holdout = holdout
        self.quarantined = np.array(sorted(quarantined), np.int64)
        self._index = index
        self._num_tokens = index.num_tokens
        # Looked up once a record read, where a ready path is several times faster than a Path.
        self._files: list[str | None] = [None] * len(manifest.shards)

    @classmethod
    def open(
        cls, path: AnyPath, *, max_quarantined: Budget | None = None, holdout: Holdout | None = None
    ) -> "TokenDataset":
        """Open a dataset and check what is cheap to check.

        Args:
            path: The folder that holds its `manifest.json`, here or on an object store.
            max_quarantined: Most documents, as a number or as a share of all, that `damaged.json` may list: they are
                not missed, and rows in which they lie are padding. None ignores the list, so that damage raises.
            holdout: Takes the documents of one side only, as if there were no others; None takes all.

        Raises:
            InputError: It is no dataset, a shard is missing or has another size than the manifest says, more is damaged
                than allowed, or its documents cannot be told apart by what they are called.
        """
        folder = storage_path(path)
        manifest = Manifest.read(find_manifest(folder))
        damaged = set[int]()
        if max_quarantined is not None:
            listed = Damaged.read(folder, manifest.fingerprint, max_quarantined, manifest.num_documents)
            damaged = set(listed.documents)
        sizes, first = file_sizes(folder), 0
        for shard in manifest.shards:
            documents = range(first, first + shard.num_documents)
            first += shard.num_documents
            check_offsets_size(folder, shard, sizes)
            if not damaged.issuperset(documents):
                check_shard_size(folder, shard, sizes)
        offsets = _offsets_loader(folder, manifest)
        chosen = None if holdout is None else partial(_chosen_in_shard, folder, manifest, holdout)
        index = DocumentIndex(manifest.shards, manifest.tokens_per_record, offsets, chosen)
        return cls(folder, manifest, index, holdout, damaged if chosen is None else _renumbered(damaged, index, chosen))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what this holds; of the whole dataset, that of its manifest."""
        if self.holdout is None:
            return self.manifest.fingerprint
        part = json.dumps([self.manifest.fingerprint, self.holdout.to_json()], sort_keys=True)
        return hashlib.sha256(part.encode()).hexdigest()

    @property
    def vocabulary(self) -> Vocabulary:
        """What the ids mean."""
        return self.manifest.vocabulary

    @property
    def num_tokens(self) -> int:
        """Length of the stream."""
        return self._num_tokens

    @property
    def token_offsets(self) -> Int64[np.ndarray, " offsets"]:
        """Where each document begins in the stream, and where the last ends.

        Made anew of all shards, 8 bytes a document; `span` and `documents_of` look up single ones.
        """
        return self._index.token_offsets()

    def span(self, index: int) -> tuple[int, int]:
        """First token of a document in the stream, and the token after its last.

        Args:
            index: 0 .. len(self) - 1.
        """
        return self._index.span(index)

    def documents_of(self, tokens: Int[np.ndarray, " tokens"]) -> Int64[np.ndarray, " tokens"]:
        """Return the document of each of some tokens of the stream.

        Args:
            tokens: Each 0 .. num_tokens - 1.
        """
        return self._index.documents_of(tokens)

    def __len__(self) -> int:
        return self._index.num_documents

    def __iter__(self) -> Iterator[Document]:
        """Every document in order, several records a read: three times as fast as one by one (measured)."""
        if self.holdout is not None or self.quarantined.size:
            yield from map(self.__getitem__, range(len(self)))
            return
        first = 0
        for number, info in enumerate(self.manifest.shards):
            shard, records = self._index.shard(number), self._records(number)
            for document, num_tokens in enumerate(np.diff(shard.offsets).tolist()):
                if num_tokens > self.manifest.tokens_per_record:
                    for _ in range(-(-num_tokens // self.manifest.tokens_per_record)):
                        next(records)
                    yield self[first + document]
                else:
                    decode = partial(_whole_document, num_tokens=num_tokens)
                    yield self._decode(number, shard.first_record(document), decode, next(records))
            first += info.num_documents

    def __getitem__(self, index: int) -> Document:
        if not 0 <= index < len(self):
            raise IndexError(f"document {index} of {len(self)} in `{self.path}`")
        ids, mask = self.read(*self.span(index))
        return Document(ids, mask, self.metadata(index))

    def metadata(self, index: int) -> dict[str, Any]:
        """Metadata of a document, without its tokens.

        Args:
            index: 0 .. len(self) - 1.
        """
        shard, document = self._index.place(index)
        return self._decode(shard, self._index.shard(shard).first_record(document), decode_metadata)

    def read_tokens(self, start: int, stop: int) -> Int32[np.ndarray, " seq"]:
        """Return a slice of the stream.

        Args:
            start: First token, 0 .. num_tokens.
            stop: The token after the last.
        """
        return self.read(start, stop)[0]

    def read(self, start: int, stop: int) -> tuple[Int32[np.ndarray, " tokens"], Bool[np.ndarray, " tokens"] | None]:
        """Return a slice of the stream with its loss mask; `gather` reads several.

        Args:
            start: First token, 0 .. num_tokens.
            stop: The token after the last.

        Returns:
            The ids, and the loss mask, or None if every token counts and no document read has a mask.

        Raises:
            IndexError: The slice leaves the stream.
            InputError: A record is damaged; the message names the file and the record.
        """
        if not 0 <= start <= stop <= self._num_tokens:
            raise IndexError(f"slice {start}..{stop} of {self._num_tokens} tokens in `{self.path}`")
        ids = np.empty(stop - start, np.int32)
        return ids, self._fill(ids, None, 0, start, stop)

    def gather(
        self, starts: Int[np.ndarray, " spans"], stops: Int[np.ndarray, " spans"]
    ) -> tuple[Int32[np.ndarray, " tokens"], Bool[np.ndarray, " tokens"] | None]:
        """Several slices of the stream, one after the other.

        Args:
            starts: First token of each slice.
            stops: The token after the last of each slice.

        Returns:
            The ids, and the loss mask, or None if every token counts and no document read has a mask.

        Raises:
            IndexError: A slice leaves the stream.
            InputError: A record is damaged; the message names the file and the record.
        """
        spans = list(zip(starts.tolist(), stops.tolist(), strict=True))
        if not all(0 <= start <= stop <= self._num_tokens for start, stop in spans):
            raise IndexError(f"slices {spans} of {self._num_tokens} tokens in `{self.path}`")
        ids = np.empty(sum(stop - start for start, stop in spans), np.int32)
        mask, filled = None, 0
        for start, stop in spans:
            mask = self._fill(ids, mask, filled, start, stop)
            filled += stop - start
        return ids, mask

    def _fill(self, ids: np.ndarray, mask: np.ndarray | None, filled: int, start: int, stop: int) -> np.ndarray | None:
        """Read a slice of the stream into `ids` from `filled` on; make the mask when the first record has one."""
        for shard, record, first, last, size in self._index.parts(start, stop):
            part = slice(filled, filled + last - first)
            part_mask = self._read_slice(shard, record, first, last, size, ids[part])
            if part_mask is not None:
                mask = np.ones(ids.size, np.bool_) if mask is None else mask
                mask[part] = part_mask
            filled = part.stop
        return mask

    def _read_slice(
        self, shard: int, record: int, first: int, last: int, size: int, out: np.ndarray
    ) -> np.ndarray | None:
        """Read tokens of one record of `size` tokens into `out`; return their mask if it has one."""
        return self._decode(
            shard, record, lambda data: decode_tokens(data, first, last, expected_tokens=size, out=out)
        )[1]

    def _fetch(self, shard: int) -> str:
        """Return the local file of a shard; where the dataset is remote, its copy in the cache."""
        info = self.manifest.shards[shard]
        file = self._files[shard] = str(fetch(shard_file(self.path, info), sha256=info.sha256))
        return file

    def _records(self, shard: int) -> Iterator[bytes | None]:
        """Yield the bytes of every record of a shard in order; None where a read of several fails."""
        num_records = self._index.shard(shard).num_records
        for start in range(0, num_records, _RECORDS_PER_READ):
            end = min(start + _RECORDS_PER_READ, num_records)
            try:
                file = self._files[shard] or self._fetch(shard)
                yield from open_records(file, self.manifest.shards[shard].sha256, num_records).read(start, end)
            except (InputError, RuntimeError):
                yield from repeat(None, end - start)

    def _decode(self, shard: int, record: int, decode: Callable[[bytes], T], content: bytes | None = None) -> T:
        """Read one record, or take what was read; whatever is wrong is reported with its file and number."""
        try:
            if content is not None:
                return decode(content)
            file = self._files[shard] or self._fetch(shard)
            num_records = self._index.shard(shard).num_records
            # As a range and not as a list of one: a microsecond of six.
            reader = open_records(file, self.manifest.shards[shard].sha256, num_records)
            return decode(reader.read(record, record + 1)[0])
        except (InputError, RuntimeError) as error:
            info = self.manifest.shards[shard]
            firsts = first_records(load_offsets(self.path, info), self.manifest.tokens_per_record)
            owner = record if firsts is None else int(np.searchsorted(firsts, record, "right")) - 1
            raise InputError(
                f"shard `{shard_file(self.path, info)}`, record {record} (document {owner} of the shard) cannot be "
                f"read: {error}; restore the file or rebuild the dataset "
                f"(`audio-data verify {self.path}` lists all damage)"
            ) from error


def _whole_document(record: bytes, num_tokens: int) -> Document:
    return Document(*decode_tokens(record, expected_tokens=num_tokens), decode_metadata(record))


def find_manifest(folder: StoragePath) -> StoragePath:
    """Return the manifest of a dataset folder.

    Args:
        folder: What should be a dataset.

    Raises:
        InputError: There is none; the message tells a wrong path from an unfinished dataset, and names what is near.
    """
    manifest = folder / MANIFEST_NAME
    if manifest.is_file():
        return manifest
    if (folder / UNFINISHED_NAME).exists() or (folder.is_dir() and shard_files(folder)):
        raise InputError(
            f"dataset `{folder}` is unfinished: it has shards but no {MANIFEST_NAME}; run what builds it again"
        )
    below = sorted({str(file.parent) for file in folder.rglob(MANIFEST_NAME)})[:_NUM_SHOWN]
    advice = f"give one of the datasets below it, such as {below!r}" if below else "check the path"
    raise InputError(
        f"dataset `{folder}`: expected a folder with a {MANIFEST_NAME}, got none; {advice}{nearest_paths(folder)}"
    )


def _offsets_loader(folder: StoragePath, manifest: Manifest) -> Callable[[int], Int[np.ndarray, " offsets"]]:
    """Read the offsets of a shard when they are needed; from a store at once, several requests at a time."""
    if isinstance(folder, Path):
        return partial(_offsets_of_shard, folder, manifest)
    with ThreadPoolExecutor(_NUM_REQUESTS) as pool:
        return list(pool.map(partial(_offsets_of_shard, folder, manifest), range(len(manifest.shards)))).__getitem__


def _offsets_of_shard(folder: StoragePath, manifest: Manifest, shard: int) -> Int[np.ndarray, " offsets"]:
    return load_offsets(folder, manifest.shards[shard])


def _chosen_in_shard(
    folder: StoragePath, manifest: Manifest, holdout: Holdout, shard: int
) -> Bool[np.ndarray, " documents"]:
    return holdout.choose(load_holdout_keys(folder, manifest.shards[shard]))


def _renumbered(
    documents: set[int], index: DocumentIndex, chosen: Callable[[int], Bool[np.ndarray, " documents"]]
) -> set[int]:
    """Numbers of documents of a dataset, as they are among the chosen ones; without those that are not."""
    if not documents:
        return set()
    taken = np.concatenate([chosen(shard) for shard in range(index.num_shards)])
    return {int(taken[:document].sum()) for document in documents if taken[document]}
