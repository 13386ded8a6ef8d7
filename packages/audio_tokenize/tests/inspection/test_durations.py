import numpy as np
import pytest

from audio_tokenize.inspection.durations import Durations


@pytest.fixture(scope="module")
def lengths() -> np.ndarray:
    return np.random.default_rng(0).lognormal(1.5, 0.8, 20_000)


@pytest.fixture(scope="module")
def durations(lengths) -> Durations:
    found = Durations()
    for seconds in [*lengths.tolist(), 0.0, 0]:
        found.add(seconds)
    return found


def test_quantiles_are_right_to_one_percent(durations, lengths):
    for fraction in (0.01, 0.05, 0.5, 0.9, 0.999):
        assert durations.quantile(fraction) == pytest.approx(np.quantile(lengths, fraction), rel=0.01)
    assert (durations.quantile(0.0), durations.quantile(1.0)) == pytest.approx((lengths.min(), lengths.max()), rel=0.01)


def test_counts_sums_and_extremes_are_exact(durations, lengths):
    assert (len(durations), durations.num_empty) == (20_000, 2)
    assert durations.seconds == pytest.approx(lengths.sum())
    assert (durations.shortest, durations.longest) == (lengths.min(), lengths.max())


def test_a_histogram_holds_every_length_once(durations, lengths):
    bins = durations.histogram(12)
    assert len(bins) <= 12
    edges = [b.begin_seconds for b in bins] + [bins[-1].end_seconds]
    assert [b.num_lengths for b in bins] == np.histogram(lengths, edges)[0].tolist()
    assert sum(b.num_lengths for b in bins) == 20_000


def test_memory_does_not_grow_with_the_number_of_lengths(durations):
    assert len(durations._bins) < 900


def test_nothing_has_no_quantiles():
    assert Durations().to_json() == {"num_documents": 0, "num_empty": 0}
    assert Durations().histogram() == []
