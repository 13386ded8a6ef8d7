"""LibriSpeech as openslr.org publishes it: FLAC files and one `.trans.txt` a chapter, packed or unpacked."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from audio_data import InputError
from audio_tokenize.corpora.corpus import Skipped
from audio_tokenize.corpora.entries import Entry
from audio_tokenize.corpora.reader import PublishedFile, ShardFiles, stem
from audio_tokenize.corpora.readers.archives import Member, tar_members
from audio_tokenize.corpora.record_rules import MAX_AUDIO_BYTES, MAX_TEXT_BYTES
from audio_tokenize.corpora.text_lines import decode_text, read_text
from audio_tokenize.waveform import AudioBytes, AudioSource

_TRANSCRIPTS = ".trans.txt"
_AUDIO = ".flac"


def _subset_and_speaker(transcripts: str) -> tuple[str, str]:
    """`train-clean-100` and `103` of the path `LibriSpeech/train-clean-100/103/1240/103-1240.trans.txt`."""
    parts = PurePosixPath(transcripts).parts
    if len(parts) < 4:
        raise InputError(f"`{transcripts}`: expected SUBSET/READER/CHAPTER/READER-CHAPTER{_TRANSCRIPTS} as published")
    return parts[-4], parts[-3]


def group_librispeech(files: Sequence[PublishedFile]) -> dict[str, tuple[PublishedFile, ...]]:
    """Make one shard of each archive, and one of each reader's folder where a subset is unpacked.

    A subset that is there in both forms is read unpacked.
    """
    unpacked: dict[str, list[PublishedFile]] = defaultdict(list)
    for file in files:
        if file.name.endswith(_TRANSCRIPTS):
            unpacked["/".join(_subset_and_speaker(file.location))].append(file)
    subsets = {name.partition("/")[0] for name in unpacked}
    archives = {stem(file.name): (file,) for file in files if not file.name.endswith(_TRANSCRIPTS)}
    packed = {name: group for name, group in archives.items() if PurePosixPath(name).name not in subsets}
    return packed | {name: tuple(group) for name, group in unpacked.items()}


@dataclass
class _Chapter:
    """What was found of one chapter.

    Attributes:
        subset: As `train-clean-100`.
        where: Its folder or file, for messages.
        audio: By utterance.
        transcripts: By utterance.
        skipped: What of it cannot be read.
        num_bytes: Of the audio that is held.
    """

    subset: str
    where: str
    audio: dict[str, AudioSource] = field(default_factory=dict)
    transcripts: dict[str, str] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    num_bytes: int = 0

    def add_transcripts(self, text: str) -> None:
        """Take lines such as `103-1240-0000 CHAPTER ONE ...`."""
        for line in text.split("\n"):
            name, _, transcript = line.strip().partition(" ")
            if name in self.transcripts:
                self.skipped.append(Skipped(name, f"{self.where}: a transcript of it came before"))
            elif name:
                self.transcripts[name] = transcript

    def add_member(self, member: Member) -> None:
        """Take a file of an archive, if it is of a kind that chapters have."""
        name = PurePosixPath(member.name)
        is_audio = name.suffix == _AUDIO
        if not (is_audio or name.name.endswith(_TRANSCRIPTS)):
            return
        problem = member.problem(MAX_AUDIO_BYTES - self.num_bytes if is_audio else MAX_TEXT_BYTES)
        if problem is not None:
            self.skipped.append(Skipped(name.stem, problem))
        elif is_audio:
            self.num_bytes += member.num_bytes
            self.audio[name.stem] = AudioBytes(f"{member.archive}/{member.name}", member.read())
        else:
            content = member.read()
            try:
                self.add_transcripts(decode_text(content, member.where))
            except InputError as error:
                self.skipped.append(Skipped(name.name, error.message))

    def entries(self, shard: ShardFiles) -> Iterator[Entry | Skipped]:
        """Its utterances in the order of their numbers."""
        yield from self.skipped
        left_out = {item.id for item in self.skipped}
        for name in sorted(self.audio.keys() | self.transcripts.keys()):
            if name not in self.transcripts:
                yield Skipped(name, f"{self.where}: there is no line for it in a {_TRANSCRIPTS} beside it")
            elif name in self.audio:
                yield self._entry(name, shard)
            elif name not in left_out:
                yield Skipped(name, f"{self.where}: there is a transcript of it, but no {name}{_AUDIO}")

    def _entry(self, name: str, shard: ShardFiles) -> Entry:
        speaker, _, rest = name.partition("-")
        return Entry(
            id=name,
            text=self.transcripts[name],
            audio=self.audio[name],
            recording=name.rpartition("-")[0],
            where=f"{self.where}, utterance `{name}`",
            speaker=speaker,
            language=shard.language,
            split=self.subset.partition("-")[0],
            extra={"chapter": rest.partition("-")[0], "subset": self.subset},
        )


def _read_archive(shard: ShardFiles, path: Path) -> Iterator[Entry | Skipped]:
    """Chapter by chapter; a transcript may lie before, between or after the audio of its chapter."""
    folder, chapter = PurePosixPath(), _Chapter(stem(path.name), f"`{path}`")
    for member in tar_members(path):
        if PurePosixPath(member.name).parent != folder:
            yield from chapter.entries(shard)
            folder = PurePosixPath(member.name).parent
            chapter = _Chapter(stem(path.name), f"`{path}`, folder `{folder}`")
        chapter.add_member(member)
    yield from chapter.entries(shard)


def read_librispeech(shard: ShardFiles) -> Iterator[Entry | Skipped]:
    """Yield the utterances of an archive such as `train-clean-100.tar.gz`, or of the folder of one of its readers.

    A recording is a chapter, and of an archive one chapter is in memory at a time (25 minutes at most, about 50 MB).

    Source: openslr.org/12.

    Raises:
        InputError: If a file is missing, damaged or cut short.
    """
    for name, path in shard.paths.items():
        if not name.endswith(_TRANSCRIPTS):
            yield from _read_archive(shard, path)
            continue
        chapter = _Chapter(_subset_and_speaker(path.as_posix())[0], f"`{path}`")
        chapter.audio = {file.stem: file for file in path.parent.glob(f"*{_AUDIO}")}
        try:
            chapter.add_transcripts(read_text(path))
        except InputError as error:
            chapter.skipped.append(Skipped(path.name, error.message))
        yield from chapter.entries(shard)
