import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from audio_data import Document, InputError, decode_document, encode_document, records
from audio_data.records import decode_metadata, decode_tokens

metadata = st.dictionaries(
    st.text(max_size=5),
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False, allow_infinity=False),
    max_size=4,
)


@st.composite
def documents(draw):
    ids = draw(st.lists(st.integers(0, draw(st.sampled_from([255, 65_535, 65_536, 2**24 - 1]))), max_size=40))
    masks = st.lists(st.booleans(), min_size=len(ids), max_size=len(ids))
    mask = draw(st.none() | masks)
    return Document(np.array(ids, np.int64), None if mask is None else np.array(mask, np.bool_), draw(metadata))


@given(documents())
def test_a_document_comes_back_from_its_bytes(document):
    again = decode_document(encode_document(document))
    assert again == document
    assert again.ids.dtype == np.int32
    assert (again.loss_mask is None) == (document.loss_mask is None)


@given(documents(), st.data())
def test_any_slice_can_be_read(document, data):
    start = data.draw(st.integers(0, len(document)))
    stop = data.draw(st.integers(start, len(document)))
    ids, mask = decode_tokens(encode_document(document), start, stop, expected_tokens=len(document))
    assert np.array_equal(ids, document.ids[start:stop])
    if document.loss_mask is not None:
        assert mask is not None
        assert np.array_equal(mask, document.loss_mask[start:stop])


@given(documents(), st.data())
def test_no_part_of_a_record_passes_for_one(document, data):
    record = encode_document(document)
    with pytest.raises(InputError, match="record"):
        decode_document(record[: data.draw(st.integers(0, len(record) - 1))])
    with pytest.raises(InputError, match="record"):
        decode_document(record + b"\0")


@example(b"ATOK\x01\x00\x00\x00" + b"\xff" * 8)
@example(b"ATOK\x01\x03\x00\x00" + bytes(4) + b"\x02\x00\x00\x00" + b"[]")
@given(st.binary(max_size=64) | st.binary(max_size=40).map(lambda tail: b"ATOK\x01" + tail))
def test_any_bytes_are_a_document_or_refused(record):
    check_bytes(record)


@given(documents(), st.lists(st.tuples(st.integers(0, 500), st.integers(0, 7)), min_size=1, max_size=3))
def test_a_damaged_record_is_a_document_or_refused(document, flips):
    record = bytearray(encode_document(document))
    for place, bit in flips:
        record[place % len(record)] ^= 1 << bit
    check_bytes(bytes(record))


def check_bytes(record):
    try:
        document = decode_document(record)
    except InputError as error:
        message, document = error.message, None
    if document is None:
        assert "record" in message
        return
    # Two bytes of a record and more for each of its tokens, so that memory is bounded by the record.
    assert 2 * len(document) + 16 <= len(record)
    assert decode_document(encode_document(document)) == document


@pytest.mark.parametrize(
    "content",
    [
        b"{" + b'"a":{' * 70 + b"}" * 71,
        b'{"a":' * 100_000,
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":1,"a":2}',
        b'{"a":"\\ud800"}',
    ],
)
def test_metadata_that_cannot_be_written_again_is_refused(content):
    record = encode_document(Document(np.array([1])))[:-2] + content
    record = record[:12] + len(content).to_bytes(4, "little") + record[16:]
    with pytest.raises(InputError, match="metadata of the record: expected"):
        decode_document(record)


def test_metadata_is_written_only_where_it_can_be_read():
    deep = {"a": 1}
    for _ in range(62):
        deep = {"a": deep}
    assert decode_document(encode_document(Document(np.array([1]), metadata=deep))).metadata == deep
    for wrong in ({"a": deep}, [deep], {"a": "\ud800"}, {"a": float("nan")}):
        with pytest.raises(InputError, match="`metadata` cannot be written"):
            encode_document(Document(np.array([1]), metadata={"a": wrong}))
    endless = {}
    endless["a"] = endless
    with pytest.raises(InputError, match="`metadata` cannot be written"):
        encode_document(Document(np.array([1]), metadata=endless))


def test_metadata_is_bounded(monkeypatch):
    monkeypatch.setattr(records, "MAX_METADATA_BYTES", 20)
    encode_document(Document(np.array([1]), metadata={"a": "b" * 12}))
    with pytest.raises(InputError, match="of at most 20 bytes, got 21"):
        encode_document(Document(np.array([1]), metadata={"a": "b" * 13}))


def test_the_layout_is_the_documented_one():
    record = encode_document(Document(np.array([1, 70_000]), np.array([True, False]), {"id": "é"}))
    assert record == (
        b"ATOK\x01\x03\x00\x00" + (2).to_bytes(4, "little") + (11).to_bytes(4, "little")
        + bytes([1, 0, 70_000 & 255, 70_000 >> 8 & 255]) + bytes([0, 1]) + bytes([0b1000_0000]) + '{"id":"é"}'.encode()
    )  # fmt: skip


def test_three_bytes_hold_an_id_of_the_study():
    ids = np.arange(144_644 - 4096, 144_644)
    assert len(encode_document(Document(ids))) < 3 * 4096 + 32


@pytest.mark.parametrize(
    ("position", "value", "message"), [(0, 88, "header"), (4, 9, "schema version 1, got 9"), (5, 128, "header")]
)
def test_a_strange_header_is_refused(position, value, message):
    record = bytearray(encode_document(Document(np.arange(3))))
    record[position] = value
    with pytest.raises(InputError, match=message):
        decode_document(bytes(record))


def test_an_index_that_disagrees_is_noticed():
    with pytest.raises(InputError, match="expected 4 tokens as in the index, got 3"):
        decode_tokens(encode_document(Document(np.arange(3))), 0, 3, expected_tokens=4)


@pytest.mark.parametrize("replacement", [b"[]", b"x}"])
def test_metadata_that_is_no_object_is_refused(replacement):
    record = encode_document(Document(np.arange(3)))
    with pytest.raises(InputError, match="metadata of the record"):
        decode_metadata(record[:-2] + replacement)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ids": np.zeros((2, 2), np.int32)}, "one row of integer ids"),
        ({"ids": np.array([0.5])}, "one row of integer ids"),
        ({"ids": np.array([-1])}, r"0\.\.16777215, got -1"),
        ({"ids": np.array([2**24])}, "got 16777216"),
        ({"ids": np.arange(3), "loss_mask": np.array([True])}, "boolean `loss_mask` of 3 tokens"),
        ({"ids": np.arange(1), "loss_mask": np.array([1])}, "boolean `loss_mask`"),
    ],
)
def test_a_document_that_cannot_be_one_names_itself(arguments, message):
    with pytest.raises(InputError, match=rf"document `x`.*{message}"):
        Document(**arguments, metadata={"id": "x"})


@pytest.mark.parametrize("value", [object(), float("nan"), "\ud800"])
def test_metadata_must_be_json(value):
    with pytest.raises(InputError, match="document `x`: `metadata` cannot be written as JSON"):
        encode_document(Document(np.arange(1), metadata={"id": "x", "value": value}))


def test_documents_differ_by_ids_mask_and_metadata():
    document = Document(np.arange(3), None, {"id": "a"})
    assert document == Document(np.arange(3), None, {"id": "a"})
    assert document != Document(np.arange(4), None, {"id": "a"})
    assert document != Document(np.arange(3), np.ones(3, np.bool_), {"id": "a"})
    assert document != Document(np.arange(3), None, {"id": "b"})
    assert document != json.dumps({})
