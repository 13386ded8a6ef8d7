"""Parquet tables with an audio file in each row, as Hugging Face keeps them: `audio` is a struct of `bytes`, `path`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from audio_data import InputError, column_chunks, file_errors
from audio_tokenize.corpora.corpus import UNKNOWN_SPEAKER, Skipped
from audio_tokenize.corpora.entries import Entry
from audio_tokenize.corpora.parquet_cells import cell, require_size
from audio_tokenize.corpora.reader import ShardFiles, first_string, first_text, short_digest, stated_length
from audio_tokenize.corpora.record_rules import KEYS, MAX_AUDIO_BYTES
from audio_tokenize.corpora.times import ORIGIN_KEYS, number, span_of, time_keys
from audio_tokenize.waveform import AudioBytes, AudioSource

_READ_BYTES = 1 << 20  # of a column at a time, whatever the size of a row group
_ADVICE = "the file is cut short or damaged, download it again"


@dataclass(frozen=True)
class TableRow:
    """A row of a table.

    Attributes:
        place: Its number, from 0.
        cells: By column, the audio left out.
        audio: The recording.
        where: File and row, for messages.
    """

    place: int
    cells: Mapping[str, Any]
    audio: AudioSource
    where: str


def _open(path: Path) -> pq.ParquetFile:
    if not path.is_file():
        raise InputError(f"`{path}`: expected a parquet file, got no such file; download it or correct the path")
    try:
        return pq.ParquetFile(path, buffer_size=_READ_BYTES, pre_buffer=False)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"`{path}`: expected a whole parquet file, got {str(error)!r}; {_ADVICE}") from error


def _require_columns(path: Path, found: Sequence[str], wanted: Sequence[Sequence[str]]) -> None:
    for names in wanted:
        if not set(names) & set(found):
            raise InputError(f"`{path}`: expected a column {' or '.join(names)}, got {sorted(found)}")


def _audio(path: Path, place: int, value: object) -> AudioSource | None:
    """Return the audio file in a cell: a struct of `bytes` and `path`, or the bytes alone."""
    content, name = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
    if isinstance(content, bytes):
        return AudioBytes(f"{path}/{name or place}", content)
    return path.parent / name if isinstance(name, str) and name else None


def rows(
    path: Path, columns: Sequence[str], required: Sequence[Sequence[str]], *, has_times: bool = False
) -> Iterator[TableRow | Skipped]:
    """Stream the rows of a table, one at a time, holding one row group.

    A writer may put a whole row group into one page, and does in audio tables, which have groups of some 100 rows.

    Args:
        path: The table.
        columns: Those to read where they are there, beside `audio`.
        required: Of each group of names, one column must be there.
        has_times: Whether all columns are read that may say where in its file an utterance lies.

    Raises:
        InputError: If the file is missing, damaged or cut short, or a column is missing; names the file and the row.
    """
    with _open(path) as table:
        found = table.schema_arrow.names
        _require_columns(path, found, (("audio",), *required))
        wanted = {*columns, *(time_keys(found) if has_times else ())} - {"audio"}
        chosen = ["audio", *(name for name in dict.fromkeys(found) if name in wanted)]
        with file_errors(path, _ADVICE):
            require_size(path, column_chunks(path, table.schema), chosen, MAX_AUDIO_BYTES)
        batches = table.iter_batches(batch_size=1, columns=chosen, use_threads=False)
        place = 0
        while True:
            where = f"`{path}`, row {place}"
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                raise InputError(f"{where}: expected a whole parquet file, got {str(error)!r}; {_ADVICE}") from error
            if batch is None:
                return
            yield _row(path, place, batch, where)
            place += 1


def _row(path: Path, place: int, batch: pa.RecordBatch, where: str) -> TableRow | Skipped:
    try:
        cells = {name: cell(batch.column(name), 0, MAX_AUDIO_BYTES) for name in batch.schema.names}
    except InputError as error:
        return Skipped(where, f"{where}: {error.message}")
    audio = _audio(path, place, cells.pop("audio"))
    return Skipped(where, f"{where}: there is no audio") if audio is None else TableRow(place, cells, audio, where)


def _mls(row: TableRow) -> dict[str, Any]:
    """Return an id made of reader, book, file and times, because the table has none."""
    cells = row.cells
    begin, end = (number(cells.get(name)) or 0.0 for name in ("begin_time", "end_time"))
    speaker, book = first_string(cells, ("speaker_id",)), first_string(cells, ("book_id",))
    original = first_string(cells, ("original_path",))
    recording = f"{speaker}-{book}-{short_digest(original)}"
    return {
        "id": f"{recording}-{round(begin * 100):08d}-{round(end * 100):08d}",
        "recording": recording,
        "speaker": speaker,
        "stated_seconds": cells.get("audio_duration"),
        "extra": {"book": book, "original_path": original, "begin_seconds": begin, "end_seconds": end},
    }


def _libritts_r(row: TableRow) -> dict[str, Any]:
    speaker, chapter = (first_string(row.cells, (name,)) for name in ("speaker_id", "chapter_id"))
    return {
        "id": first_string(row.cells, ("id",)),
        "recording": f"{speaker}_{chapter}",
        "speaker": speaker,
        "extra": {"chapter": chapter},
    }


def _common_voice(row: TableRow) -> dict[str, Any]:
    name = first_string(row.cells, ("path",))
    return {
        "id": name,
        "recording": name,
        "speaker": first_string(row.cells, ("client_id",)),
        "language": first_string(row.cells, ("locale",)),
    }


def _peoples_speech(row: TableRow) -> dict[str, Any]:
    name, milliseconds = first_string(row.cells, ("id",)), row.cells.get("duration_ms")
    stated = milliseconds / 1000 if isinstance(milliseconds, int | float) else milliseconds
    return {"id": name, "recording": name, "stated_seconds": stated}


_GENERIC_FIELDS = ("id", "speaker", "language", "split", "recording")
_GENERIC_COLUMNS = (*(name for field in _GENERIC_FIELDS for name in KEYS[field]), *ORIGIN_KEYS, "chapter")


def _generic(row: TableRow) -> dict[str, Any]:
    fields = {name: first_string(row.cells, KEYS[name]) for name in _GENERIC_FIELDS}
    fields["recording"] = fields["recording"] or fields["id"]
    return fields | {
        **span_of(row.cells, row.where)._asdict(),
        "is_stated_exactly": True,
        "extra": {name: row.cells[name] for name in (*ORIGIN_KEYS, "chapter") if name in row.cells},
    }


@dataclass(frozen=True)
class TableLayout:
    """Where a published table keeps what.

    Attributes:
        fields: Makes the fields of an entry of a row; empty strings count as not said.
        text: Columns that may hold the transcript; the first one that is there does.
        may_lack_text: Whether a table without such a column, and a row whose cell is null, hold audio without
            transcript; otherwise the table is refused and the row is skipped.
        columns: Columns to read beside the transcript.
        required: Of these, all must be there.
        has_times: Whether columns that say where in its file an utterance lies are read, by `times`.
    """

    fields: Callable[[TableRow], dict[str, Any]]
    text: tuple[str, ...]
    columns: tuple[str, ...]
    required: tuple[str, ...] = ()
    has_times: bool = False
    may_lack_text: bool = False


TABLES: Mapping[str, TableLayout] = {
    "mls": TableLayout(
        _mls,
        ("transcript",),
        ("original_path", "begin_time", "end_time", "audio_duration", "speaker_id", "book_id"),
        ("original_path", "begin_time", "end_time", "speaker_id", "book_id"),
    ),
    "libritts-r": TableLayout(
        _libritts_r, ("text_normalized",), ("id", "speaker_id", "chapter_id"), ("id", "speaker_id", "chapter_id")
    ),
    "common-voice": TableLayout(_common_voice, ("sentence",), ("path", "client_id", "locale"), ("path",)),
    "peoples-speech": TableLayout(_peoples_speech, ("text",), ("id", "duration_ms"), ("id",)),
    "parquet": TableLayout(_generic, KEYS["text"], _GENERIC_COLUMNS, has_times=True, may_lack_text=True),
}
"""Tables by the name of their reader.

