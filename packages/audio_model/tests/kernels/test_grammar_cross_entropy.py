import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_model import InputError, TokenSets, grammar_cross_entropy
from audio_model.kernels.grammar_cross_entropy.cases import CASES
from audio_model.kernels.grammar_cross_entropy.xla import _lay_out

CHECKED = [case for case in CASES if not case.timed]


def _inputs(case, rng):
    hidden = jnp.asarray(rng.normal(size=(case.tokens, case.embed)), jnp.float32)
    head = jnp.asarray(rng.normal(size=(case.vocab, case.embed)), jnp.float32)
    legal = np.flatnonzero(np.isin(case.sets.set_of_token(case.vocab), case.used))
    targets = jnp.asarray(rng.choice(legal, case.tokens), jnp.int32)
    mask = jnp.asarray(rng.random(case.tokens) < 0.8)
    weights = jnp.asarray(rng.normal(size=(2, case.tokens)), jnp.float32)
    return hidden, head, targets, mask, weights


def _both(case, implementation, hidden, head, targets, mask, weights):
    def combined(hidden, head):
        loss, logsumexp = grammar_cross_entropy(
            hidden,
            head,
            targets,
            case.sets,
            mask=mask,
            implementation=implementation,
            block_rows=case.block_rows,
            block_columns=case.block_columns,
        )
        return jnp.sum(weights[0] * loss + weights[1] * logsumexp**2), (loss, logsumexp)

    return jax.jit(jax.value_and_grad(combined, argnums=(0, 1), has_aux=True))(hidden, head)


@pytest.mark.parametrize("implementation", ["reference", "xla"])
def test_values_equal_float64(implementation, rng):
    case = CASES[2]
    hidden, head, targets, mask, weights = _inputs(case, rng)
    (_, (loss, logsumexp)), _ = _both(case, implementation, hidden, head, targets, mask, weights)
    logits = np.asarray(hidden, np.float64) @ np.asarray(head, np.float64).T
    sets = case.sets.set_of_token(case.vocab)
    for t, target in enumerate(np.asarray(targets)):
        competitors = logits[t, sets == sets[target]]
        expected = np.log(np.exp(competitors).sum()) if mask[t] else 0.0
        assert logsumexp[t] == pytest.approx(expected, abs=1e-5)
        assert loss[t] == pytest.approx(expected - logits[t, target] if mask[t] else 0.0, abs=1e-5)


@pytest.mark.parametrize("case", CHECKED, ids=lambda case: case.reason)
def test_xla_equals_reference_with_gradients(case, rng):
    inputs = _inputs(case, rng)
    expected, actual = (_both(case, name, *inputs) for name in ("reference", "xla"))
    tolerance = 1e-6 * (case.vocab**0.5 + case.tokens + case.embed)
    for left, right in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=tolerance)


@pytest.mark.parametrize("implementation", ["reference", "xla"])
def test_masked_positions_cost_nothing_whatever_they_hold(implementation, rng):
    case = CASES[1]
    hidden, head, targets, _, weights = _inputs(case, rng)
    mask = jnp.arange(case.tokens) % 2 == 0
    # Id 0 is in no set; a masked hidden state may be anything finite.
    outside = jnp.where(mask, targets, 0)
    (_, (loss, logsumexp)), (gradient, _) = _both(case, implementation, hidden, head, outside, mask, weights)
    for result in (loss, logsumexp, gradient):
        assert np.all(np.isfinite(result))
        assert not np.any(result[~np.asarray(mask)])


@pytest.mark.parametrize("implementation", ["reference", "xla"])
def test_a_counted_target_in_no_set_is_not_a_number(implementation, rng):
    case = CASES[1]
    hidden, head, targets, _, weights = _inputs(case, rng)
    mask = jnp.ones(case.tokens, bool)
    (_, (loss, _)), _ = _both(case, implementation, hidden, head, targets.at[3].set(0), mask, weights)
    assert np.flatnonzero(np.isnan(loss)).tolist() == [3]


@pytest.mark.parametrize("sets", [[0] * 13, [0, 1, 2, 2, 1, -1, 1, 1, 1, 2, 2, 2, 0], [-1] * 13])
def test_positions_lie_in_blocks_of_their_own_set(sets):
    layout = jax.tree.map(np.asarray, _lay_out(jnp.asarray(sets, jnp.int32), 3, 4))
    # As many blocks as any sets of 13 positions can take: 4, and one that is not full for each set.
    assert layout.source.shape == ((4 + 3) * 4,)
    for position, set_index in enumerate(sets):
        if set_index < 0:
            assert layout.slot[position] == layout.source.size
            continue
        assert layout.source[layout.slot[position]] == position
        assert layout.blocks.first[set_index] <= layout.slot[position] // 4 < layout.blocks.stop[set_index]
    assert (layout.source < 13).sum() == sum(set_index >= 0 for set_index in sets)
    counts = [sets.count(set_index) for set_index in range(3)]
    np.testing.assert_array_equal(layout.blocks.stop - layout.blocks.first, [-(-count // 4) for count in counts])
    assert layout.blocks.first[0] == 0
    np.testing.assert_array_equal(layout.blocks.first[1:], layout.blocks.stop[:-1])


def test_all_masked(rng):
    case = CASES[2]
    hidden, head, targets, mask, weights = _inputs(case, rng)
    (_, (loss, _)), gradients = _both(case, "xla", hidden, head, targets, jnp.zeros_like(mask), weights)
    assert not any(np.any(x) for x in (loss, *gradients))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=12),
    st.integers(1, 4),
    st.integers(0, 2**31),
)
def test_set_of_token_inverts_the_ranges(widths, num_sets, seed):
    bounds = np.cumsum([0, *widths])
    owners = np.random.default_rng(seed).integers(-1, num_sets, len(widths))
    owners[:num_sets] = np.arange(num_sets)[: len(widths)]
    ranges = [
        [(int(bounds[i]), int(bounds[i + 1])) for i in np.flatnonzero(owners == index)] for index in range(num_sets)
    ]
    if not all(ranges):
        return
    sets = TokenSets.build([reversed(r) for r in ranges])
    np.testing.assert_array_equal(sets.set_of_token(int(bounds[-1])), np.repeat(owners, widths))
    assert all(left[1] < right[0] for r in sets.ranges for left, right in itertools.pairwise(r))


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ([], "at least one set"),
        ([[(0, 3)], []], "at least one range"),
        ([[(0, 3)], [(2, 5)]], "disjoint"),
        ([[(3, 3)]], "0 <= start < stop"),
        ([[(-1, 3)]], "0 <= start < stop"),
    ],
)
def test_bad_sets_are_refused(ranges, message):
    with pytest.raises(InputError, match=message):
        TokenSets.build(ranges)


def test_sets_beyond_the_vocabulary_are_refused():
    arrays = jnp.zeros((2, 3)), jnp.zeros((5, 3)), jnp.zeros(2, jnp.int32)
    with pytest.raises(InputError, match="reach id 5, but `vocab_size` is 5"):
        grammar_cross_entropy(*arrays, TokenSets.build([[(0, 6)]]))
    with pytest.raises(InputError, match="`block_rows`"):
        grammar_cross_entropy(*arrays, TokenSets.build([[(0, 5)]]), block_rows=0)
