import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_data import Vocabulary
from audio_tokenize.documents.layout import Segment
from audio_tokenize.documents.layouts import LAYOUTS
from audio_tokenize.inspection.code_counts import CodeCounts, TokenCounts, entropy_bits

VOCABULARY = Vocabulary.compact("v", 20, "tiny", 4, 8, "t")


def utterances(seed: int, number: int = 6, num_codebooks: int = 4) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    # Few codes and long runs, so that frames do repeat; lengths down to nothing.
    return [
        np.repeat(random.integers(0, 3, (random.integers(0, 5), num_codebooks)), random.integers(1, 3), axis=0)
        for _ in range(number)
    ]


def naive_repeats(codes: list[np.ndarray], codebook: int) -> tuple[int, int]:
    pairs = [(a[codebook], b[codebook]) for u in codes for a, b in itertools.pairwise(u)]
    return sum(a == b for a, b in pairs), len(pairs)


def test_the_entropy_of_equal_frequencies_is_the_logarithm_of_their_number():
    counts = np.zeros(2048, np.int64)
    counts[5:70] = 17
    assert entropy_bits(counts) == pytest.approx(np.log2(65), abs=1e-12)


@pytest.mark.parametrize("number", [2, 5, 20])
def test_the_entropy_of_halving_frequencies_is_its_closed_form(number):
    """1/2, 1/4, ..., and the last one twice: 2 - 2^(2 - n) bits."""
    counts = np.array([2**i for i in range(number - 2, -1, -1)] + [1])
    assert entropy_bits(counts) == pytest.approx(2 - 2.0 ** (2 - number), abs=1e-12)


@given(st.integers(0, 10_000), st.integers(1, 5))
def test_codes_are_counted_as_a_counter_does(seed, at_once):
    codes = [u.astype(np.uint16) for u in utterances(seed)]
    counts = CodeCounts(4, 8)
    for start in range(0, len(codes), at_once):
        counts.add(codes[start : start + at_once])
    for use in counts.use():
        expected = Counter(int(code) for u in codes for code in u[:, use.codebook])
        assert dict(enumerate(counts.counts[use.codebook])) == {code: expected[code] for code in range(8)}
        repeated, pairs = naive_repeats(codes, use.codebook)
        assert use.repeated_fraction == (pytest.approx(repeated / pairs) if pairs else None)
        assert (use.num_codes, use.num_used) == (sum(expected.values()), len(expected))


@given(
    st.integers(0, 10_000),
    st.sampled_from(["audio_first", "text_first", "acoustic", "semantic", "text", "asr_evaluation"]),
    st.sampled_from([1, 2, 3, 7, 64, 10_000]),
)
def test_a_stream_is_counted_the_same_however_it_is_cut(seed, name, piece):
    random = np.random.default_rng(seed)
    layout, codes = LAYOUTS[name], utterances(seed)
    documents = [layout.build([Segment(random.integers(0, 20, 2), u)], VOCABULARY) for u in codes]
    stream, counts = np.concatenate(documents), TokenCounts(VOCABULARY)
    for start in range(0, len(stream), piece):
        counts.add(stream[start : start + piece])
    expected = Counter(stream.tolist())
    assert dict(enumerate(counts.counts)) == {i: expected[i] for i in range(VOCABULARY.size)}
    kinds = Counter(VOCABULARY.kinds[kind] for kind in VOCABULARY.kind_of(stream).tolist())
    assert counts.tokens_by_kind == {kind: kinds[kind] for kind in VOCABULARY.kinds}
    kept = [u[:, : layout.kept_codebooks(4)] for u in codes] if layout.has_audio else []
    assert counts.num_spans == sum(len(u) > 0 for u in kept)
    for use in counts.use():
        repeated, pairs = naive_repeats(kept, use.codebook)
        assert use.repeated_fraction == (pytest.approx(repeated / pairs) if pairs else None)


def test_specials_among_the_text_ids_are_not_text():
    vocabulary = Vocabulary("marin", 10, 8, 9, 10, 11, 12, 13, 14, 2, 4, "c", "t")
    counts = TokenCounts(vocabulary)
    counts.add(np.array([8, 1, 2, 10, 3, 11, 12, 14, 18, 13, 9], np.int32))
    assert counts.tokens_by_kind == {"text": 3, "special": 6, "codebook_0": 1, "codebook_1": 1}


def test_recurrence_is_not_told_of_streams_that_mix_numbers_of_codebooks():
    counts = TokenCounts(VOCABULARY)
    for layout in ("acoustic", "semantic"):
        counts.add(LAYOUTS[layout].build([Segment(np.zeros(0, int), np.ones((3, 4), int))], VOCABULARY))
    assert [use.repeated_fraction for use in counts.use()] == [None] * 4
