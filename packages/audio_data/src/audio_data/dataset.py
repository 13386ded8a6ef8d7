"""Reading a dataset at random: its documents, and the one stream of tokens they form end to end."""

import bisect
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Int, Int32, Int64

from audio_data.errors import InputError
from audio_data.manifest import MANIFEST_NAME, UNFINISHED_NAME, Manifest
from audio_data.records import Document, decode_metadata, decode_tokens
from audio_data.shards import check_shard_size, load_offsets, open_reader, shard_file, shard_files
from audio_data.vocabulary import Vocabulary

T = TypeVar("T")


class TokenDataset:
    """A dataset on disk, read at random: its documents, and the one stream of tokens they form.

    Opening reads the manifest and the document offsets and compares the size of every shard; `verify` reads everything.
    A shard is opened when it is first needed, by at most one handle in the process. Safe to read from several threads.

    Attributes:
        path: The folder.
        manifest: What the dataset holds.
        token_offsets: int64 [num_documents + 1], where each document begins in the stream; the last is the number of
            tokens.
    """

    def __init__(self, path: Path, manifest: Manifest, offsets: list[Int64[np.ndarray, " offsets"]]):
        """Use `TokenDataset.open`."""
        self.path = path
        self.manifest = manifest
        lengths = np.concatenate([np.diff(o) for o in offsets])
        self.token_offsets = _offsets_of(lengths)
        records_per_document = np.maximum(1, -(-lengths // manifest.tokens_per_record))
        self._first_record = _offsets_of(records_per_document)
        self._record_offsets = split_offsets(self.token_offsets, self._first_record, manifest.tokens_per_record)
        ends = np.cumsum([shard.num_documents for shard in manifest.shards])
        # Looked up once a record read, where a list and a ready path are several times faster than an array and a Path.
        self._shard_first_record: list[int] = [0, *self._first_record[ends].tolist()]
        self._files = [str(shard_file(path, shard)) for shard in manifest.shards]

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "TokenDataset":
        """Opens a dataset and checks what is cheap to check.

        Args:
            path: The folder that holds its ``manifest.json``.

        Raises:
            InputError: It is no dataset, or a shard is missing or has another size than the manifest says.
        """
        folder = Path(path)
        manifest = Manifest.read(find_manifest(folder))
        for shard in manifest.shards:
            check_shard_size(folder, shard)
        return cls(folder, manifest, [load_offsets(folder, shard) for shard in manifest.shards])

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what the dataset contains."""
        return self.manifest.fingerprint

    @property
    def vocabulary(self) -> Vocabulary:
        """What the ids mean."""
        return self.manifest.vocabulary

    @property
    def num_tokens(self) -> int:
        """Length of the stream."""
        return int(self.token_offsets[-1])

    def __len__(self) -> int:
        return self.token_offsets.size - 1

    def __iter__(self) -> Iterator[Document]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> Document:
        if not 0 <= index < len(self):
            raise IndexError(f"document {index} of {len(self)} in `{self.path}`")
        start, stop = self.token_offsets[index : index + 2]
        ids, mask = self.gather(np.array([start]), np.array([stop]))
        return Document(ids, mask, self.metadata(index))

    def metadata(self, index: int) -> dict[str, Any]:
        """Metadata of a document, without its tokens.

        Args:
            index: 0 .. len(self) - 1.
        """
        return self._decode(int(self._first_record[index]), decode_metadata)

    def read_tokens(self, start: int, stop: int) -> Int32[np.ndarray, " seq"]:
        """A slice of the stream.

        Args:
            start: First token, 0 .. num_tokens.
            stop: The token after the last.
        """
        return self.gather(np.array([start]), np.array([stop]))[0]

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
        if starts.size and not (starts.min() >= 0 and stops.max() <= self.num_tokens and (starts <= stops).all()):
            raise IndexError(f"slices {starts.tolist()}..{stops.tolist()} of {self.num_tokens} tokens in `{self.path}`")
        ids = np.empty(int((stops - starts).sum()), np.int32)
        mask: np.ndarray | None = None
        first = np.searchsorted(self._record_offsets, starts, "right") - 1
        last = np.searchsorted(self._record_offsets, stops, "left")
        filled = 0
        for start, stop, begin, end in zip(starts.tolist(), stops.tolist(), first.tolist(), last.tolist(), strict=True):
            for record in range(begin, end):
                part, part_mask = self._read_slice(record, start, stop)
                ids[filled : filled + part.size] = part
                if part_mask is not None:
                    mask = np.ones(ids.size, np.bool_) if mask is None else mask
                    mask[filled : filled + part.size] = part_mask
                filled += part.size
        return ids, mask

    def _read_slice(self, record: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray | None]:
        """The part of one record that lies in [start, stop) of the stream."""
        begin, end = int(self._record_offsets[record]), int(self._record_offsets[record + 1])
        first, last = max(start - begin, 0), min(stop, end) - begin
        return self._decode(record, lambda data: decode_tokens(data, first, last, expected_tokens=end - begin))

    def _decode(self, record: int, decode: Callable[[bytes], T]) -> T:
        """Reads one record; whatever is wrong with it is reported with its file and number."""
        shard = bisect.bisect_right(self._shard_first_record, record) - 1
        first, stop = self._shard_first_record[shard : shard + 2]
        file, sha256 = self._files[shard], self.manifest.shards[shard].sha256
        try:
            return decode(open_reader(file, sha256, stop - first).read([record - first])[0])
        except (InputError, RuntimeError) as error:
            owner, base = np.searchsorted(self._first_record, [record, first], "right") - 1
            raise InputError(
                f"shard `{file}`, record {record - first} (document {owner - base} of the shard) cannot be read: "
                f"{error}; restore the file or rebuild the dataset (`audio-data verify {self.path}` lists all damage)"
            ) from error


def open_root(path: str | os.PathLike[str]) -> dict[str, TokenDataset]:
    """Opens every dataset below a folder.

    Args:
        path: A folder with datasets in it, at any depth, or a dataset itself.

    Returns:
        Datasets by corpus: the path of each below the root, e.g. ``"yodas2/en"``, in alphabetical order. A root that is
        itself a dataset is named by its manifest.

    Raises:
        InputError: There is no dataset, one of them is damaged, or two differ in vocabulary.
    """
    root = Path(path)
    folders = sorted(file.parent for file in root.rglob(MANIFEST_NAME))
    if not folders:
        raise InputError(
            f"data folder `{root}`: expected at least one {MANIFEST_NAME} below it, got none; build a dataset first"
        )
    opened = [TokenDataset.open(folder) for folder in folders]
    names = [folder.relative_to(root).as_posix() for folder in folders]
    datasets = {d.manifest.corpus if name == "." else name: d for name, d in zip(names, opened, strict=True)}
    check_one_vocabulary(datasets)
    return datasets


def check_one_vocabulary(datasets: Mapping[str, TokenDataset]) -> None:
    """Checks that an id means the same in all datasets.

    Args:
        datasets: Datasets by corpus.

    Raises:
        InputError: Two vocabularies differ; the message names both manifests and both fingerprints.
    """
    first, *others = datasets.values()
    for other in others:
        if other.vocabulary != first.vocabulary:
            raise InputError(
                f"vocabularies differ: manifest `{first.path / MANIFEST_NAME}` has {first.vocabulary.fingerprint!r}, "
                f"manifest `{other.path / MANIFEST_NAME}` has {other.vocabulary.fingerprint!r}; "
                f"rebuild one of the two datasets with the vocabulary of the other"
            )


def find_manifest(folder: Path) -> Path:
    """The manifest of a dataset folder.

    Args:
        folder: What should be a dataset.

    Raises:
        InputError: There is none; the message tells a wrong path from an unfinished dataset.
    """
    manifest = folder / MANIFEST_NAME
    if manifest.is_file():
        return manifest
    if (folder / UNFINISHED_NAME).exists() or (folder.is_dir() and shard_files(folder)):
        raise InputError(
            f"dataset `{folder}` is unfinished: it has shards but no {MANIFEST_NAME}; run what builds it again"
        )
    raise InputError(f"dataset `{folder}`: expected a folder with a {MANIFEST_NAME}, got none; check the path")


def _offsets_of(lengths: Int[np.ndarray, " items"]) -> Int64[np.ndarray, " offsets"]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def split_offsets(
    token_offsets: Int64[np.ndarray, " offsets"], first_part: Int64[np.ndarray, " offsets"], part_size: int
) -> Int64[np.ndarray, " parts"]:
    """Where each part begins in the stream, where every document is cut into parts of `part_size` tokens and a rest.

    Args:
        token_offsets: Where each document begins in tokens, and where the last ends.
        first_part: Where each document begins in parts, and where the last ends.
        part_size: Tokens of every part of a document but its last.
    """
    num_parts = np.diff(first_part)
    if (num_parts == 1).all():
        return token_offsets
    document = np.repeat(np.arange(num_parts.size), num_parts)
    within = np.arange(document.size) - first_part[document]
    return np.append(token_offsets[document] + within * part_size, token_offsets[-1])
