"""Tables of transcripts: `metadata.csv` as LJSpeech has it, or with a header, as XTTS and Hugging Face have it."""

import csv
from collections.abc import Iterator
from pathlib import Path

from audio_data import InputError
from audio_tokenize.corpora.corpus import Skipped
from audio_tokenize.corpora.entries import AUDIO_SUFFIXES, Entry, unread_audio
from audio_tokenize.corpora.manifest import KEYS, find_audio, record_entry, without_suffix
from audio_tokenize.corpora.textfile import Line, numbered_lines

_SEPARATORS = "|", "\t", ",", ";"
# In files separated by these a quotation mark is part of the text.
_VERBATIM = "|", "\t"
_NEEDED = (*KEYS["audio"], *KEYS["text"])


def _header(line: str) -> tuple[str, list[str]] | None:
    """Separator and names of the columns, if a line is a header."""
    for separator in _SEPARATORS:
        names = [name.strip().strip('"').lower().replace(" ", "_") for name in line.split(separator)]
        if set(names) & {*KEYS["audio"], "id"} and set(names) & set(KEYS["text"]):
            return separator, names
    return None


def _verbatim_row(line: Line) -> tuple[str, str]:
    """Name and transcript of a line without header: the normalised text where there is one."""
    columns = [column.strip() for column in line.text.split("|")]
    if len(columns) not in (2, 3) or not columns[0]:
        raise InputError(
            f"{line.where}: expected 2 or 3 columns `id|text|normalised text`, got {len(columns)} in "
            f"{line.text[:60]!r}; separate the columns with | and keep | out of the texts, or begin the table with a "
            "line of names such as `audio_file|text|speaker_name`"
        )
    name, *texts = columns
    return name, texts[-1] or texts[0]


def _read_row(line: Line, folder: Path) -> Entry:
    name, text = _verbatim_row(line)
    if reason := unread_audio(name):
        raise InputError(f"{line.where}: {reason}")
    path = find_audio(folder, name)
    if path is None:
        raise InputError(
            f"{line.where}: there is no {name} here nor in wavs, with or without {', '.join(AUDIO_SUFFIXES)}; "
            "correct the name or bring the file"
        )
    key = without_suffix(name)
    return Entry(id=key, text=text, audio=path, recording=key, where=line.where)


def _read_named(line: Line, separator: str, names: list[str], folder: Path) -> Entry:
    cells = line.text.split(separator) if separator in _VERBATIM else _quoted_cells(line, separator)
    if len(cells) != len(names):
        raise InputError(
            f"{line.where}: expected {len(names)} columns ({', '.join(names)}), got {len(cells)} in "
            f"{line.text[:60]!r}; correct the line"
        )
    record = {name: cell.strip() for name, cell in zip(names, cells, strict=True)}
    if not any(record.get(name) for name in KEYS["audio"]):
        record["audio"] = record.get("id", "")
    return record_entry({name: cell for name, cell in record.items() if cell or name in _NEEDED}, folder, line.where)


def _quoted_cells(line: Line, separator: str) -> list[str]:
    try:
        return next(csv.reader([line.text], delimiter=separator, strict=True))
    except (csv.Error, StopIteration) as error:
        raise InputError(
            f"{line.where}: expected columns as CSV writes them, got {str(error)!r}; correct it"
        ) from error


def read_table(table: Path) -> Iterator[Entry | Skipped]:
    """Yield one utterance per line of a table; what a line has wrong costs that line.

    Without a header the columns are `id|text|normalised text`, as in LJSpeech; the id may be the name or the path of
    the audio file. A header names columns by `manifest.KEYS`, separated by |, tab, comma or semicolon. Quotation marks
    are part of the text where | or tab separates.

    Raises:
        InputError: If the file cannot be opened, is empty, cut short or of another encoding.
    """
    header: tuple[str, list[str]] | None = None
    for place, line in enumerate(numbered_lines(table)):
        if place == 0 and (header := _header(line.text)) is not None:
            continue
        try:
            if line.problem:
                raise InputError(f"{line.where}: {line.problem}")
            yield _read_named(line, *header, table.parent) if header else _read_row(line, table.parent)
        except InputError as error:
            yield Skipped(line.name, error.message)
