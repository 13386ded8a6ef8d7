"""One file of text documents, read record by record: JSON lines, parquet or plain text, compressed or not.

Memory is bounded by one document of JSON lines, one page of parquet, one file of plain text; a document above
`MAX_DOCUMENT_BYTES` is skipped. So is a record that is no document, with the file and the line or row. A file that is
cut short or damaged is an error: what was read before it has been yielded, nothing is passed over.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from audio_data import InputError, column_chunks, file_errors, rows_at_once
from audio_tokenize.corpora.corpus import Skipped
from audio_tokenize.corpora.parquet_cells import cell, require_size
from audio_tokenize.corpora.record_rules import (
    MAX_DOCUMENT_BYTES,
    MAX_TABLE_BYTES,
    claimed_id,
    parse_json_object,
    text_problem,
)
from audio_tokenize.corpora.text_lines import COMPRESSIONS, DAMAGED, decode_text, numbered_lines, unpacked

_PARQUET_BUFFER_BYTES = 1 << 20
_PARQUET_ROWS = 16


@dataclass(frozen=True)
class TextFields:
    """Where a record keeps what.

    Attributes:
        text: Field of the text; every record must have it.
        ids: Fields of the id, the first that a record has. A record without any is named after its file and place.
    """

    text: str = "text"
    ids: tuple[str, ...] = ("id", "file_id", "warc_record_id")


@dataclass(frozen=True)
class TextDocument:
    """A text, or a published document string.

    Attributes:
        id: As published; its file and its line or row where the file has no ids.
        text: The text, unchanged.
        metadata: The record's other fields.
    """

    id: str
    text: str
    metadata: Mapping[str, Any]


Reader = Callable[[Path, str, TextFields], Iterator[TextDocument | Skipped]]


def read_text_file(path: Path, name: str, fields: TextFields) -> Iterator[TextDocument | Skipped]:
    """Stream the documents of a file in order, and the records that are none, with the reason.

    Args:
        path: The file. Its suffixes say what is in it: `.jsonl`, `.json` (both JSON lines) or `.txt` (one document),
            perhaps followed by `.gz`, `.zst` or `.zstd`, or `.parquet`.
        name: What ids of documents without one begin with.
        fields: Where records keep what.

    Raises:
        InputError: The file is missing, of another kind, cut short or damaged; names the file and the line or row.
    """
    yield from _reader_of(path)(path, name, fields)


def is_text_file(name: str) -> bool:
    """Whether `read_text_file` reads files with such a name."""
    return _kind(name) in _READERS


def _kind(name: str) -> str:
    path = Path(name)
    return path.with_suffix("").suffix if path.suffix in COMPRESSIONS else path.suffix


def _reader_of(path: Path) -> Reader:
    kind = _kind(path.name)
    if kind not in _READERS:
        raise InputError(f"`{path}`: expected a file that ends in one of {', '.join(_READERS)}, got {kind!r}")
    if not path.is_file():
        raise InputError(f"`{path}`: no such file: correct the path, or get the file")
    return _READERS[kind]


def _read_json_lines(path: Path, name: str, fields: TextFields) -> Iterator[TextDocument | Skipped]:
    for line in numbered_lines(path, max_size=MAX_DOCUMENT_BYTES, may_be_empty=True):
        where, fallback = line.where, f"{name}:{line.number}"
        if line.problem:
            yield Skipped(fallback, f"{where}: {line.problem}")
            continue
        try:
            document = _document(parse_json_object(line.text, where), where, fallback, fields)
        except InputError as error:
            document = Skipped(claimed_id(line.text) or fallback, error.message)
        yield document


def _read_parquet(path: Path, name: str, fields: TextFields) -> Iterator[TextDocument | Skipped]:
    number = 0
    try:
        # Published files are one row group of gigabytes: without a buffer pyarrow holds all of it.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=_PARQUET_BUFFER_BYTES) as table:
            columns = _columns(path, table, fields)
            with file_errors(path, DAMAGED):
                chunks = column_chunks(path, table.schema)
            require_size(path, chunks, columns, MAX_TABLE_BYTES)
            rows = rows_at_once(chunks, columns, _PARQUET_ROWS)
            for batch in table.iter_batches(rows, columns=columns, use_threads=False):
                for row in range(batch.num_rows):
                    yield _parquet_document(batch, row, f"`{path}`, row {number}", f"{name}:{number}", fields)
                    number += 1
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"`{path}`, row {number} or soon after: {error}; {DAMAGED}") from error


def _parquet_document(
    batch: pa.RecordBatch, row: int, where: str, fallback: str, fields: TextFields
) -> TextDocument | Skipped:
    try:
        record = {name: cell(batch.column(name), row, MAX_DOCUMENT_BYTES) for name in batch.schema.names}
        document = _document(record, where, fallback, fields)
    except InputError as error:
        return Skipped(fallback, error.message if where in error.message else f"{where}: {error.message}")
    return document


def _columns(path: Path, table: pq.ParquetFile, fields: TextFields) -> list[str]:
    """All columns that are cheap to read: nested ones and bytes are audio or statistics, not needed here."""
    schema = table.schema_arrow
    if fields.text not in schema.names:
        raise InputError(f"`{path}`: expected a column `{fields.text}`, got {', '.join(schema.names)}")
    return [f.name for f in schema if not (pa.types.is_nested(f.type) or pa.types.is_binary(f.type))]


def _read_plain_text(path: Path, name: str, fields: TextFields) -> Iterator[TextDocument | Skipped]:
    with unpacked(path) as stream:
        content = stream.read(MAX_DOCUMENT_BYTES + 1)
    try:
        if len(content) > MAX_DOCUMENT_BYTES:
            raise InputError(
                f"`{path}`: expected one document of at most {MAX_DOCUMENT_BYTES:,} bytes, got more; "
                "cut it into documents and write them as JSON lines"
            )
        text = decode_text(content, f"`{path}`")
        if problem := text_problem(text):
            raise InputError(f"`{path}`: {problem}")
        yield TextDocument(name, text, {})
    except InputError as error:
        yield Skipped(name, error.message)


_READERS: dict[str, Reader] = {
    ".jsonl": _read_json_lines,
    ".json": _read_json_lines,
    ".parquet": _read_parquet,
    ".txt": _read_plain_text,
}


def _document(record: Mapping[str, Any], where: str, fallback: str, fields: TextFields) -> TextDocument | Skipped:
    text = record.get(fields.text)
    if not isinstance(text, str):
        raise InputError(
            f"{where}: expected a string in `{fields.text}`, got {text!r:.60} in a record of "
            f"{', '.join(sorted(record)) or 'no fields'}"
        )
    known = next((record[field] for field in fields.ids if _is_id(record.get(field))), fallback)
    for name, value in (("id", str(known)), (fields.text, text)):
        if problem := text_problem(value):
            return Skipped(str(known), f"{where}: `{name}` has {problem}")
    rest = {key: value for key, value in record.items() if key != fields.text and key not in fields.ids}
    return TextDocument(str(known), text, rest)


def _is_id(value: object) -> bool:
    return (isinstance(value, str) and value != "") or (isinstance(value, int) and not isinstance(value, bool))
