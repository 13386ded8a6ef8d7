"""LibriSpeech as openslr.org publishes it: FLAC files and one `.trans.txt` a chapter, packed or unpacked."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from audio_data import InputError
from audio_tokenize.corpora.entries import Entry
from audio_tokenize.corpora.readers.archives import tar_members
from audio_tokenize.corpora.readers.base import PublishedFile, ShardFiles, stem
from audio_tokenize.corpora.textfile import decode_utf8, read_utf8
from audio_tokenize.corpora.utterance import Skipped
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
    """Makes one shard of each archive, and one of each reader's folder where a subset is unpacked.

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


def _parse(transcripts: str) -> dict[str, str]:
    """Transcripts by utterance: `103-1240-0000 CHAPTER ONE ...` a line."""
    pairs = (line.partition(" ") for line in transcripts.splitlines() if line.strip())
    return {name: text for name, _, text in pairs}


def _chapter(
    shard: ShardFiles, subset: str, audio: Mapping[str, AudioSource], transcripts: Mapping[str, str], where: str
) -> Iterator[Entry | Skipped]:
    """The utterances of one chapter in the order of their numbers."""
    for name in sorted(audio.keys() | transcripts.keys()):
        if name not in transcripts:
            yield Skipped(name, f"{where}: there is no line for it in a {_TRANSCRIPTS} beside it")
        elif name not in audio:
            yield Skipped(name, f"{where}: there is a transcript of it, but no {name}{_AUDIO}")
        else:
            speaker, _, rest = name.partition("-")
            yield Entry(
                id=name,
                text=transcripts[name],
                audio=audio[name],
                recording=name.rpartition("-")[0],
                where=f"{where}, utterance `{name}`",
                speaker=speaker,
                language=shard.language,
                split=subset.partition("-")[0],
                extra={"chapter": rest.partition("-")[0], "subset": subset},
            )


def _read_archive(shard: ShardFiles, path: Path) -> Iterator[Entry | Skipped]:
    """Chapter by chapter; a transcript may lie before, between or after the audio of its chapter."""
    folder, audio, transcripts = PurePosixPath(), dict[str, AudioSource](), dict[str, str]()
    for member in tar_members(path):
        name = PurePosixPath(member.name)
        if name.parent != folder:
            yield from _chapter(shard, stem(path.name), audio, transcripts, f"`{path}`, folder `{folder}`")
            folder, audio, transcripts = name.parent, {}, {}
        if name.suffix == _AUDIO:
            audio[name.stem] = AudioBytes(f"{path}/{member.name}", member.read())
        elif name.name.endswith(_TRANSCRIPTS):
            transcripts = _parse(decode_utf8(member.read(), member.where))
    yield from _chapter(shard, stem(path.name), audio, transcripts, f"`{path}`, folder `{folder}`")


def read_librispeech(shard: ShardFiles) -> Iterator[Entry | Skipped]:
    """Yields the utterances of an archive such as `train-clean-100.tar.gz`, or of the folder of one of its readers.

    A recording is a chapter, and of an archive one chapter is in memory at a time (25 minutes at most, about 50 MB).

    Source: openslr.org/12.

    Raises:
        InputError: If a file is missing, damaged or cut short.
    """
    for name, path in shard.paths.items():
        if not name.endswith(_TRANSCRIPTS):
            yield from _read_archive(shard, path)
            continue
        audio: dict[str, AudioSource] = {file.stem: file for file in path.parent.glob(f"*{_AUDIO}")}
        subset, _ = _subset_and_speaker(path.as_posix())
        yield from _chapter(shard, subset, audio, _parse(read_utf8(path)), f"`{path}`")
