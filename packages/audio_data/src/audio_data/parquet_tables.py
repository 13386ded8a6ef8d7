"""Rows of parquet tables, with bounds on what they unpack to.

A file of a few kilobytes may repeat one long text in every row: it holds the text once and then its number. How much
that is in memory is known only when the numbers are looked up, so rows are read a few at a time, and texts inside lists
are looked up only where they fit.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_data.errors import InputError
from audio_data.parquet_footer import ColumnChunk, column_chunks

if TYPE_CHECKING:
    import pyarrow as pa

MAX_ROWS_BYTES = 2**31
"""What rows that are read together may unpack to: 2 GiB."""
# Values of rows that mean something take at least a byte each; what is packed much denser says the same all over.
_MAX_EXPANSION = 64
_BYTES_PER_VALUE = 8


def table_batches(path: Path, most_rows: int) -> Iterator["pa.RecordBatch | InputError"]:
    """Yield the rows of a table in batches; a row that unpacks to too much is an error in its place.

    Args:
        path: A local file.
        most_rows: Rows of a batch at most.

    Raises:
        InputError: A column of a row group unpacks to more than `MAX_ROWS_BYTES` and to much more than audio or text
            does, or the footer is damaged; the message says nothing of the file.
        pyarrow.ArrowException: The file is damaged.
        UnicodeDecodeError: It is damaged where names of columns should be.
        OSError: It cannot be read.
    """
    from pyarrow import parquet

    with parquet.ParquetFile(path) as table:
        chunks = column_chunks(path, table.schema)
        check_row_groups(chunks)
        rows = rows_at_once(chunks, table.schema_arrow.names, most_rows)
    listed = sorted({chunk.path for chunk in chunks if chunk.is_text and chunk.is_in_list})
    # One thread, because a build is no faster with more and its CPU time would not be told from its wall time.
    with parquet.ParquetFile(path, read_dictionary=listed) as table:
        for batch in table.iter_batches(rows, use_threads=False):
            if not listed or _unpacked_bytes(batch) <= MAX_ROWS_BYTES:
                yield batch
                continue
            for row in (batch.slice(index, 1) for index in range(batch.num_rows)):
                size = _unpacked_bytes(row)
                limit = f"expected a row that unpacks to at most {MAX_ROWS_BYTES:,} bytes, got {size:,}"
                yield row if size <= MAX_ROWS_BYTES else InputError(limit)


def check_row_groups(chunks: Iterable[ColumnChunk]) -> None:
    """Refuses a table of which a few bytes unpack to more than memory holds.

    Args:
        chunks: The table's columns.

    Raises:
        InputError: A column of a row group does; the message says nothing of the file.
    """
    for chunk in chunks:
        unpacked = max(chunk.num_values * _BYTES_PER_VALUE, chunk.uncompressed_bytes)
        if chunk.is_text and chunk.is_in_list and chunk.is_delta_encoded:
            unpacked *= chunk.num_values
        if unpacked > max(MAX_ROWS_BYTES, _MAX_EXPANSION * chunk.compressed_bytes):
            raise InputError(
                f"expected row groups that unpack to at most {MAX_ROWS_BYTES:,} bytes a column, got {unpacked:,} in "
                f"`{chunk.path}`; write it with smaller row groups"
            )


def rows_at_once(chunks: Iterable[ColumnChunk], columns: Sequence[str], most_rows: int) -> int:
    """How many rows may be read together: in each, a text may be as long as its column unpacks to.

    Args:
        chunks: The table's columns.
        columns: Those that are read.
        most_rows: How many at most.

    Returns:
        1 .. `most_rows`.
    """
    sizes = [chunk.uncompressed_bytes for chunk in chunks if chunk.is_text and chunk.column in columns]
    return max(1, min(most_rows, MAX_ROWS_BYTES // max([1, *sizes])))


def _unpacked_bytes(part: Any) -> int:
    """Bytes of a batch or an array once every number is replaced by what it stands for."""
    import pyarrow as pa
    from pyarrow import compute

    if isinstance(part, pa.RecordBatch):
        return sum(map(_unpacked_bytes, part.columns))
    if isinstance(part, pa.DictionaryArray):
        lengths = compute.call_function("binary_length", [part.dictionary]).cast(pa.int64())
        return compute.call_function("sum", [lengths.take(part.indices)]).as_py() or 0
    flatten: Callable[[], Any] | None = getattr(part, "flatten", None)
    if isinstance(part, pa.StructArray):
        return sum(map(_unpacked_bytes, part.flatten()))
    return part.nbytes if flatten is None else _unpacked_bytes(flatten())