Sources: the columns of parler-tts/mls_eng, parler-tts/libritts_r_filtered, fixie-ai/common_voice_17_0 and
MLCommons/peoples_speech, as potsawee/tokenize-audio reads them. `parquet` is anybody's table: `audio`, and
what else of `text`, `id`, `speaker`, `language`, `split`, `recording`, also by the other names of `KEYS`, and of the
times of `times` there is.
"""


def _entry(shard: ShardFiles, table: TableLayout, row: TableRow) -> Entry | Skipped:
    try:
        said: dict[str, Any] = {
            name: value for name, value in table.fields(row).items() if value != "" and value is not None
        }
    except InputError as error:
        return Skipped(row.where, error.message)
    name = f"{shard.name}/{row.place:06d}"
    stated = stated_length(said.get("stated_seconds"))
    if isinstance(stated, str):
        return Skipped(said.get("id", name), f"{row.where}: the length of its audio {stated}")
    defaults: dict[str, Any] = {
        "id": name,
        "recording": said.get("id", name),
        "speaker": UNKNOWN_SPEAKER,
        "language": shard.language,
        "split": shard.split,
    }
    fields: dict[str, Any] = {**defaults, **said, "stated_seconds": stated}
    text = first_text(row.cells, table.text) if table.may_lack_text else first_string(row.cells, table.text)
    return Entry(text=text, audio=row.audio, where=row.where, **fields)


def table_reader(table: TableLayout) -> Callable[[ShardFiles], Iterator[Entry | Skipped]]:
    """Return the reader of a published table: streams its rows as entries, in their order."""

    def read(shard: ShardFiles) -> Iterator[Entry | Skipped]:
        required = (*(() if table.may_lack_text else (table.text,)), *((name,) for name in table.required))
        columns = (*table.text, *table.columns)
        for row in rows(shard.path, columns, required, has_times=table.has_times):
            yield row if isinstance(row, Skipped) else _entry(shard, table, row)

    return read
