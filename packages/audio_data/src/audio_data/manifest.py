"""What a dataset holds: counts, seconds, vocabulary, checksums. A folder is a dataset exactly when it has one.

`manifest.json` is written last and under a temporary name that is then renamed, so a process that is killed leaves
either the old dataset or a folder that says it is unfinished, never a dataset that lies.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from audio_data.errors import InputError
from audio_data.storage import AnyPath, read_bytes, storage_path, write_json
from audio_data.vocabulary import Vocabulary

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.json"
UNFINISHED_NAME = "unfinished.json"


# Fields whose type what follows relies on; the sums below hold for no other numbers than those of the shards.
_KINDS = {"tokens_by_kind": dict, "codec": dict, "provenance": dict, "tokens_per_record": int, "generation": int}


@dataclasses.dataclass(frozen=True)
class ShardInfo:
    """One shard file, as the manifest describes it.

    Attributes:
        name: Name of the shard in its folder, without ``.arrayrecord``.
        num_documents: Documents that begin in it; a document never spans two shards.
        num_tokens: Tokens in it.
        num_bytes: Size of the ``.arrayrecord`` file.
        sha256: Checksum of the ``.arrayrecord`` file, 64 hexadecimal digits.
    """

    name: str
    num_documents: int
    num_tokens: int
    num_bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What one dataset holds and where it comes from.

    Attributes:
        schema_version: Version of this layout.
        corpus: What the dataset is called by who made it.
        num_documents: Documents in all shards.
        num_tokens: Tokens in all shards.
        tokens_by_kind: Tokens of each of `Vocabulary.kinds`; they sum to `num_tokens`.
        audio_seconds: Sum of the documents' ``seconds``; documents that state none count as 0.
        vocabulary: What the ids mean.
        codec: The codec that made the audio ids: its ``id`` and whatever else it states, such as its attention window.
        shards: All shards, in document order.
        provenance: How the dataset was made, as JSON.
        tokens_per_record: A longer document lies in several records of the shard, each of this many tokens but the
            last.
        num_quarantined: Documents that were left out because they could not be used; ``quarantine.jsonl`` lists them.
        generation: 0, and one more each time the dataset is overwritten in place.
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
        """The manifest that `to_json` described.

        Args:
            value: A JSON object.

        Raises:
            InputError: A field is missing, the version is another, or counts and fingerprints do not agree.
        """
        if value.get("schema_version") != SCHEMA_VERSION:
            raise InputError(f"`schema_version`: expected {SCHEMA_VERSION}, got {value.get('schema_version')!r}")
        names = [field.name for field in dataclasses.fields(cls)]
        missing = sorted(set(names) - {"num_quarantined"} - set(value))
        if missing:
            raise InputError(f"expected the fields {names!r}, missing {missing!r}")
        fields = {name: value[name] for name in names if name in value}
        fields["vocabulary"] = Vocabulary.from_json(value["vocabulary"])
        try:
            fields["shards"] = tuple(ShardInfo(**shard) for shard in value["shards"])
        except TypeError as error:
            raise InputError(f"`shards`: {error}") from error
        for name, kind in _KINDS.items():
            if not isinstance(fields.get(name, kind()), kind):
                raise InputError(f"`{name}`: expected {kind.__name__}, got {fields[name]!r}")
        manifest = cls(**fields)
        manifest._check(value)
        return manifest

    @classmethod
    def read(cls, path: AnyPath) -> "Manifest":
        """Reads a manifest file.

        Args:
            path: The file itself, usually ``DATASET/manifest.json``.

        Raises:
            InputError: There is no such file or it is not a manifest; the message names the file.
        """
        try:
            content = read_bytes(storage_path(path))
            value = json.loads(content.decode())
            return cls.from_json(value if isinstance(value, dict) else {})
        except InputError as error:
            raise InputError(f"manifest `{path}`: {error.message}; rebuild the dataset") from error
        except ValueError as error:
            raise InputError(f"manifest `{path}` cannot be read ({error}); rebuild the dataset") from error

    def write(self, path: AnyPath) -> None:
        """Writes the manifest atomically.

        Args:
            path: The file; its folder must exist.
        """
        write_json(storage_path(path), self.to_json())

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
        if value.get("fingerprint") != self.fingerprint:
            raise InputError(f"`fingerprint`: expected {self.fingerprint!r}, got {value.get('fingerprint')!r}")
