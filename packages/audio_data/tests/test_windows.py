import itertools
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_data import CutDocuments, Document, Holdout, InputError, Packing, TokenDataset, cut_documents
from audio_data.windows import make_rows, plan_best_fit, plan_next_fit

LENGTHS = [5, 0, 30, 1, 17, 8, 16, 9, 40, 2]


def rows_of(dataset, kind, seq_len, positions: Literal["continue", "reset"] = "continue", **options):
    rows = make_rows(dataset, Packing(kind, positions, **options), seq_len, seed=3)
    return [rows[i] for i in range(len(rows))], rows


def window_by_hand(stream, mask, start, seq_len, end_of_text, reset):
    """One window, token by token, as the study's loader is described."""
    row = {"tokens": [], "segment_ids": [], "positions": [], "loss_mask": []}
    segment, position = 1, 0
    for i in range(start, start + seq_len):
        row["tokens"].append(stream[i])
        row["segment_ids"].append(segment)
        row["positions"].append(position)
        row["loss_mask"].append(i + 1 < start + seq_len and bool(mask[i + 1]))
        position += 1
        if stream[i] == end_of_text:
            segment += 1
            position = 0 if reset else position
    return row


@pytest.mark.parametrize("positions", ["continue", "reset"])
@pytest.mark.parametrize("masked", [False, True])
def test_windows_are_those_of_the_study(tmp_path, vocabulary, make_documents, write_dataset, positions, masked):
    documents = make_documents(LENGTHS, masked=masked)
    dataset = write_dataset(tmp_path / "a", documents, tokens_per_record=7)
    stream = np.concatenate([d.ids for d in documents])
    mask = np.concatenate([d.loss_mask if masked else np.ones(len(d), np.bool_) for d in documents])
    found, rows = rows_of(dataset, "windows", 12, positions)
    assert len(rows) == stream.size // 12
    for i, row in enumerate(found):
        expected = window_by_hand(stream, mask, 12 * i, 12, vocabulary.end_of_text, positions == "reset")
        assert {name: values.tolist() for name, values in row.items()} == expected


@pytest.mark.parametrize("part", [None, "rest", "heldout"])
def test_documents_longer_than_a_row_are_counted(tmp_path, make_documents, write_dataset, part):
    write_dataset(tmp_path / "a", make_documents(LENGTHS))
    side = None if part is None else Holdout(0.5, part == "heldout")
    dataset = TokenDataset.open(tmp_path / "a", holdout=side)
    lengths = [len(document) for document in dataset]
    beyond = [length - 12 for length in lengths if length > 12]
    assert beyond or part is not None
    cut = cut_documents(dataset, 12)
    assert (cut.num_documents, cut.num_tokens) == (len(beyond), sum(beyond))
    seconds = sum(document.metadata.get("seconds", 0.0) for document in TokenDataset.open(tmp_path / "a"))
    assert cut.audio_seconds == pytest.approx(seconds * sum(beyond) / sum(LENGTHS))
    assert cut.longest == max(lengths, default=0)
    assert cut_documents(dataset, max(LENGTHS)) == CutDocuments(0, 0, 0.0, max(lengths, default=0))


def test_a_window_knows_its_documents(tmp_path, make_documents, write_dataset):
    dataset = write_dataset(tmp_path / "a", make_documents(LENGTHS))
    owner = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    _, rows = rows_of(dataset, "windows", 12)
    found = [rows.documents(i) for i in range(len(rows))]
    assert found == [sorted(set(owner[12 * i : 12 * i + 12].tolist())) for i in range(len(rows))]


@given(
    lengths=st.lists(st.integers(0, 50), min_size=1, max_size=60).filter(any),
    seq_len=st.integers(2, 24),
    max_segments=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None)
def test_best_fit_loses_and_doubles_no_token(lengths, seq_len, max_segments, seed):
    offsets = np.cumsum([0, *lengths])
    plan = plan_best_fit(offsets, seq_len, max_segments, seed)
    covered = np.zeros(offsets[-1], np.int64)
    for start, length in zip(plan.starts, plan.lengths, strict=True):
        covered[start : start + length] += 1
    assert (covered == 1).all()
    rows = np.split(plan.lengths, plan.row_offsets[1:-1])
    assert all(1 <= row.size <= max_segments and row.sum() <= seq_len for row in rows)
    owner = np.searchsorted(offsets, plan.starts, "right")
    assert (owner == np.searchsorted(offsets, plan.starts + plan.lengths - 1, "right")).all()


