"""The column sizes that a Parquet file states, read from its footer.

pyarrow aborts the process when Python asks for the metadata of a column that is encrypted, or whose size statistics
contradict the schema. The few numbers that bound memory are therefore read here.

Source: the Thrift compact protocol, and `parquet.thrift` of Apache Parquet, whose field numbers are below.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from audio_data.errors import InputError

if TYPE_CHECKING:
    from pyarrow import parquet

_MAGIC = b"PAR1"
_TEXTS = ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_ROW_GROUPS = 4
_COLUMNS = 1
_COLUMN_METADATA = 3
_ENCODINGS, _NUM_VALUES, _UNCOMPRESSED, _COMPRESSED = 2, 5, 6, 7
_DELTA_BYTE_ARRAY = 7


@dataclass(frozen=True)
class ColumnChunk:
    """One column of one row group.

    Attributes:
        group: Number of the row group.
        path: Names from the table's column down to this one, joined by dots.
        is_text: Whether its values are texts or bytes.
        is_in_list: Whether a row may hold several values.
        num_values: Values, nulls included.
        uncompressed_bytes: Bytes once decompressed, encoded still.
        compressed_bytes: Bytes in the file.
        is_delta_encoded: Whether a text may share its beginning with the text before it.
    """

    group: int
    path: str
    is_text: bool
    is_in_list: bool
    num_values: int
    uncompressed_bytes: int
    compressed_bytes: int
    is_delta_encoded: bool

    @property
    def column(self) -> str:
        """The table's column that it is a part of."""
        return self.path.partition(".")[0]


def column_chunks(path: Path, schema: "parquet.ParquetSchema") -> list[ColumnChunk]:
    """Return the columns of all row groups of a Parquet file, as its footer states them.

    Args:
        path: The file.
        schema: Its schema, as pyarrow reads it.

    Raises:
        InputError: The footer is damaged, or a column is encrypted; the message says nothing of the file.
    """
    try:
        with path.open("rb") as file:
            groups = _footer(file)[_ROW_GROUPS]
        return [
            _chunk(number, schema.column(place), chunk[_COLUMN_METADATA])
            for number, group in enumerate(groups)
            for place, chunk in enumerate(group[_COLUMNS])
        ]
    except (KeyError, IndexError, TypeError, ValueError, struct.error, RecursionError) as error:
        raise InputError("expected a whole footer and columns that are not encrypted") from error


def _chunk(group: int, column: Any, stated: Mapping[int, Any]) -> ColumnChunk:
    return ColumnChunk(
        group,
        column.path,
        is_text=column.physical_type in _TEXTS,
        is_in_list=column.max_repetition_level > 0,
        num_values=stated[_NUM_VALUES],
        uncompressed_bytes=stated[_UNCOMPRESSED],
        compressed_bytes=stated[_COMPRESSED],
        is_delta_encoded=_DELTA_BYTE_ARRAY in stated[_ENCODINGS],
    )


def _footer(file: BinaryIO) -> dict[int, Any]:
    size = file.seek(0, 2)
    file.seek(max(0, size - 8))
    length, magic = struct.unpack("<I4s", file.read(8))
    if magic != _MAGIC or length > size - 8:
        raise ValueError(magic)
    file.seek(size - 8 - length)
    return _Reader(file.read(length)).struct()


class _Reader:
    """Decodes the Thrift compact protocol: structs as dictionaries by field number."""

    def __init__(self, content: bytes):
        self._content = content
        self._place = 0

    def struct(self) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0
        while header := self._byte():
            number = number + (header >> 4) if header >> 4 else self._integer()
            fields[number] = self._value(header & 15)
        return fields

    def _value(self, kind: int) -> Any:
        if kind in (_TRUE, _FALSE):
            return kind == _TRUE
        if kind == _BYTE:
            return self._byte()
        if kind in (_I16, _I32, _I64):
            return self._integer()
        if kind == _DOUBLE:
            return struct.unpack("<d", self._bytes(8))[0]
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind in (_LIST, _SET):
            header = self._byte()
            count = header >> 4 if header >> 4 < 15 else self._varint()
            return [self._element(header & 15) for _ in range(count)]
        if kind == _MAP:
            return self._map()
        if kind == _STRUCT:
            return self.struct()
        raise ValueError(kind)

    def _map(self) -> dict[Any, Any]:
        if not (count := self._varint()):
            return {}
        kinds = self._byte()
        return {self._element(kinds >> 4): self._element(kinds & 15) for _ in range(count)}

    def _element(self, kind: int) -> Any:
        """Return a value inside a container, where a boolean takes a byte."""
        return self._byte() == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind)

    def _integer(self) -> int:
        number = self._varint()
        return number >> 1 ^ -(number & 1)

    def _varint(self) -> int:
        number = shift = 0
        while (byte := self._byte()) & 128:
            number |= (byte & 127) << shift
            shift += 7
        return number | byte << shift

    def _byte(self) -> int:
        self._place += 1
        return self._content[self._place - 1]

    def _bytes(self, count: int) -> bytes:
        self._place += count
        if self._place > len(self._content):
            raise IndexError(self._place)
        return self._content[self._place - count : self._place]
