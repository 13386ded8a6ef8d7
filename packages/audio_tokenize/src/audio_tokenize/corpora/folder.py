"""A folder of audio files with a `.txt` transcript beside each."""

from collections.abc import Iterator
from pathlib import Path

from audio_data import InputError
from audio_tokenize.corpora.entries import AUDIO_SUFFIXES, Entry
from audio_tokenize.corpora.textfile import read_utf8
from audio_tokenize.corpora.utterance import UNKNOWN_SPEAKER, Skipped


def audio_files(folder: Path) -> list[Path]:
    """Lists the audio files in and below `folder`, sorted, hidden ones left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in AUDIO_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def read_folder(folder: Path) -> Iterator[Entry | Skipped]:
    """Yields one utterance per audio file; its id is the path without suffix, its speaker the subfolder.

    `speaker/clip.flac` with `speaker/clip.txt` is the utterance `speaker/clip`. A `.txt` without audio is reported as
    skipped, so that a misspelt name does not go unnoticed.

    Raises:
        InputError: If there is no audio, or a transcript is not UTF-8.
    """
    paths = audio_files(folder)
    if not paths:
        raise InputError(
            f"`{folder}`: expected audio files ({', '.join(AUDIO_SUFFIXES)}), got none; "
            "give a folder of audio with a .txt beside each, a metadata.csv or a .jsonl manifest"
        )
    for path in paths:
        name = path.relative_to(folder).with_suffix("").as_posix()
        transcript = path.with_suffix(".txt")
        if not transcript.is_file():
            yield Skipped(name, f"`{path}`: there is no {transcript.name} beside it")
            continue
        speaker = path.relative_to(folder).parent.as_posix()
        yield Entry(
            id=name,
            text=" ".join(read_utf8(transcript).split()),
            audio=path,
            recording=name,
            where=f"`{path}`",
            speaker=UNKNOWN_SPEAKER if speaker == "." else speaker,
        )
    spoken = {path.with_suffix(".txt") for path in paths}
    for transcript in sorted(set(folder.rglob("*.txt")) - spoken):
        yield Skipped(transcript.relative_to(folder).as_posix(), f"`{transcript}`: there is no audio beside it")