@given(lengths=st.lists(st.integers(1, 16), min_size=1, max_size=40))
def test_best_fit_is_best_fit_decreasing(lengths):
    rows: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [i for i, free in enumerate(rows) if free >= length]
        if fitting:
            rows[min(fitting, key=lambda i: rows[i])] -= length
        else:
            rows.append(16 - length)
    plan = plan_best_fit(np.cumsum([0, *lengths]), 16, 1000, seed=0)
    used = np.add.reduceat(plan.lengths, plan.row_offsets[:-1])
    assert sorted(16 - used) == sorted(rows)


def packed_in_stored_order(documents, seq_len, max_segments):
    """Rows of documents, each a list of (tokens, mask), by the words in which the study's packing is described."""
    rows = []
    for tokens, mask in documents:
        tokens, mask = tokens[:seq_len], mask[:seq_len]
        if not tokens:
            continue
        used = sum(len(other) for other, _ in rows[-1]) if rows else seq_len
        if used + len(tokens) > seq_len or len(rows[-1]) == max_segments:
            rows.append([])
        rows[-1].append((tokens, mask))
    return rows


@given(
    lengths=st.lists(st.integers(0, 50), min_size=1, max_size=60).filter(any),
    seq_len=st.integers(2, 24),
    max_segments=st.integers(1, 5),
)
def test_next_fit_keeps_stored_order_and_the_first_row_of_each_document(lengths, seq_len, max_segments):
    offsets = np.cumsum([0, *lengths])
    plan = plan_next_fit(offsets, seq_len, max_segments)
    documents = [(list(range(start, stop)),) * 2 for start, stop in itertools.pairwise(offsets)]
    expected = packed_in_stored_order(documents, seq_len, max_segments)
    found = [
        [list(range(start, start + length)) for start, length in zip(plan.starts[row], plan.lengths[row], strict=True)]
        for row in (slice(*plan.row_offsets[i : i + 2]) for i in range(plan.row_offsets.size - 1))
    ]
    assert found == [[tokens for tokens, _ in row] for row in expected]


@pytest.mark.parametrize("positions", ["continue", "reset"])
@pytest.mark.parametrize("max_segments", [64, 2])
def test_next_fit_rows_are_those_of_a_naive_packing(tmp_path, make_documents, write_dataset, positions, max_segments):
    documents = make_documents(LENGTHS, masked=True)
    dataset = write_dataset(tmp_path / "a", documents, tokens_per_record=7)
    found, rows = rows_of(dataset, "next_fit", 20, positions, max_segments=max_segments)
    content = [(document.ids.tolist(), document.loss_mask.tolist()) for document in documents]
    packed = packed_in_stored_order(content, 20, max_segments)
    assert len(found) == len(rows) == len(packed)
    for row, segments in zip(found, packed, strict=True):
        expected = {"tokens": [], "segment_ids": [], "positions": [], "loss_mask": []}
        for number, (tokens, mask) in enumerate(segments, 1):
            first = 0 if positions == "reset" else len(expected["tokens"])
            expected["positions"] += range(first, first + len(tokens))
            expected["tokens"] += tokens
            expected["segment_ids"] += [number] * len(tokens)
            # What a position predicts is the next token of its own document.
            expected["loss_mask"] += [*mask[1:], False]
        used = len(expected["tokens"])
        for name, values in expected.items():
            assert row[name][:used].tolist() == values, name
        assert not row["segment_ids"][used:].any()
        assert not row["loss_mask"][used:].any()
    kept = sum(row["segment_ids"].astype(bool).sum() for row in found)
    assert kept == dataset.num_tokens - cut_documents(dataset, 20).num_tokens


@given(
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=12).filter(any),
    seq_len=st.integers(2, 20),
    tokens_per_record=st.integers(1, 16),
)
@settings(deadline=None, max_examples=12)
def test_windows_lose_no_token_but_the_tail_and_double_none(
    tmp_path_factory, make_documents, write_dataset, lengths, seq_len, tokens_per_record
):
    documents = make_documents(lengths)
    path = tmp_path_factory.mktemp("windows") / "a"
    dataset = write_dataset(path, documents, documents_per_shard=3, tokens_per_record=tokens_per_record)
    stream = np.concatenate([document.ids for document in documents])
    num_rows = stream.size // seq_len
    if num_rows == 0:
        with pytest.raises(InputError, match=f"expected at least {seq_len} tokens"):
            make_rows(dataset, Packing(), seq_len, seed=0)
        return
    rows, _ = rows_of(dataset, "windows", seq_len)
    assert len(rows) == num_rows
    assert np.array_equal(np.concatenate([row["tokens"] for row in rows]), stream[: num_rows * seq_len])


