import collections
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_data import InputError, Mixture, MixtureIndex, Stage

weights = st.lists(st.floats(0.1, 5), min_size=1, max_size=6).map(lambda ws: {f"c{i}": w for i, w in enumerate(ws)})


@given(weights=weights, block=st.sampled_from([256, 2048]))
def test_shares_are_largest_remainder(weights, block):
    mixture = Mixture("m", (Stage(0, weights),), block_size=block)
    shares = mixture.shares(0)
    due = [block * w / sum(weights.values()) for w in weights.values()]
    assert sum(shares) == block
    assert all(abs(share - d) < 1 + 1e-6 for share, d in zip(shares, due, strict=True))
    rounded_up = [d % 1 for share, d in zip(shares, due, strict=True) if share > d]
    rounded_down = [d % 1 for share, d in zip(shares, due, strict=True) if share <= d]
    assert not rounded_up or not rounded_down or min(rounded_up) >= max(rounded_down) - 1e-6


def test_the_main_mixture_of_the_study_has_its_counts():
    sizes = {"yodas2": 131, "emilia-yodas": 73, "emilia": 37}
    mixture = Mixture.constant("soda", {**{c: 0.95 * n / 241 for c, n in sizes.items()}, "text": 0.05})
    assert dict(zip(mixture.corpora, mixture.shares(0), strict=True)) == {
        "yodas2": 1058,
        "emilia-yodas": 589,
        "emilia": 299,
        "text": 102,
    }
    assert sum(mixture.weights(0).values()) == pytest.approx(1)


@given(weights=weights, block=st.sampled_from([256, 2048]))
def test_the_largest_corpus_may_take_all_that_is_left(weights, block):
    shares = Mixture("m", (Stage(0, weights),), block_size=block, remainder="largest_corpus").shares(0)
    largest = max(range(len(weights)), key=list(weights.values()).__getitem__)
    total = sum(map(Fraction, weights.values()))
    rest = [math.floor(block * Fraction(w) / total) for i, w in enumerate(weights.values()) if i != largest]
    assert list(shares[:largest] + shares[largest + 1 :]) == rest
    assert sum(shares) == block


def test_of_equally_large_corpora_the_first_takes_what_is_left():
    thirds = Mixture("m", (Stage(0, {"a": 1, "b": 1, "c": 1}),), remainder="largest_corpus")
    assert thirds.shares(0) == (684, 682, 682)


def test_weights_of_any_sum_mean_the_same():
    small, large = Mixture.constant("a", {"x": 0.2, "y": 0.6}), Mixture.constant("b", {"x": 1, "y": 3})
    assert small.shares(0) == large.shares(0) == (512, 1536)


def walk(mixture, batch_size, num_places, seed=0):
    index = MixtureIndex(mixture, batch_size, seed)
    return [index[place] for place in range(num_places)]


@given(weights=weights, seed=st.integers(0, 2**40))
@settings(deadline=None, max_examples=30)
def test_every_block_has_exact_counts_and_draws_have_no_gaps(weights, seed):
    mixture = Mixture("m", (Stage(0, weights),), block_size=256)
    draws = walk(mixture, 8, 3 * 256, seed)
    for block in range(3):
        counts = collections.Counter(draw.corpus for draw in draws[256 * block : 256 * (block + 1)])
        assert tuple(counts[c] for c in range(len(weights))) == mixture.shares(0)
    for corpus in range(len(weights)):
        assert [d.ordinal for d in draws if d.corpus == corpus] == list(range(3 * mixture.shares(0)[corpus]))


@given(
    steps=st.lists(st.integers(1, 60), min_size=1, max_size=3),
    batch_size=st.integers(1, 9),
    place=st.integers(0, 600),
)
@settings(deadline=None, max_examples=40)
def test_stages_begin_at_their_step_and_draws_count_on(steps, batch_size, place):
    starts = np.cumsum([0, *steps]).tolist()
    corpora = [{"a": 1, "b": 1}, {"b": 3, "c": 1}, {"a": 1}, {"c": 1, "a": 7}]
    stages = tuple(Stage(start, w) for start, w in zip(starts, corpora, strict=False))
    mixture = Mixture("m", stages, block_size=64)
    draws = walk(mixture, batch_size, 640)
    seen = collections.Counter()
    for i, draw in enumerate(draws):
        assert draw.ordinal == seen[draw.corpus]
        seen[draw.corpus] += 1
        current = max(s for s, start in enumerate(starts) if i >= start * batch_size)
        assert mixture.corpora[draw.corpus] in corpora[current]
    before = collections.Counter(draw.corpus for draw in draws[:place])
    drawn = MixtureIndex(mixture, batch_size, 0).drawn_before(place)
    assert drawn.tolist() == [before[c] for c in range(len(mixture.corpora))]


def test_a_stage_that_is_added_later_changes_nothing_before_it():
    first = Mixture("m", (Stage(0, {"a": 1, "b": 2}),))
    second = Mixture("m", (Stage(0, {"a": 1, "b": 2}), Stage(100, {"b": 1})))
    assert walk(first, 16, 1600) == walk(second, 16, 1600)


def test_the_order_in_a_block_depends_on_seed_and_block():
    mixture = Mixture.constant("m", {"a": 1, "b": 1})
    orders = [[d.corpus for d in walk(mixture, 8, 4096, seed)] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0][:2048] != orders[0][2048:]


def test_the_map_is_the_same_in_every_version():
    draws = walk(Mixture.constant("m", {"a": 1, "b": 3}), 8, 12, seed=17)
    assert "".join("ab"[d.corpus] for d in draws) == "bbbbbbaabbbb"


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((), r"growing steps from 0, got \[\]"),
        ((Stage(1, {"a": 1}),), r"got \[1\]"),
        ((Stage(0, {"a": 1}), Stage(5, {"a": 1}), Stage(5, {"a": 1})), r"got \[0, 5, 5\]"),
        ((Stage(0, {"a": 1, "b": 1e-4}),), r"1 place in a block of 2048 for corpus `b`.*`block_size` >= 10001"),
    ],
)
def test_stages_that_cannot_be_are_refused(stages, message):
    with pytest.raises(InputError, match=message):
        Mixture("m", stages)


BAD_WEIGHTS = [
    {"a": -1, "b": 2},
    {"a": 0},
    {},
    {"a": float("nan")},
    {"a": float("inf")},
    {"a": 1, "b": "1"},
    {"a": 1, "b": None},
    {"a": True},
]


@pytest.mark.parametrize("bad", BAD_WEIGHTS)
def test_weights_that_cannot_be_are_refused(bad):
    with pytest.raises(InputError, match="finite weights >= 0 with a sum above 0"):
        Stage(0, bad)


@pytest.mark.parametrize("block", [0, -2048])
def test_a_block_has_places(block):
    with pytest.raises(InputError, match=f"`block_size` of at least 1 place, got {block}"):
        Mixture("m", (Stage(0, {"a": 1}),), block_size=block)


def test_a_corpus_of_weight_0_is_not_drawn_from():
    assert Mixture.constant("m", {"a": 0, "b": 1}).corpora == ("b",)


def test_a_missing_corpus_is_named_with_the_nearest():
    mixture = Mixture.constant("m", {"yodas2/en": 1})
    mixture.check_corpora(["yodas2/en", "other"])
    message = r"corpus `yodas2/en` is not among the data; did you mean yodas/en\? Build it or correct the name"
    with pytest.raises(InputError, match=message):
        mixture.check_corpora(["yodas/en", "text"])
