import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_data import ShardInfo
from audio_data.document_index import DocumentIndex

shards_of_lengths = st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=6), min_size=1, max_size=5)


def make_index(shards, tokens_per_record, chosen=None, dtype=np.int32):
    infos = [ShardInfo(str(i), len(lengths), sum(lengths), 0, "") for i, lengths in enumerate(shards)]
    offsets = [np.cumsum([0, *lengths]).astype(dtype) for lengths in shards]
    masks = None if chosen is None else [np.array(mask) for mask in chosen].__getitem__
    return DocumentIndex(infos, tokens_per_record, offsets.__getitem__, masks)


def tokens_by_hand(shards, tokens_per_record, chosen):
    """Of every token of the stream: its document, and shard, record, place in the record and size of the record."""
    tokens, spans, document = [], [], 0
    for shard, lengths in enumerate(shards):
        record = 0
        for i, length in enumerate(lengths):
            parts = (
                [length]
                if not length
                else [min(tokens_per_record, length - a) for a in range(0, length, tokens_per_record)]
            )
            if chosen is None or chosen[shard][i]:
                spans.append((len(tokens), len(tokens) + length))
                for number, size in enumerate(parts):
                    tokens += [(document, shard, record + number, place, size) for place in range(size)]
                document += 1
            record += len(parts)
    return tokens, spans


@given(
    shards=shards_of_lengths,
    tokens_per_record=st.integers(1, 12),
    dtype=st.sampled_from([np.int32, np.int64]),
    data=st.data(),
)
def test_every_token_lies_where_a_walk_through_all_documents_finds_it(shards, tokens_per_record, dtype, data):
    masks = st.tuples(*(st.lists(st.booleans(), min_size=len(s), max_size=len(s)) for s in shards))
    chosen = data.draw(st.none() | masks)
    index = make_index(shards, tokens_per_record, chosen, dtype)
    expected, spans = tokens_by_hand(shards, tokens_per_record, chosen)
    assert (index.num_documents, index.num_tokens) == (len(spans), len(expected))
    assert [index.span(i) for i in range(len(spans))] == spans
    assert index.token_offsets().tolist() == [*(start for start, _ in spans), len(expected)]
    assert index.documents_of(np.arange(len(expected))).tolist() == [token[0] for token in expected]
    start = data.draw(st.integers(0, len(expected)))
    stop = data.draw(st.integers(start, len(expected)))
    parts = index.parts(start, stop)
    found = [(shard, record, i, size) for shard, record, first, last, size in parts for i in range(first, last)]
    assert found == [token[1:] for token in expected[start:stop]]
    assert all(first < last for _, _, first, last, _ in parts)


@pytest.mark.parametrize(("length", "bytes_per_document"), [(4_000, 4), (9_000, 8)], ids=["one record", "two records"])
def test_a_document_costs_a_few_bytes_and_only_when_its_shard_is_read(length, bytes_per_document):
    """60 million documents: 240 MB where each has one record, 480 MB where each has several."""
    num_shards, num_documents = 50, 8192
    infos = [ShardInfo(str(i), num_documents, length * num_documents, 0, "") for i in range(num_shards)]
    tracemalloc.start()
    try:
        index = DocumentIndex(infos, 8192, lambda _: np.arange(num_documents + 1, dtype=np.int32) * length)
        opened = tracemalloc.get_traced_memory()[0]
        for shard in range(num_shards):
            index.span(shard * num_documents)
        read = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert opened < 0.1 * num_shards * num_documents
    assert read / (num_shards * num_documents) == pytest.approx(bytes_per_document, rel=0.05)