def test_the_plan_is_a_function_of_its_seed():
    offsets = np.cumsum([0, *np.random.default_rng(0).integers(1, 12, 500)])
    one, again, other = (plan_best_fit(offsets, 12, 8, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.starts, again.starts)
    assert not np.array_equal(one.starts, other.starts)


@pytest.mark.parametrize("positions", ["continue", "reset"])
def test_packed_rows_hold_whole_documents(tmp_path, make_documents, write_dataset, positions):
    documents = make_documents(LENGTHS, masked=True)
    dataset = write_dataset(tmp_path / "a", documents, tokens_per_record=7)
    found, rows = rows_of(dataset, "best_fit", 20, positions)
    targets = 0
    seen = []
    for i, row in enumerate(found):
        segments = row["segment_ids"]
        used = segments > 0
        assert row["tokens"][~used].tolist() == [0] * int((~used).sum())
        assert not row["loss_mask"][~used].any()
        assert rows.documents(i) == [owner_of(documents, row, s) for s in range(1, segments.max() + 1)]
        for segment in range(1, segments.max() + 1):
            where = np.flatnonzero(segments == segment)
            assert np.array_equal(where, np.arange(where[0], where[0] + where.size))
            first = 0 if positions == "reset" else where[0]
            assert row["positions"][where].tolist() == list(range(first, first + where.size))
            assert not row["loss_mask"][where[-1]]
            seen.append(row["tokens"][where].tolist())
        targets += row["loss_mask"].sum()
    cut = [d.ids[i : i + 20].tolist() for d in documents for i in range(0, len(d), 20)]
    assert sorted(seen) == sorted(cut)
    masks = [d.loss_mask[i : i + 20] for d in documents for i in range(0, len(d), 20)]
    assert targets == sum(int(mask[1:].sum()) for mask in masks)


def owner_of(documents, row, segment):
    """The document whose ids contain those of a segment."""
    ids = row["tokens"][row["segment_ids"] == segment].tolist()
    starts = [(i, s) for i, d in enumerate(documents) for s in range(0, len(d), 20)]
    return next(i for i, s in starts if documents[i].ids[s : s + 20].tolist() == ids)


def test_a_corpus_that_fills_no_row_is_refused(tmp_path, make_documents, write_dataset):
    dataset = write_dataset(tmp_path / "a", make_documents([5, 4]))
    with pytest.raises(InputError, match="expected at least 10 tokens to fill a row, got 9"):
        make_rows(dataset, Packing("windows"), 10, seed=0)
    assert len(make_rows(dataset, Packing("best_fit"), 10, seed=0)) == 1
    empty = write_dataset(tmp_path / "b", [Document(np.zeros(0, np.int32))])
    with pytest.raises(InputError, match="expected at least 1 tokens"):
        make_rows(empty, Packing("best_fit"), 10, seed=0)
    with pytest.raises(InputError, match="`seq_len`: expected at least 2, got 1"):
        make_rows(dataset, Packing("windows"), 1, seed=0)


def test_packing_refuses_what_it_does_not_know():
    with pytest.raises(InputError, match="`max_segments`: expected at least 1, got 0"):
        Packing("next_fit", max_segments=0)
    with pytest.raises(InputError, match="`max_segments`: expected at least 1, got 0"):
        Packing("best_fit", max_segments=0)


def test_at_most_64_documents_share_a_row_unless_told_otherwise(tmp_path, make_documents, write_dataset):
    dataset = write_dataset(tmp_path / "a", make_documents([2] * 200))
    assert Packing("best_fit").max_segments == 64
    for options, expected in (({}, [64, 64, 64, 8]), ({"max_segments": 150}, [150, 50])):
        found, rows = rows_of(dataset, "best_fit", 1000, "reset", **options)
        assert sorted((int(row["segment_ids"].max()) for row in found), reverse=True) == expected
        assert sum(len(rows.documents(i)) for i in range(len(rows))) == 200


@pytest.mark.parametrize(
    ("damaged", "rows"),
    [(0, {0}), (1, {0, 1, 2}), (2, {2}), (3, set()), (4, set())],
    ids=["first", "over rows", "into the tail", "empty", "in the tail"],
)
def test_a_quarantined_document_takes_the_rows_in_which_it_lies(tmp_path, make_documents, write_dataset, damaged, rows):
    """Three rows of 10, and a tail of 7 that fills none."""
    dataset = write_dataset(tmp_path / "a", make_documents([5, 17, 9, 0, 6]))
    whole = TokenDataset(dataset.path, dataset.manifest, dataset._index, quarantined=[damaged])
    found = make_rows(whole, Packing(), 10, seed=0)
    assert found.quarantined == rows
    assert len(found) == 3
    sound = make_rows(dataset, Packing(), 10, seed=0)
    for i in range(3):
        assert (found[i]["tokens"].tolist() == sound[i]["tokens"].tolist()) == (i not in rows)
        assert found[i]["loss_mask"].any() == (i not in rows)
