import itertools

import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_data import InputError
from audio_eval.metrics import bits, bootstrap, difference, quotient, ratio, word_error_rate, word_errors

WORDS = st.lists(st.sampled_from(["red", "green", "blue", "cat"]), max_size=7).map(" ".join)


def test_word_errors_by_hand():
    errors = word_errors("open the big blue box now", "open a big box now again")
    assert (errors.num_substitutions, errors.num_deletions, errors.num_insertions) == (1, 1, 1)
    assert (errors.num_errors, errors.num_words) == (3, 6)
    assert [chunk.operation for chunk in errors.alignment] == [
        "equal", "substitute", "equal", "delete", "equal", "insert",
    ]  # fmt: skip


@pytest.mark.parametrize(("hypothesis", "num_errors"), [("", 0), ("two words", 2)])
def test_empty_reference_counts_insertions(hypothesis, num_errors):
    errors = word_errors("", hypothesis)
    assert (errors.num_errors, errors.num_words) == (num_errors, 0)


@given(reference=WORDS, hypothesis=WORDS)
def test_word_errors_match_a_plain_edit_distance(reference, hypothesis):
    a, b = reference.split(), hypothesis.split()
    distance = np.zeros((len(a) + 1, len(b) + 1), int)
    distance[:, 0], distance[0] = range(len(a) + 1), range(len(b) + 1)
    for i, word in enumerate(a, 1):
        for j, other in enumerate(b, 1):
            distance[i, j] = min(
                distance[i - 1, j] + 1, distance[i, j - 1] + 1, distance[i - 1, j - 1] + (word != other)
            )
    errors = word_errors(reference, hypothesis)
    assert errors.num_errors == distance[-1, -1]
    assert " ".join(w for chunk in errors.alignment for w in chunk.reference) == reference
    assert " ".join(w for chunk in errors.alignment for w in chunk.hypothesis) == hypothesis


def test_word_error_rate_is_corpus_level_as_in_jiwer():
    references = ["the red cat", "go left ten steps now please", "stop"]
    hypotheses = ["the bed cat", "go left steps", "stop it now"]
    estimate = word_error_rate(references, hypotheses)
    assert estimate.value == pytest.approx(jiwer.wer(references, hypotheses))
    assert estimate.value == pytest.approx((1 + 3 + 2) / (3 + 6 + 1))
    assert estimate.low < estimate.value < estimate.high


def test_word_error_rate_refuses_lists_that_do_not_match():
    with pytest.raises(InputError, match="expected 2, got 1"):
        word_error_rate(["a", "b"], ["a"])
    with pytest.raises(InputError, match="at least one word"):
        word_error_rate(["", ""], ["a", "b"])
    with pytest.raises(InputError, match="at least one item"):
        word_error_rate([], [])


def test_bootstrap_of_a_mean_matches_the_normal_interval():
    values = np.random.default_rng(1).normal(3.0, 2.0, size=400)
    estimate = bootstrap(np.stack([values, np.ones_like(values)], axis=1), ratio, num_resamples=20_000)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.015)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.015)


def test_bootstrap_of_a_share_matches_the_binomial():
    errors = np.array([1.0] * 60 + [0.0] * 140)
    estimate = bootstrap(np.stack([errors, np.ones(200)], axis=1), ratio, num_resamples=20_000)
    half = 1.96 * np.sqrt(0.3 * 0.7 / 200)
    assert (estimate.low, estimate.high) == (pytest.approx(0.3 - half, abs=0.01), pytest.approx(0.3 + half, abs=0.01))


def test_paired_difference_of_equal_columns_has_no_spread():
    column = np.random.default_rng(0).integers(1, 9, size=(50, 2)).astype(float)
    paired = np.concatenate([column, column], axis=1)
    assert bootstrap(paired, difference) == bootstrap(np.tile([0.0, 1.0, 0.0, 1.0], (50, 1)), difference)
    assert bootstrap(paired, quotient).low == 1.0


def test_bootstrap_is_repeatable_and_has_no_interval_for_one_item():
    columns = np.array([[1.0, 4.0], [3.0, 5.0], [0.0, 2.0]])
    assert bootstrap(columns, ratio) == bootstrap(columns, ratio)
    single = bootstrap(columns[:1], ratio)
    assert (single.value, single.low, single.high, single.num_items) == (0.25, None, None, 1)


def test_resamples_without_a_denominator_are_left_out():
    columns = np.array([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0]])
    estimate = bootstrap(columns, ratio)
    assert (estimate.low, estimate.high) == (0.5, 0.5)


def test_large_sets_are_resampled_in_slices(monkeypatch):
    columns = np.random.default_rng(0).uniform(size=(100, 2)) + 0.5
    whole = bootstrap(columns, ratio)
    monkeypatch.setattr("audio_eval.metrics._MAX_WEIGHTS", 10_000)
    sliced = bootstrap(columns, ratio)
    assert sliced.value == whole.value
    assert (sliced.low, sliced.high) == (pytest.approx(whole.low, rel=0.02), pytest.approx(whole.high, rel=0.02))


@pytest.mark.parametrize(
    ("asked", "at_once"), [({}, 4_000_000), ({"num_resamples": 25}, 30), ({"num_resamples": 7}, 1)]
)
def test_as_many_sets_are_resampled_as_asked_for(monkeypatch, asked, at_once):
    monkeypatch.setattr("audio_eval.metrics._MAX_WEIGHTS", at_once)
    columns, seen = np.array([[1.0, 4.0], [3.0, 5.0], [0.0, 2.0]]), []

    def statistic(sums):
        seen.extend(np.atleast_2d(sums).tolist())
        return ratio(sums)

    bootstrap(columns, statistic, **asked)
    # The first call is of all items, each once.
    assert seen[0] == [4.0, 11.0]
    assert len(seen) - 1 == asked.get("num_resamples", 2_000)
    # Every resample is of as many items: three draws with replacement.
    possible = {tuple(columns[list(draw)].sum(axis=0)) for draw in itertools.product(range(3), repeat=3)}
    assert {tuple(sums) for sums in seen[1:]} <= possible
    # Slices draw anew: one that repeated the draws of another would repeat its sums.
    assert len({tuple(sums) for sums in seen[1:]}) > 2


def test_the_interval_holds_95_percent_of_the_resamples():
    # Two items, drawn twice: both the same in a quarter of the cases each, one of each in half of them.
    columns = np.array([[0.0, 1.0], [1.0, 1.0]])
    many = bootstrap(columns, ratio, num_resamples=4_000)
    assert (many.value, many.low, many.high) == (0.5, 0.0, 1.0)
    # Values 0 to 999 once each, as good as the order of the resamples: 2.5 % lie outside on each side.
    spread = bootstrap(
        columns, lambda sums: np.arange(np.size(sums) // 2).reshape(sums.shape[:-1]), num_resamples=1_001
    )
    assert (spread.low, spread.high) == (pytest.approx(25.0), pytest.approx(975.0))


def test_bits_of_a_fair_choice():
    assert bits(np.log(8)) == pytest.approx(3.0)
