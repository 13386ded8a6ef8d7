"""The footer read here says what pyarrow says of whole files, and a damaged one never ends the process."""

import subprocess
import sys

import pyarrow as pa
import pytest
from pyarrow import parquet

from audio_data import InputError, column_chunks

TABLE = pa.table(
    {
        "id": list(range(300)),
        "text": [f"text {number}" for number in range(300)],
        "tags": [["a", "b"], None, []] * 100,
        "audio": [{"bytes": b"x" * 10, "path": "a.wav"}] * 300,
        "pairs": pa.array([[("k", 1.5)]] * 300, pa.map_(pa.string(), pa.float64())),
    }
)
OPTIONS = (
    {},
    {"row_group_size": 7, "compression": "zstd", "write_page_index": True},
    {"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY", "data_page_version": "2.0"},
    {"store_schema": False, "write_statistics": False, "sorting_columns": [parquet.SortingColumn(0)]},
)


@pytest.mark.parametrize("options", OPTIONS)
def test_columns_are_those_that_pyarrow_reads(tmp_path, options):
    table = TABLE.select(["text"]) if "column_encoding" in options else TABLE
    parquet.write_table(table, tmp_path / "a.parquet", **options)
    with parquet.ParquetFile(tmp_path / "a.parquet") as file:
        found = iter(column_chunks(tmp_path / "a.parquet", file.schema))
        for group in range(file.num_row_groups):
            facts = file.metadata.row_group(group)
            for place in range(facts.num_columns):
                column, chunk = facts.column(place), next(found)
                assert (chunk.group, chunk.path) == (group, column.path_in_schema)
                assert chunk.num_values == column.num_values
                assert chunk.uncompressed_bytes == column.total_uncompressed_size
                assert chunk.compressed_bytes == column.total_compressed_size
                assert chunk.is_delta_encoded == ("DELTA_BYTE_ARRAY" in column.encodings)
                assert chunk.is_text == (column.physical_type == "BYTE_ARRAY")
        assert next(found, None) is None
    assert {c.column for c in column_chunks(tmp_path / "a.parquet", file.schema) if c.is_in_list} <= {"tags", "pairs"}


def test_statements_that_contradict_each_other_end_no_process(tmp_path):
    """One bit of each byte of the footer in turn: pyarrow's own column metadata would abort at some of them."""
    parquet.write_table(TABLE.select(["id", "text"]).slice(0, 2), tmp_path / "a.parquet", store_schema=False)
    program = """
import pathlib, sys
import pyarrow
from audio_data import InputError, table_batches
path = pathlib.Path(sys.argv[1])
content = path.read_bytes()
first = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
for place in range(first, len(content)):
    path.write_bytes(content[:place] + bytes([content[place] ^ 64]) + content[place + 1 :])
    try:
        list(table_batches(path, 256))
    except (InputError, pyarrow.ArrowException, OSError, UnicodeDecodeError):
        pass
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a.parquet")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("damage", ["no magic", "long footer", "no column"])
def test_a_damaged_footer_is_refused(tmp_path, damage):
    path = tmp_path / "a.parquet"
    parquet.write_table(TABLE, path)
    schema = parquet.ParquetFile(path).schema
    content = path.read_bytes()
    if damage == "no magic":
        content = content[:-1]
    elif damage == "long footer":
        content = content[:-8] + (2**31).to_bytes(4, "little") + content[-4:]
    else:
        schema = parquet.ParquetFile(pa.BufferReader(_written(TABLE.select(["id"])))).schema
    path.write_bytes(content)
    with pytest.raises(InputError, match="expected a whole footer and columns that are not encrypted"):
        column_chunks(path, schema)


def _written(table):
    stream = pa.BufferOutputStream()
    parquet.write_table(table, stream)
    return stream.getvalue()
