"""The LJSpeech form: `metadata.csv` with `id|text|normalised text`, audio in `wavs/` or beside the table."""

from collections.abc import Iterator
from pathlib import Path

from audio_data import InputError
from audio_tokenize.corpora.entries import AUDIO_SUFFIXES, Entry
from audio_tokenize.corpora.textfile import numbered_lines
from audio_tokenize.corpora.utterance import Skipped


def _audio_path(folder: Path, name: str) -> Path | None:
    candidates = (base / f"{name}{suffix}" for base in (folder / "wavs", folder) for suffix in AUDIO_SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)


def _columns(where: str, line: str) -> tuple[str, str]:
    """Splits a line into id and transcript: the normalised text where there is one."""
    columns = [column.strip() for column in line.split("|")]
    if len(columns) not in (2, 3) or not columns[0]:
        raise InputError(
            f"{where}: expected 2 or 3 columns `id|text|normalised text`, got {len(columns)} in {line[:60]!r}; "
            "separate the columns with | and keep | out of the texts"
        )
    name, *texts = columns
    return name, texts[-1] or texts[0]


def read_ljspeech(table: Path) -> Iterator[Entry | Skipped]:
    """Yields one utterance per line of `metadata.csv`; quotation marks are part of the text, as in LJSpeech.

    Raises:
        InputError: If the table is not UTF-8 or empty, or a line does not have two or three columns.
    """
    for where, line in numbered_lines(table):
        name, text = _columns(where, line)
        path = _audio_path(table.parent, name)
        if path is None:
            yield Skipped(name, f"{where}: there is no wavs/{name}.wav (nor .flac, .ogg, .opus, .mp3)")
            continue
        yield Entry(id=name, text=text, audio=path, recording=name, where=where)
