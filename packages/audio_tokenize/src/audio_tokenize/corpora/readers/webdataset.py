"""Tar archives in which the files of an utterance lie side by side under one name: WebDataset's form, and Emilia's."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from audio_tokenize.corpora.entries import AUDIO_SUFFIXES, Entry
from audio_tokenize.corpora.readers.archives import Member, tar_members
from audio_tokenize.corpora.readers.base import ShardFiles
from audio_tokenize.corpora.readers.fields import first_string, positive_number
from audio_tokenize.corpora.utterance import UNKNOWN_SPEAKER, Skipped
from audio_tokenize.waveform import AudioBytes

TEXT_FIELDS = ("text", "transcript", "transcription", "sentence")


@dataclass(frozen=True)
class Sample:
    """The files of one utterance.

    Attributes:
        key: Their common name without suffix.
        audio: The recording.
        content: What the `.json` says, or `text` alone where there is a `.txt`.
        where: Archive and member, for messages.
    """

    key: str
    audio: AudioBytes
    content: Mapping[str, Any]
    where: str


def _key_and_suffix(name: str) -> tuple[str, str]:
    """WebDataset's key: the path up to the first dot of the file's name."""
    path = PurePosixPath(name)
    base, _, suffix = path.name.partition(".")
    return (path.parent / base).as_posix(), f".{suffix.lower()}"


def _parse(member: Member, suffix: str) -> Mapping[str, Any] | str:
    """What a `.json` or `.txt` says, or why it says nothing."""
    raw = member.read()
    try:
        text = raw.decode("utf-8-sig")
        content = json.loads(text) if suffix == ".json" else {"text": text}
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        return f"{member.where}: expected {'JSON' if suffix == '.json' else 'UTF-8'}, got {error}"
    return content if isinstance(content, dict) else f"{member.where}: expected a JSON object, got {text[:40]!r}"


class _Parts:
    """The files of one key, as they come."""

    def __init__(self, key: str, where: str) -> None:
        self.key, self.where = key, where
        self.audio: AudioBytes | None = None
        self.content: Mapping[str, Any] | str | None = None
        self.done = False

    def add(self, member: Member, suffix: str) -> None:
        if suffix in AUDIO_SUFFIXES:
            self.audio, self.where = AudioBytes(f"{member.archive}/{member.name}", member.read()), member.where
        elif suffix in (".json", ".txt"):
            self.content = _parse(member, suffix)

    def sample(self) -> Sample | Skipped | None:
        """The sample as soon as it is whole; None before."""
        if self.done or self.audio is None or self.content is None:
            return None
        self.done = True
        audio, content = self.audio, self.content
        self.audio = self.content = None
        return Skipped(self.key, content) if isinstance(content, str) else Sample(self.key, audio, content, self.where)

    def missing(self) -> Skipped | None:
        """Why there will be no sample, once the next key has begun."""
        if self.done or (self.audio is None and self.content is None):
            return None
        lacks = ".json or .txt" if self.content is None else f"audio ({', '.join(AUDIO_SUFFIXES)})"
        return Skipped(self.key, f"{self.where}: there is no {lacks} beside it")


def samples(shard: ShardFiles) -> Iterator[Sample | Skipped]:
    """Streams the samples of an archive; nothing of the next one is read before this one is used.

    Raises:
        InputError: If the archive is missing, damaged or cut short.
    """
    parts = _Parts("", "")
    for member in tar_members(shard.path):
        key, suffix = _key_and_suffix(member.name)
        if key != parts.key:
            if missing := parts.missing():
                yield missing
            parts = _Parts(key, member.where)
        parts.add(member, suffix)
        if sample := parts.sample():
            yield sample
    if missing := parts.missing():
        yield missing


def read_webdataset(shard: ShardFiles) -> Iterator[Entry | Skipped]:
    """Yields one utterance per pair of audio and `.json` or `.txt`; its id is their name.

    The transcript is the first of `text`, `transcript`, `transcription`, `sentence` that the JSON has; `id`, `speaker`,
    `language`, `split`, `recording` and `duration` (seconds) are understood, the rest is kept in `extra`.

    Raises:
        InputError: If the archive is missing, damaged or cut short.
    """
    for sample in samples(shard):
        if isinstance(sample, Skipped):
            yield sample
            continue
        content = sample.content
        name = first_string(content, ("id",)) or sample.key
        known = {"id", "speaker", "language", "split", "recording", *TEXT_FIELDS}
        yield Entry(
            id=name,
            text=first_string(content, TEXT_FIELDS),
            audio=sample.audio,
            recording=first_string(content, ("recording",)) or name,
            where=sample.where,
            stated_seconds=positive_number(content.get("duration")),
            speaker=first_string(content, ("speaker",)) or UNKNOWN_SPEAKER,
            language=first_string(content, ("language",)) or shard.language,
            split=first_string(content, ("split",)) or shard.split,
            extra={field: value for field, value in content.items() if field not in known},
        )


def read_emilia(shard: ShardFiles) -> Iterator[Entry | Skipped]:
    """Yields the utterances of an Emilia or Emilia-YODAS archive: `NAME.mp3` with `NAME.json`.

    The JSON holds `id`, `wav`, `text`, `duration`, `speaker`, `language` and `dnsmos`. A name such as
    `EN_B00000_S00040_W000004` is batch, speaker and running number; utterances of one document share all but the last
    field, which is their `recording`. The transcript keeps the space that it begins with; the transcript rule says
    what becomes of it.

    Source: amphion/Emilia-Dataset; grouping of potsawee/tokenize-audio, emilia-mimi.

    Raises:
        InputError: If the archive is missing, damaged or cut short.
    """
    for sample in samples(shard):
        if isinstance(sample, Skipped):
            yield sample
            continue
        content, name = sample.content, PurePosixPath(sample.key).name
        yield Entry(
            id=name,
            text=first_string(content, ("text",)),
            audio=sample.audio,
            recording=name.rpartition("_")[0] or name,
            where=sample.where,
            stated_seconds=positive_number(content.get("duration")),
            speaker=first_string(content, ("speaker",)) or UNKNOWN_SPEAKER,
            language=first_string(content, ("language",)) or shard.language,
            split=shard.split,
            extra={"file": name} | {field: content[field] for field in ("dnsmos",) if field in content},
        )
