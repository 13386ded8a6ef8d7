"""One file of text documents, read record by record: JSON lines, parquet or plain text, compressed or not.

Memory is bounded by one document of JSON lines, one page of parquet, one file of plain text. A file that is cut short
or damaged is an error that names the file and the line or row: what was read before it has been yielded, nothing is
passed over.
"""

import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from audio_data import InputError

_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
# pyarrow reads ahead in blocks of this size; lines are cut out of them here.
_BLOCK_BYTES = 1 << 20
_PARQUET_ROWS = 16
_PLAIN_TEXT_BYTES = 1 << 28
_DAMAGED = "the file is cut short or damaged: get it again"


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


Reader = Callable[[Path, str, TextFields], Iterator[TextDocument]]


def read_text_file(path: Path, name: str, fields: TextFields) -> Iterator[TextDocument]:
    """Streams the documents of a file in order.

    Args:
        path: The file. Its suffixes say what is in it: `.jsonl`, `.json` (both JSON lines) or `.txt` (one document),
            perhaps followed by `.gz`, `.zst` or `.zstd`, or `.parquet`.
        name: What ids of documents without one begin with.
        fields: Where records keep what.

    Raises:
        InputError: The file is missing, of another kind, cut short or damaged, or a record has no text; names the file
            and the line or row.
    """
    yield from _reader_of(path)(path, name, fields)


def is_text_file(name: str) -> bool:
    """Whether `read_text_file` reads files with such a name."""
    return _kind(name) in _READERS


def _kind(name: str) -> str:
    path = Path(name)
    return path.with_suffix("").suffix if path.suffix in _COMPRESSIONS else path.suffix


def _reader_of(path: Path) -> Reader:
    kind = _kind(path.name)
    if kind not in _READERS:
        raise InputError(f"`{path}`: expected a file that ends in one of {', '.join(_READERS)}, got {kind!r}")
    if not path.is_file():
        raise InputError(f"`{path}`: no such file: correct the path, or get the file")
    return _READERS[kind]


def _read_json_lines(path: Path, name: str, fields: TextFields) -> Iterator[TextDocument]:
    for number, line in _lines(path):
        if not line.strip():
            continue
        where = f"`{path}:{number}`"
        try:
            record = json.loads(line.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise InputError(f"{where}: expected UTF-8, got byte 0x{line[error.start]:02x}; {_DAMAGED}") from error
        except ValueError as error:
            raise InputError(f"{where}: expected one JSON object a line, got {line[:60]!r} ({error})") from error
        if not isinstance(record, dict):
            raise InputError(f"{where}: expected a JSON object, got {line[:60]!r}")
        yield _document(record, where, f"{name}:{number}", fields)


def _read_parquet(path: Path, name: str, fields: TextFields) -> Iterator[TextDocument]:
    number = 0
    try:
        # Published files are one row group of gigabytes: without a buffer pyarrow holds all of it.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=_BLOCK_BYTES) as table:
            columns = _columns(path, table, fields)
            for batch in table.iter_batches(_PARQUET_ROWS, columns=columns, use_threads=False):
                for record in batch.to_pylist():
                    yield _document(record, f"`{path}`, row {number}", f"{name}:{number}", fields)
                    number += 1
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"`{path}`, row {number} or soon after: {error}; {_DAMAGED}") from error


def _columns(path: Path, table: pq.ParquetFile, fields: TextFields) -> list[str]:
    """All columns that are cheap to read: nested ones and bytes are audio or statistics, not needed here."""
    schema = table.schema_arrow
    if fields.text not in schema.names:
        raise InputError(f"`{path}`: expected a column `{fields.text}`, got {', '.join(schema.names)}")
    return [f.name for f in schema if not (pa.types.is_nested(f.type) or pa.types.is_binary(f.type))]


def _read_plain_text(path: Path, name: str, fields: TextFields) -> Iterator[TextDocument]:
    with _opened(path) as stream:
        try:
            content = stream.read(_PLAIN_TEXT_BYTES + 1)
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(
                f"`{path}`: expected UTF-8 text, got byte 0x{error.object[error.start]:02x} at position {error.start}; "
                "convert it, for example with `iconv -f LATIN1 -t UTF-8`"
            ) from error
        except OSError as error:
            raise InputError(f"`{path}`: {error}; {_DAMAGED}") from error
    if len(content) > _PLAIN_TEXT_BYTES:
        raise InputError(
            f"`{path}`: expected one document of at most {_PLAIN_TEXT_BYTES} bytes, got more; "
            "cut it into documents and write them as JSON lines"
        )
    yield TextDocument(name, text, {})


_READERS: dict[str, Reader] = {
    ".jsonl": _read_json_lines,
    ".json": _read_json_lines,
    ".parquet": _read_parquet,
    ".txt": _read_plain_text,
}


def _opened(path: Path) -> io.BufferedReader:
    # Several compressed frames in one file, as parallel compressors write them, are read as one.
    stream = pa.input_stream(str(path), compression=_COMPRESSIONS.get(path.suffix))
    return io.BufferedReader(stream, _BLOCK_BYTES)  # pyright: ignore[reportArgumentType]


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers from 1; only a line feed ends one, as JSON strings may hold other separators."""
    number = 0
    with _opened(path) as stream:
        try:
            for line in stream:
                number += 1
                yield number, line
        except OSError as error:
            raise InputError(f"`{path}:{number + 1}`: {error}; {_DAMAGED}") from error


def _document(record: Mapping[str, Any], where: str, fallback: str, fields: TextFields) -> TextDocument:
    text = record.get(fields.text)
    if not isinstance(text, str):
        raise InputError(
            f"{where}: expected a string in `{fields.text}`, got {text!r} in a record of "
            f"{', '.join(sorted(record)) or 'no fields'}"
        )
    known = next((record[field] for field in fields.ids if _is_id(record.get(field))), fallback)
    rest = {key: value for key, value in record.items() if key != fields.text and key not in fields.ids}
    return TextDocument(str(known), text, rest)


def _is_id(value: object) -> bool:
    return (isinstance(value, str) and value != "") or (isinstance(value, int) and not isinstance(value, bool))
