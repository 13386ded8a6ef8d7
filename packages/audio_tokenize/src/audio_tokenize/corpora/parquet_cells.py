"""Cells of parquet tables as Python values, one at a time, with bounds on what they unpack to."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from audio_data import ColumnChunk, InputError
from audio_tokenize.corpora.record_rules import size_problem

# Text packs to a tenth of its size, digital silence to a hundredth. A page holds 2 GiB at most and is unpacked whole.
_MAX_RATIO = 200


def require_size(path: Path, chunks: Iterable[ColumnChunk], columns: Sequence[str], max_bytes: int) -> None:
    """Refuse a table that unpacks to far more than audio or text can.

    Args:
        path: The file, for the message.
        chunks: Its columns, as `column_chunks` reads them.
        columns: Those that are to be read.
        max_bytes: Columns of a row group up to this size are read, however well they are packed.

    Raises:
        InputError: If a column of a row group is larger and 200 times as large as in the file.
    """
    for chunk in chunks:
        unpacked, packed = chunk.uncompressed_bytes, max(chunk.compressed_bytes, 1)
        if chunk.is_text and chunk.is_in_list:
            # Each value of a list may be a text that the column holds once.
            unpacked *= chunk.num_values
        if chunk.column in columns and unpacked > max_bytes and unpacked > _MAX_RATIO * packed:
            raise InputError(
                f"`{path}`, row group {chunk.group}: expected columns that unpack to at most {_MAX_RATIO} times their "
                f"size, got {unpacked:,} bytes of {packed:,} in `{chunk.path}`; this is no audio or text"
            )


def cell(column: pa.Array, row: int, max_bytes: int) -> object:
    """Return the value of a cell; text that is not UTF-8 has surrogates in place of its bytes (`surrogateescape`).

    Args:
        column: Of a batch.
        row: From 0.
        max_bytes: Of text or bytes that are read.

    Raises:
        InputError: If it is larger, or of a kind that Python has no value for.
    """
    value = column[row]
    if not value.is_valid:
        return None
    if pa.types.is_struct(column.type):
        # `flatten` carries the validity of the struct over to its fields.
        return {
            field.name: cell(part, row, max_bytes) for field, part in zip(column.type, column.flatten(), strict=True)
        }
    try:
        is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        if is_text or pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
            content = value.as_buffer()
            if problem := size_problem(content.size, max_bytes):
                raise InputError(problem)
            return content.to_pybytes().decode("utf-8", "surrogateescape") if is_text else content.to_pybytes()
        return value.as_py()
    except InputError:
        raise
    except (pa.ArrowException, ValueError, OverflowError) as error:  # dates that Python has not, text inside a list
        raise InputError(f"expected text and numbers, got a {column.type} that cannot be read ({error})") from error
