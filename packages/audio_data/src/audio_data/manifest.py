"""The manifest of a dataset: counts, seconds, vocabulary, checksums. A folder is a dataset exactly when it has one.

`manifest.json` is written last and under a temporary name that is then renamed, so a process that is killed leaves
either the old dataset or a folder that says it is unfinished, never a dataset that lies.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from audio_data.errors import InputError
from audio_data.json_files import from_json, read_json, write_sealed_json
from audio_data.storage import AnyPath
from audio_data.vocabulary import Vocabulary

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.json"
UNFINISHED_NAME = "unfinished.json"

_FINGERPRINTS = frozenset({"fingerprint", "vocabulary_fingerprint"})
_SHARD_NAME = re.compile(r"[\w-]+(\.[\w-]+)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True)
class ShardInfo:
    """One shard file, as the manifest describes it.

    Attributes:
        name: Name of the shard in its folder, without `.arrayrecord`.
        num_documents: Documents that begin in it; a document never spans two shards.
        num_tokens: Tokens in it.
        num_bytes: Size of the `.arrayrecord` file.
        sha256: Checksum of the `.arrayrecord` file, 64 hexadecimal digits.
        offsets_sha256: Checksum of the `.offsets.npy` file; "" where an older version wrote the dataset.
        holdout_sha256: Checksum of the `.holdout.npy` file; "" where there is none, or an older version wrote it.
    """

    name: str
    num_documents: int
    num_tokens: int
    num_bytes: int
    sha256: str
    offsets_sha256: str = ""
    holdout_sha256: str = ""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What one dataset holds and where it comes from.

    Attributes:
        schema_version: Version of this layout.
        corpus: What the dataset is called by who made it.
        num_documents: Documents in all shards.
        num_tokens: Tokens in all shards.
        tokens_by_kind: Tokens of each of `Vocabulary.kinds`; they sum to `num_tokens`.
        audio_seconds: Sum of the documents' `seconds`; documents that state none count as 0.
        vocabulary: What the ids mean.
        codec: The codec that made the audio ids: its `id` and whatever else it states, such as its attention window.
        shards: All shards, in document order.
        provenance: How the dataset was made, as JSON.
        tokens_per_record: A longer document lies in several records of the shard, each of this many tokens but the
            last.
        num_quarantined: Documents that were left out because they could not be used; `quarantine.jsonl` lists them.
        generation: 0, or more where it was written to replace a dataset: its shards are then named by their content.
        quarantine_sha256: Checksum of `quarantine.jsonl`; "" where nothing was left out, or an older version wrote.
    """

    schema_version: int
    corpus: str
    num_documents: int
    num_tokens: int
    tokens_by_kind: dict[str, int]
    audio_seconds: int | float
    vocabulary: Vocabulary
    codec: dict[str, Any]
    shards: tuple[ShardInfo, ...]
    provenance: dict[str, Any]
    tokens_per_record: int
    generation: int = 0
    num_quarantined: int = 0
    quarantine_sha256: str = ""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over what the dataset contains: vocabulary, counts, the checksum of every shard; not file names."""
        content = [self.vocabulary.fingerprint, self.tokens_per_record]
        content += [[shard.num_documents, shard.num_tokens, shard.sha256] for shard in self.shards]
        return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """All fields and the two fingerprints, as JSON values."""
        value = dataclasses.asdict(self)
        value["shards"] = [dataclasses.asdict(shard) for shard in self.shards]
        return {**value, "vocabulary_fingerprint": self.vocabulary.fingerprint, "fingerprint": self.fingerprint}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Manifest":
        """Return the manifest that `to_json` described.

        Args:
            value: A JSON object.

        Raises:
            InputError: A field is missing, the version is another, or counts and fingerprints do not agree.
        """
        if value.get("schema_version") != SCHEMA_VERSION:
            raise InputError(f"`schema_version`: expected {SCHEMA_VERSION}, got {value.get('schema_version')!r}")
        fields = {name: item for name, item in value.items() if name not in _FINGERPRINTS}
        manifest = from_json(cls, fields, "manifest")
        manifest._check(value)
        return manifest

    @classmethod
    def read(cls, path: AnyPath, *, remedy: str = "restore it or rebuild the dataset") -> "Manifest":
        """Read a manifest file.

        Args:
            path: The file itself, usually `DATASET/manifest.json`.
            remedy: What a user does about a damaged file.

        Raises:
            InputError: There is no such file or it is not a manifest; the message names the file.
        """
        value = read_json(path, remedy=remedy)
        try:
            return cls.from_json(value)
        except InputError as error:
            raise InputError(f"manifest `{path}`: {error.message}; {remedy}") from error

    def write(self, path: AnyPath) -> None:
        """Write the manifest atomically, with the checksum of its content.

        Args:
            path: The file; its folder must exist.
        """
        write_sealed_json(path, self.to_json())

    def _check(self, value: Mapping[str, Any]) -> None:
        sums = {
            "num_documents": sum(shard.num_documents for shard in self.shards),
            "num_tokens": sum(shard.num_tokens for shard in self.shards),
        }
        for name, total in sums.items():
            if getattr(self, name) != total:
                raise InputError(f"`{name}`: expected {total}, the sum over shards, got {getattr(self, name)!r}")
        if sum(self.tokens_by_kind.values()) != self.num_tokens:
            raise InputError(f"`tokens_by_kind`: expected a sum of {self.num_tokens}, got {self.tokens_by_kind!r}")
        if set(self.tokens_by_kind) != set(self.vocabulary.kinds):
            raise InputError(f"`tokens_by_kind`: expected {self.vocabulary.kinds!r}, got {list(self.tokens_by_kind)!r}")
        limits = {"tokens_per_record": 1, "generation": 0, "num_quarantined": 0, "audio_seconds": 0}
        for name, least in limits.items():
            if getattr(self, name) < least:
                raise InputError(f"`{name}`: expected at least {least}, got {getattr(self, name)!r}")
        _check_shards(self.shards)
        stated = {"fingerprint": self.fingerprint, "vocabulary_fingerprint": self.vocabulary.fingerprint}
        for name, expected in stated.items():
            if value.get(name) != expected:
                raise InputError(f"`{name}`: expected {expected!r}, got {value.get(name)!r}")


def _check_shards(shards: tuple[ShardInfo, ...]) -> None:
    """Refuses counts below 0, and names that are no plain file names or there twice."""
    seen = set[str]()
    for shard in shards:
        counts = (shard.num_documents, shard.num_tokens, shard.num_bytes)
        digests = (shard.sha256, shard.offsets_sha256 or shard.sha256, shard.holdout_sha256 or shard.sha256)
        if min(counts) < 0 or not _SHARD_NAME.fullmatch(shard.name) or shard.name in seen:
            raise InputError(f"`shards`: expected another name of each, and counts from 0, got {shard!r}")
        if not all(map(_SHA256.fullmatch, digests)):
            raise InputError(f"`shards`: expected checksums of 64 hexadecimal digits, got {shard!r}")
        seen.add(shard.name)
