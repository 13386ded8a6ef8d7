"""A small file that repeats one long text in every row never fills the memory."""

import contextlib
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from audio_data import InputError, column_chunks, parquet_tables
from audio_data.parquet_tables import rows_at_once, table_batches

LONG = "long " * 2_000
LIMIT = 2**18


@pytest.fixture
def limit(monkeypatch):
    """256 KiB for rows that are read together."""
    monkeypatch.setattr(parquet_tables, "MAX_ROWS_BYTES", LIMIT)


@contextlib.contextmanager
def allocations():
    """A pool that knows what pyarrow allocates in it."""
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    yield pool
    pa.set_memory_pool(before)


def rows_of(path):
    for batch in table_batches(path, 256):
        yield from [batch] if isinstance(batch, InputError) else batch.to_pylist()


@pytest.mark.parametrize("encoding", [None, "DELTA_BYTE_ARRAY"])
def test_a_repeated_text_is_unpacked_a_few_rows_at_a_time(tmp_path, limit, encoding):
    table = pa.table({"id": list(range(1_000)), "text": [LONG] * 1_000})
    options = {"use_dictionary": False, "column_encoding": {"text": encoding}} if encoding else {}
    parquet.write_table(table, tmp_path / "a.parquet", compression="zstd", **options)
    assert (tmp_path / "a.parquet").stat().st_size < 40_000
    with allocations() as pool:
        for number, row in enumerate(rows_of(tmp_path / "a.parquet")):
            assert row == {"id": number, "text": LONG}
    assert number == 999
    # All at once they take 10 MB, and 256 of them 2.6 MB.
    assert pool.max_memory() < 4 * LIMIT


def test_a_row_that_repeats_a_text_in_a_list_is_an_error_in_its_place(tmp_path, limit):
    tags = [["a", LONG], [LONG] * 100, None, [], ["b"]] * 10
    parquet.write_table(pa.table({"tags": tags, "meta": [{"names": names} for names in tags]}), tmp_path / "a.parquet")
    with allocations() as pool:
        found = list(rows_of(tmp_path / "a.parquet"))
    whole = [row for row in found if not isinstance(row, InputError)]
    assert whole == [{"tags": names, "meta": {"names": names}} for names in tags if names is None or len(names) < 3]
    assert [index for index, row in enumerate(found) if isinstance(row, InputError)] == list(range(1, 50, 5))
    assert str(found[1]).startswith("expected a row that unpacks to at most 262,144 bytes, got 2,000,")
    # All at once they take 20 MB.
    assert pool.max_memory() < 4 * LIMIT


def test_a_text_that_grows_in_a_list_of_differences_is_refused(tmp_path, limit):
    options = {"use_dictionary": False, "column_encoding": {"tags.list.element": "DELTA_BYTE_ARRAY"}}
    parquet.write_table(pa.table({"tags": [[LONG] * 100]}), tmp_path / "a.parquet", compression="zstd", **options)
    with pytest.raises(InputError, match=r"unpack to at most 262,144 bytes a column, got .* in `tags"):
        list(rows_of(tmp_path / "a.parquet"))


def test_ordinary_tables_are_read_in_whole_batches(tmp_path):
    table = pa.table({"text": [f"text {number}" * 20 for number in range(10_000)], "ids": [[1, 2]] * 10_000})
    parquet.write_table(table, tmp_path / "a.parquet")
    chunks = column_chunks(tmp_path / "a.parquet", parquet.ParquetFile(tmp_path / "a.parquet").schema)
    assert rows_at_once(chunks, ["text", "ids"], 256) == 256
    batches: list[Any] = list(table_batches(tmp_path / "a.parquet", 256))
    assert [batch.num_rows for batch in batches] == [256] * 39 + [16]
