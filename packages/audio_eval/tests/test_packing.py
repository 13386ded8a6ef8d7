import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_eval.packing import batches, pack, row_widths


@given(st.lists(st.integers(2, 2_000), min_size=1, max_size=40), st.integers(1, 4), st.integers(1, 4_000))
def test_every_document_lies_whole_in_one_row_of_one_batch(lengths, max_widths, tokens_per_batch):
    rows = pack(lengths, max_widths)
    assert sorted(index for row in rows for index in row.documents) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row.documents) <= row.width for row in rows)
    assert len({row.width for row in rows}) <= max_widths
    planned = list(batches(rows, tokens_per_batch))
    assert [row for members, _ in planned for row in members] == rows
    for members, size in planned:
        (width,) = {row.width for row in members}
        assert len(members) <= size
        assert size == 1 or size * width <= tokens_per_batch
    # Batches of a width differ by less than there are batches, so that what fills the last one up is little.
    for width in {row.width for row in rows}:
        sizes = [(len(members), size) for members, size in planned if members[0].width == width]
        assert sum(size - count for count, size in sizes) < len(sizes)


@given(st.lists(st.integers(641, 4_000), min_size=1, max_size=30))
def test_widths_of_long_documents_leave_the_least_padding_that_two_can(lengths):
    widths = row_widths(lengths, 2)

    def padded(widths):
        return sum(min(width for width in widths if width >= length) for length in lengths)

    multiples = sorted({-(-length // 32) * 32 for length in lengths})
    assert padded(widths) == min(padded([cut, multiples[-1]]) for cut in multiples)
    assert widths[-1] >= max(lengths)
    assert widths == sorted(set(widths))


@pytest.mark.parametrize(
    ("lengths", "width"),
    # 300 and 200 fill 512 together; rows of 128 hold 128 without a gap; three of 100 leave less of 320 than two of 224.
    [([300] * 9 + [200] * 9, 512), ([128] * 30, 128), ([100] * 30, 320), ([600] * 5, 608)],
)
def test_short_documents_share_rows_of_the_width_that_costs_least(lengths, width):
    assert row_widths(lengths, 3) == [width]


def test_a_few_short_documents_do_not_fill_a_wide_row():
    assert row_widths([100, 20], 3) == [128]


def test_nearly_all_of_a_batch_is_documents():
    lengths = np.random.default_rng(0).integers(50, 400, 2_000)
    area = sum(size * members[0].width for members, size in batches(pack(lengths.tolist(), 3), 8_192))
    assert lengths.sum() / area > 0.98
