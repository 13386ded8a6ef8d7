"""Writing a dataset: shards that appear whole, a manifest that appears last, and going on after a crash."""

import dataclasses
import json
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import numpy as np

from audio_data.errors import InputError
from audio_data.manifest import MANIFEST_NAME, SCHEMA_VERSION, UNFINISHED_NAME, Manifest
from audio_data.quarantine import Quarantine
from audio_data.records import Document
from audio_data.shards import ShardWriter, load_offsets, shard_files
from audio_data.storage import AnyPath, StoragePath, disk_errors, sole_writer, storage_path
from audio_data.vocabulary import Vocabulary


class DatasetWriter:
    """Writes documents as a dataset; a context manager.

    Nothing is a dataset until the ``with`` block ends without an error: only then is the manifest written. A shard is
    written under a temporary name and renamed when it is complete. After a crash, open the writer again with the same
    arguments and write the same documents in the same order: those of complete shards are recognised and passed over
    (or not even made, see `skip_resumed`), and the result is the same, byte for byte, as without the crash.

    Args:
        path: Folder of the dataset, here or on an object store; made if it does not exist. One process writes
            at a time.
        corpus: What to call the dataset.
        vocabulary: What the ids mean; every id is checked against it.
        provenance: How the dataset is made, as JSON: whatever somebody needs who wants to make it again.
        codec: What is known of the codec: ``id``, attention window, frame rate; ``{"id": vocabulary.codec_id}`` if
            None.
        documents_per_shard: A shard ends after this many documents,
        tokens_per_shard: or when it holds at least this many tokens.
        tokens_per_record: Longer documents are stored in several records of this many tokens.
        overwrite: Replace the dataset that is there, at the moment when the new one is complete. If False and there is
            one, opening raises.
        quarantine: What the documents' source leaves out. When the dataset is complete, its budget is checked, and
            what is in it is counted in the manifest and listed in ``quarantine.jsonl``.

    Raises:
        InputError: On opening, if another process writes there, or the folder cannot be written, holds a dataset, or
            holds an unfinished one made differently.
    """

    def __init__(
        self,
        path: AnyPath,
        *,
        corpus: str,
        vocabulary: Vocabulary,
        provenance: Mapping[str, Any],
        codec: Mapping[str, Any] | None = None,
        documents_per_shard: int = 8192,
        tokens_per_shard: int = 2**26,
        tokens_per_record: int = 8192,
        overwrite: bool = False,
        quarantine: Quarantine | None = None,
    ):
        limits = {"documents_per_shard": documents_per_shard, "tokens_per_shard": tokens_per_shard}
        for name, value in {**limits, "tokens_per_record": tokens_per_record}.items():
            if value < 1:
                raise InputError(f"`{name}`: expected at least 1, got {value!r}")
        self.path = storage_path(path)
        self.num_resumed = 0
        self._limits = limits
        self._overwrite = overwrite
        self._quarantine = Quarantine(None) if quarantine is None else quarantine
        self._shard: ShardWriter | None = None
        self._hold = ExitStack()
        self._num_seen = 0
        self._resumed_lengths = np.zeros(0, np.int64)
        self._totals = Manifest(
            schema_version=SCHEMA_VERSION,
            corpus=corpus,
            num_documents=0,
            num_tokens=0,
            tokens_by_kind=dict.fromkeys(vocabulary.kinds, 0),
            audio_seconds=0.0,
            vocabulary=vocabulary,
            codec=_as_json({"id": vocabulary.codec_id} if codec is None else codec, "codec"),
            shards=(),
            provenance=_as_json(provenance, "provenance"),
            tokens_per_record=tokens_per_record,
        )

    def __enter__(self) -> "DatasetWriter":
        with ExitStack() as hold:
            hold.enter_context(sole_writer(self.path))
            with disk_errors(self.path):
                self._begin()
            self._hold = hold.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._hold:
            if kind is None:
                self._finish()
            elif self._shard is not None:
                self._shard.discard()

    @property
    def manifest(self) -> Manifest:
        """What the complete shards hold; after the ``with`` block, the manifest of the dataset."""
        return self._totals

    def write(self, document: Document) -> None:
        """Adds a document at the end.

        Args:
            document: Its ids must belong to the vocabulary. Empty documents are kept.

        Raises:
            InputError: An id outside the vocabulary, or, after a crash, a document unlike the one that is already
                there.
        """
        position = self._num_seen
        self._num_seen += 1
        if position < self.num_resumed:
            self._check_resumed(position, document)
            return
        if self._shard is None:
            self._shard = self._open_shard()
        try:
            self._shard.write(document)
        except InputError as error:
            raise InputError(f"document {position} (id {document.metadata.get('id')!r}): {error.message}") from error
        if self._shard.is_full(**self._limits):
            self._close_shard()

    def skip_resumed(self) -> int:
        """Passes over the documents that complete shards already hold, for a producer that can start in the middle.

        Returns:
            How many documents from the beginning the producer must leave out. 0 unless an earlier writer was
            interrupted.
        """
        self._num_seen = self.num_resumed
        return self.num_resumed

    def _begin(self) -> None:
        manifest, unfinished = self.path / MANIFEST_NAME, self.path / UNFINISHED_NAME
        if manifest.exists():
            if not self._overwrite:
                raise InputError(f"dataset `{self.path}` exists; choose another folder, or overwrite it")
            self._totals = dataclasses.replace(self._totals, generation=_next_generation(manifest))
        if unfinished.exists() and not self._overwrite:
            self._resume(Manifest.read(unfinished))
        elif not self._overwrite and shard_files(self.path):
            raise InputError(
                f"folder `{self.path}` holds shards but no manifest; choose another folder, or overwrite it"
            )
        else:
            self._totals.write(unfinished)
        self._remove_strays()

    def _resume(self, found: Manifest) -> None:
        for name in ("corpus", "vocabulary", "codec", "provenance", "tokens_per_record"):
            expected, got = getattr(self._totals, name), getattr(found, name)
            if expected != got:
                raise InputError(
                    f"unfinished dataset `{self.path}` was made with another `{name}`: "
                    f"expected {expected!r}, got {got!r}; overwrite it, or choose another folder"
                )
        self._totals = found
        self.num_resumed = found.num_documents
        offsets = [load_offsets(self.path, shard) for shard in found.shards]
        self._resumed_lengths = np.concatenate([np.diff(o) for o in offsets]) if offsets else self._resumed_lengths

    def _check_resumed(self, position: int, document: Document) -> None:
        expected = int(self._resumed_lengths[position])
        if len(document) != expected:
            raise InputError(
                f"unfinished dataset `{self.path}`: document {position} was written with {expected} tokens, "
                f"got {len(document)!r}; its source has changed, so overwrite the dataset"
            )

    def _open_shard(self) -> ShardWriter:
        # Another generation has other names, so that the old dataset stays whole until the new manifest replaces its
        # own.
        generation, index = self._totals.generation, len(self._totals.shards)
        name = f"shard-{generation}-{index:05d}" if generation else f"shard-{index:05d}"
        return ShardWriter(self.path, name, self._totals.vocabulary, self._totals.tokens_per_record)

    def _close_shard(self) -> None:
        if self._shard is None:
            return
        info, counts, seconds = self._shard.finish()
        self._shard = None
        totals = self._totals
        by_kind = {kind: total + int(n) for (kind, total), n in zip(totals.tokens_by_kind.items(), counts, strict=True)}
        self._totals = dataclasses.replace(
            totals,
            num_documents=totals.num_documents + info.num_documents,
            num_tokens=totals.num_tokens + info.num_tokens,
            tokens_by_kind=by_kind,
            audio_seconds=totals.audio_seconds + seconds,
            shards=(*totals.shards, info),
        )
        self._totals.write(self.path / UNFINISHED_NAME)

    def _finish(self) -> None:
        if self._num_seen < self.num_resumed:
            raise InputError(
                f"unfinished dataset `{self.path}` holds {self.num_resumed} documents, got {self._num_seen!r}; "
                f"its source has changed, so overwrite the dataset"
            )
        self._close_shard()
        if not self._totals.num_documents:
            raise InputError(f"dataset `{self.path}`: no document was written; check what the documents are made from")
        self._quarantine.check(self._totals.num_documents + len(self._quarantine))
        self._quarantine.write(self.path)
        self._totals = dataclasses.replace(self._totals, num_quarantined=len(self._quarantine))
        self._totals.write(self.path / MANIFEST_NAME)
        (self.path / UNFINISHED_NAME).unlink()
        self._remove_strays()

    def _remove_strays(self) -> None:
        """Removes what no manifest mentions: temporary files, shards of an older generation or an abandoned attempt."""
        keep = {shard.name for shard in self._totals.shards}
        manifest = self.path / MANIFEST_NAME
        if manifest.exists():
            keep |= {shard.name for shard in Manifest.read(manifest).shards}
        for file, shard in shard_files(self.path).items():
            if shard not in keep:
                (self.path / file).unlink()


def _next_generation(manifest: StoragePath) -> int:
    """The generation that replaces a dataset; one whose manifest is broken is nothing worth keeping until then.

    Without shards beside it, a file of that name is someone else's.
    """
    try:
        return Manifest.read(manifest).generation + 1
    except InputError as error:
        if not shard_files(manifest.parent):
            raise InputError(
                f"`{manifest}` is no dataset's and is not overwritten: move it, or choose another folder"
            ) from error
        manifest.unlink()
        return 0


def _as_json(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A mapping as it will read back from a file, so that a resumed writer compares like with like."""
    try:
        return json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"`{name}`: expected JSON values, got {value!r} ({error})") from error
