"""Manifests: audio files by name, with their transcripts where there are any, as lines of JSON or as rows of a table.

Tables are `metadata.csv` as LJSpeech has it, or with a header, as XTTS and Hugging Face have it.
"""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from audio_data import InputError, listed
from audio_tokenize.corpora.corpus import UNDETERMINED_LANGUAGE, UNKNOWN_SPEAKER, Skipped
from audio_tokenize.corpora.entries import AUDIO_SUFFIXES, Entry, unread_audio
from audio_tokenize.corpora.record_rules import KEYS, claimed_id, parse_json_object
from audio_tokenize.corpora.text_lines import Line, numbered_lines
from audio_tokenize.corpora.times import TIME_KEYS, TimeSpan, span_of

_SEPARATORS = "|", "\t", ",", ";"
# In files separated by these a quotation mark is part of the text.
_VERBATIM = "|", "\t"
_NEEDED = (*KEYS["audio"], *KEYS["text"])


def find_audio(folder: Path, name: str) -> Path | None:
    """Return the audio file that a table names by path or by name without suffix, in its folder or in `wavs`.

    Args:
        folder: Of the table.
        name: As it says.

    Returns:
        The file, or None where there is none.
    """
    # Of a name with a dot, such as LJ001.0001, the last part is no suffix.
    is_whole = PurePosixPath(name).suffix.lower() in AUDIO_SUFFIXES
    names = [name] if is_whole else [name, *(f"{name}{suffix}" for suffix in AUDIO_SUFFIXES)]
    candidates = (base / each for base in (folder, folder / "wavs") for each in names)
    return next((path for path in candidates if os.path.isfile(path)), None)  # a name too long is no file either


def find_relative(folder: Path, name: str) -> Path:
    """Return a path that a table of another toolkit names: relative to its folder, or else to the working directory.

    Args:
        folder: Of the table.
        name: As it says.
    """
    return folder / name if os.path.isfile(folder / name) or not os.path.isfile(name) else Path(name)


def record_entry(record: Mapping[str, Any], folder: Path, where: str) -> Entry:
    """Return the utterance of a record; keys that are not understood are kept in `extra`.

    A record whose transcript is missing or null is an utterance without transcript.

    Args:
        record: By its own names, see `KEYS` and `times`.
        folder: That the paths of audio files are relative to.
        where: File and line, for messages.

    Raises:
        InputError: If the audio is not there, a field is no string, or a time cannot be used.
    """
    used = {field: name for field, names in KEYS.items() if (name := _first(record, names)) is not None}
    if "audio" not in used:
        names = listed(map(repr, sorted(record)))
        raise InputError(f"{where}: expected a field `audio`, got {names}; add `audio`")
    said = {field: _string(record[name], name, where, field in ("audio", "text")) for field, name in used.items()}
    audio = said["audio"]
    if not PurePosixPath(audio).name or "\0" in audio:
        raise InputError(f"{where}: expected `{used['audio']}` to name an audio file, got {audio!r}; correct it")
    if reason := unread_audio(audio):
        raise InputError(f"{where}: {reason}")
    span = span_of(record, where)
    recording = said.get("recording") or without_suffix(audio)
    known = {*used.values(), *TIME_KEYS}
    return Entry(
        id=said.get("id") or _made_id(recording, record, span, said.get("speaker")),
        text=said.get("text"),
        audio=find_audio(folder, audio) or folder / audio,
        recording=recording,
        where=where,
        start_seconds=span.start_seconds,
        end_seconds=span.end_seconds,
        stated_seconds=span.stated_seconds,
        is_stated_exactly=True,
        speaker=said.get("speaker") or UNKNOWN_SPEAKER,
        language=said.get("language") or UNDETERMINED_LANGUAGE,
        split=said.get("split") or "train",
        extra={name: value for name, value in record.items() if name not in known},
    )


def without_suffix(audio: str) -> str:
    """Return the name of an audio file without its suffix, where it has one of audio."""
    path = PurePosixPath(audio)
    return (path.with_suffix("") if path.suffix.lower() in AUDIO_SUFFIXES else path).as_posix()


def _first(record: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """Return the first name that says something, or is there at least."""
    there = [name for name in names if record.get(name) is not None]
    return next((name for name in there if record[name] != ""), next(iter(there), None))


def _string(value: object, name: str, where: str, is_needed: bool) -> str:
    if isinstance(value, Mapping) and isinstance(value.get("path"), str):  # Hugging Face's audio without bytes
        return value["path"]
    if not is_needed and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise InputError(f"{where}: expected `{name}` to be a string, got {value!r}; correct it")
    return value


def _made_id(recording: str, record: Mapping[str, Any], span: TimeSpan, speaker: str | None) -> str:
    """Of a whole file its name; of a part also its times and who speaks, as two may speak at once."""
    if all(record.get(name) in (None, "") for name in ("start", "offset", "end")):
        return recording
    end = "" if span.end_seconds is None else f"-{span.end_seconds:.2f}"
    return f"{recording}@{span.start_seconds:.2f}{end}" + (f"-{speaker}" if speaker else "")


def read_manifest(path: Path) -> Iterator[Entry | Skipped]:
    """Yield one utterance per line of a manifest of JSON objects; what a line has wrong costs that line.

    Of the fields only `audio` is needed: a path, relative to the manifest's folder. `text`, `start` and `end`, or
    `offset` and `duration`, in seconds, `speaker`, `language`, `split`, `recording` and `id` are understood, also by
    the names of `KEYS`; others are kept in `extra`. Without `recording` the lines of one audio file are one recording;
    without `id` the recording, the times and the speaker make one.

    Raises:
        InputError: If the file cannot be opened, is empty, cut short or of another encoding.
    """
    for line in numbered_lines(path):
        if line.problem:
            yield Skipped(line.name, f"{line.where}: {line.problem}")
            continue
        try:
            yield record_entry(parse_json_object(line.text, line.where), path.parent, line.where)
        except InputError as error:
            yield Skipped(claimed_id(line.text) or line.name, error.message)


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
    the audio file. A header names columns by `KEYS`, separated by |, tab, comma or semicolon. Quotation marks
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
