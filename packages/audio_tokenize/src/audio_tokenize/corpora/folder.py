"""A folder of audio files, each with a `.txt` transcript beside it where there is one."""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from audio_data import InputError
from audio_tokenize.corpora.corpus import UNKNOWN_SPEAKER, Skipped
from audio_tokenize.corpora.entries import AUDIO_SUFFIXES, Entry, unread_audio
from audio_tokenize.corpora.text_lines import read_text

_TRANSCRIPT = ".txt"


@dataclass
class _Found:
    """What lies in and below a folder, hidden names left out.

    Attributes:
        audio: Files that are read.
        transcripts: Text files, by folder and name without suffix in lower case.
        skipped: What is left out, by its path.
    """

    audio: list[Path] = field(default_factory=list)
    transcripts: dict[tuple[Path, str], list[Path]] = field(default_factory=lambda: defaultdict(list))
    skipped: dict[Path, str] = field(default_factory=dict)


def _walk(root: Path) -> _Found:
    """Look into every folder once, links to folders followed, so that a loop of links ends."""
    found, seen = _Found(), dict[tuple[int, int], Path]()
    folders, links = [root], list[Path]()
    while folders or links:
        # Real folders first: under which of its names a folder is read must not depend on the alphabet.
        folder = folders.pop() if folders else links.pop(0)
        try:
            facts = folder.stat()
            first = seen.setdefault((facts.st_dev, facts.st_ino), folder)
            if first != folder:
                found.skipped[folder] = f"a link to `{first}`, which is read already"
                continue
            paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
            for path in paths:
                if path.is_dir():
                    (links if path.is_symlink() else folders).append(path)
                else:
                    _sort_in(path, found)
        except OSError as error:
            found.skipped[folder] = f"cannot be read: {error.strerror}"
        links.sort()
    return found


def _sort_in(path: Path, found: _Found) -> None:
    suffix = path.suffix.lower()
    if path.is_symlink() and not path.exists():
        found.skipped[path] = f"a link to `{os.readlink(path)}`, which does not exist"
    elif reason := unread_audio(path.name):
        found.skipped[path] = reason
    elif suffix not in (*AUDIO_SUFFIXES, _TRANSCRIPT):
        return
    elif not path.is_file():
        found.skipped[path] = "a pipe, a socket or a device, expected a file"
    elif suffix == _TRANSCRIPT:
        found.transcripts[_key(path)].append(path)
    else:
        found.audio.append(path)


def _key(path: Path) -> tuple[Path, str]:
    return path.parent, path.stem.casefold()


def audio_files(folder: Path) -> list[Path]:
    """List the audio files in and below `folder`, sorted, hidden ones left out; links to folders are followed."""
    return sorted(_walk(folder).audio)


def read_folder(folder: Path) -> Iterator[Entry | Skipped]:
    """Yield one utterance per audio file; its id is the path without suffix, its speaker the subfolder.

    `speaker/clip.flac` with `speaker/clip.txt` is the utterance `speaker/clip`; suffixes may be in capitals. Audio
    without a `.txt` is an utterance without transcript. Links to folders are followed, each folder is read once. A
    `.txt` without audio, a `.txt` whose name differs in case only, audio of a format that is not read, and a link that
    leads nowhere are reported as skipped, so that nothing goes unnoticed.

    Raises:
        InputError: If there is no audio.
    """
    found = _walk(folder)
    if not found.audio:
        first = next(iter(found.skipped.items()), None)
        note = f" (`{first[0]}`: {first[1]})" if first else ""
        raise InputError(
            f"`{folder}`: expected audio files ({', '.join(AUDIO_SUFFIXES)}), got none{note}; "
            "give a folder of audio, a metadata.csv or a .jsonl manifest"
        )
    for path in sorted(found.audio):
        yield _entry(folder, path, found)
    # Of audio that is not read, the reason is its own.
    spoken = {path.with_suffix("") for path in (*found.audio, *found.skipped)}
    for transcript in chain.from_iterable(found.transcripts.values()):
        if transcript.with_suffix("") not in spoken:
            found.skipped[transcript] = "there is no audio beside it"
    for path, reason in sorted(found.skipped.items()):
        yield Skipped(path.relative_to(folder).as_posix(), f"`{path}`: {reason}")


def _entry(folder: Path, path: Path, found: _Found) -> Entry | Skipped:
    name = path.relative_to(folder).with_suffix("").as_posix()
    near = found.transcripts.get(_key(path), [])
    transcripts = [each for each in near if each.stem == path.stem]
    if near and len(transcripts) != 1:
        return Skipped(name, f"`{path}`: {_unclear_transcript(path, transcripts or near)}")
    try:
        text = " ".join(read_text(transcripts[0]).split()) if transcripts else None
    except InputError as error:
        return Skipped(name, error.message)
    speaker = path.relative_to(folder).parent.as_posix()
    return Entry(
        id=name,
        text=text,
        audio=path,
        recording=name,
        where=f"`{path}`",
        speaker=UNKNOWN_SPEAKER if speaker == "." else speaker,
    )


def _unclear_transcript(path: Path, near: list[Path]) -> str:
    names = " and ".join(sorted(each.name for each in near))
    if near[0].stem == path.stem:
        return f"expected one transcript, got {names}; remove one"
    return f"expected its transcript as {path.stem}{_TRANSCRIPT}, got {names}; rename it"
