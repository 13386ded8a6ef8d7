"""Tar archives in which the files of an utterance lie side by side under one name: WebDataset's form, and Emilia's."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from audio_data import InputError
from audio_tokenize.corpora.corpus import UNKNOWN_SPEAKER, Skipped
from audio_tokenize.corpora.entries import AUDIO_SUFFIXES, Entry, unread_audio
from audio_tokenize.corpora.reader import ShardFiles, first_string, first_text, stated_length
from audio_tokenize.corpora.readers.archives import Member, tar_members
from audio_tokenize.corpora.record_rules import KEYS, MAX_AUDIO_BYTES, MAX_TEXT_BYTES, parse_json_object
from audio_tokenize.corpora.text_lines import decode_text
from audio_tokenize.corpora.times import TIME_KEYS, span_of
from audio_tokenize.waveform import AudioBytes

_TEXTS = (".json", ".txt")


@dataclass(frozen=True)
class Sample:
    """The files of one utterance.

    Attributes:
        key: Their common name without suffix.
        audio: The recording.
        content: What the `.json` says, or `text` alone where there is a `.txt`; empty where there is neither.
        where: Archive and member, for messages.
    """

    key: str
    audio: AudioBytes
    content: Mapping[str, Any]
    where: str


def _key_and_suffix(name: str) -> tuple[str, str]:
    """Return the path up to the last dot of the file's name, and the rest in lower case.

    WebDataset cuts at the first dot, which would make one utterance of `LJ001.0001.wav` and `LJ001.0002.wav`.
    """
    path = PurePosixPath(name)
    return (path.parent / path.stem).as_posix(), path.suffix.lower()


def _parse(content: bytes, where: str, suffix: str) -> Mapping[str, Any]:
    """Return what a `.json` or `.txt` says."""
    text = decode_text(content, where)
    return parse_json_object(text, where) if suffix == ".json" else {"text": text}


class _Parts:
    """The files of one key, as they come."""

    def __init__(self, key: str, where: str) -> None:
        self.key, self.where = key, where
        self._audio: AudioBytes | None = None
        self._contents: dict[str, Mapping[str, Any]] = {}
        self._problem: str | None = None

    def add(self, member: Member, suffix: str) -> None:
        """Take a file; the first problem of a key costs all of it."""
        if self._problem is not None:
            return
        if suffix in AUDIO_SUFFIXES:
            self._problem = member.problem(MAX_AUDIO_BYTES)
            if self._audio is not None:
                self._problem = f"{member.where}: another recording of this name came before; keep one"
            if self._problem is None:
                self._audio, self.where = AudioBytes(f"{member.archive}/{member.name}", member.read()), member.where
        elif suffix in _TEXTS:
            self._problem = member.problem(MAX_TEXT_BYTES)
            if self._problem is None:
                self._add_text(member, suffix)
        elif reason := unread_audio(member.name):
            self._problem = f"{member.where}: {reason}"

    def _add_text(self, member: Member, suffix: str) -> None:
        content = member.read()
        try:
            self._contents[suffix] = _parse(content, member.where, suffix)
        except InputError as error:
            self._problem = error.message

    def result(self) -> Iterator[Sample | Skipped]:
        """Yield the sample, or why there is none; nothing where no file was of a kind that is read."""
        if self._problem is not None:
            yield Skipped(self.key, self._problem)
        elif self._audio is not None:
            # What the .json says beyond the text counts, and a .txt beside it is the text where it has none.
            content = {**self._contents.get(".txt", {}), **self._contents.get(".json", {})}
            yield Sample(self.key, self._audio, content, self.where)
        elif self._contents:
            yield Skipped(self.key, f"{self.where}: there is no audio ({', '.join(AUDIO_SUFFIXES)}) beside it")


def samples(shard: ShardFiles) -> Iterator[Sample | Skipped]:
    """Stream the samples of an archive; nothing of the next one but its name is read before this one is used.

    Raises:
        InputError: If the archive is missing, damaged or cut short.
    """
    parts = _Parts("", "")
    for member in tar_members(shard.path):
        key, suffix = _key_and_suffix(member.name)
        if key != parts.key:
            yield from parts.result()
            parts = _Parts(key, member.where)
        parts.add(member, suffix)
    yield from parts.result()


def read_webdataset(shard: ShardFiles) -> Iterator[Entry | Skipped]:
    """Yield one utterance per audio file, with what a `.json` or `.txt` beside it says; its id is their name.

    `text`, `id`, `speaker`, `language`, `split` and `recording` are understood, also by the other names of `KEYS`, and
    so are the times of `times`; the rest is kept in `extra`.

    Raises:
        InputError: If the archive is missing, damaged or cut short.
    """
    for sample in samples(shard):
        if isinstance(sample, Skipped):
            yield sample
            continue
        try:
            yield _entry(sample, shard)
        except InputError as error:
            yield Skipped(sample.key, error.message)


def _entry(sample: Sample, shard: ShardFiles) -> Entry:
    content = sample.content
    said = {field: first_string(content, KEYS[field]) for field in ("id", "speaker", "language", "split", "recording")}
    name = said["id"] or sample.key
    span = span_of(content, sample.where)
    known = {*TIME_KEYS, *(key for field in ("text", *said) for key in KEYS[field])}
    return Entry(
        id=name,
        text=first_text(content, KEYS["text"]),
        audio=sample.audio,
        recording=said["recording"] or name,
        where=sample.where,
        start_seconds=span.start_seconds,
        end_seconds=span.end_seconds,
        stated_seconds=span.stated_seconds,
        is_stated_exactly=True,
        speaker=said["speaker"] or UNKNOWN_SPEAKER,
        language=said["language"] or shard.language,
        split=said["split"] or shard.split,
        extra={field: value for field, value in content.items() if field not in known},
    )


def read_emilia(shard: ShardFiles) -> Iterator[Entry | Skipped]:
    """Yield the utterances of an Emilia or Emilia-YODAS archive: `NAME.mp3` with `NAME.json`.

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
        if not content:
            yield Skipped(name, f"{sample.where}: there is no {' or '.join(_TEXTS)} beside it")
            continue
        stated = stated_length(content.get("duration"))
        if isinstance(stated, str):
            yield Skipped(name, f"{sample.where}: `duration` {stated}")
            continue
        yield Entry(
            id=name,
            text=first_string(content, ("text",)),
            audio=sample.audio,
            recording=name.rpartition("_")[0] or name,
            where=sample.where,
            stated_seconds=stated,
            speaker=first_string(content, ("speaker",)) or UNKNOWN_SPEAKER,
            language=first_string(content, ("language",)) or shard.language,
            split=shard.split,
            extra={"file": name} | {field: content[field] for field in ("dnsmos",) if field in content},
        )
