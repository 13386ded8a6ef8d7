import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audio_model import InputError, Qwen3xConfig, Sampling, TokenAutomaton, generate, initialize, stream


@pytest.fixture(scope="module")
def prompts():
    rng = np.random.default_rng(3)
    return [rng.integers(0, 97, length) for length in (5, 31, 1, 17)]


def _continue(model, prompt, count):
    """Greedy decoding that runs the whole model again for every token."""
    row = np.zeros((1, 64), np.int32)
    row[0, : len(prompt)] = prompt
    segment_ids = jnp.ones((1, 64), jnp.int32)
    positions = jnp.arange(64, dtype=jnp.int32)[None]
    run = jax.jit(lambda model, row: model.logits(model(row, segment_ids, positions)))
    for end in range(len(prompt), len(prompt) + count):
        row[0, end] = jnp.argmax(run(model, row)[0, end - 1])
    return row[0, len(prompt) : len(prompt) + count]


def test_greedy_equals_recomputation(tiny, prompts):
    longer = [*prompts, np.random.default_rng(4).integers(0, 97, 40)]
    results = generate(tiny, longer, max_new_tokens=9, batch_size=3)
    for prompt, result in zip(longer, results, strict=True):
        np.testing.assert_array_equal(result, _continue(tiny, prompt, 9))


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=3.0, seed=5)])
def test_neighbours_change_nothing(tiny, prompts, sampling):
    together = generate(tiny, prompts, max_new_tokens=9, sampling=sampling, batch_size=3)
    # Sequence 0 keeps its index, so it must keep its draws, whoever stands beside it.
    alone = generate(tiny, prompts[:1], max_new_tokens=9, sampling=sampling, batch_size=3)
    np.testing.assert_array_equal(together[0], alone[0])


def test_sequences_and_seeds_draw_differently(tiny, prompts):
    sampling = Sampling(temperature=3.0, seed=1)
    same = generate(tiny, [prompts[0]] * 3, max_new_tokens=9, sampling=sampling, batch_size=3)
    other = generate(
        tiny, [prompts[0]] * 3, max_new_tokens=9, sampling=dataclasses.replace(sampling, seed=2), batch_size=3
    )
    assert len({tuple(x) for x in same + other}) == 6


def test_draws_go_with_the_stream_wherever_a_prompt_stands(tiny, prompts):
    sampling, seeds = Sampling(temperature=3.0, seed=5), [7, 2**32 - 1, 0, 7]
    arguments = {"max_new_tokens": 9, "sampling": sampling, "batch_size": 3}
    together = generate(tiny, prompts, seeds=seeds, **arguments)
    order = [2, 0, 3, 1]
    moved = generate(tiny, [prompts[i] for i in order], seeds=[seeds[i] for i in order], **arguments)
    for index, result in zip(order, moved, strict=True):
        np.testing.assert_array_equal(result, together[index])
    in_another_stream = generate(tiny, prompts[:1], seeds=[8], **arguments)
    assert in_another_stream[0].tolist() != together[0].tolist()


def test_seeds_are_positions_if_not_given(tiny, prompts):
    arguments = {"max_new_tokens": 9, "sampling": Sampling(temperature=3.0, seed=5), "batch_size": 3}
    given = generate(tiny, prompts, seeds=[0, 1, 2, 3], **arguments)
    for one, other in zip(given, generate(tiny, prompts, **arguments), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_stop_id_ends_its_own_sequence_only(tiny, prompts):
    free = generate(tiny, prompts, max_new_tokens=9, batch_size=3)
    stop = int(free[0][3])
    stopped = generate(tiny, prompts, max_new_tokens=9, stop_ids=[stop], batch_size=3)
    for whole, cut in zip(free, stopped, strict=True):
        hits = np.flatnonzero(whole == stop)
        np.testing.assert_array_equal(cut, whole[: hits[0] + 1] if hits.size else whole)


@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_a_grammar_is_never_left(tiny, prompts, temperature):
    grammar = TokenAutomaton.cycles(97, [[(0, 20)], [(20, 40), (60, 61)], [(40, 60)]], end=96, minimum=1, maximum=2)
    results = generate(tiny, prompts, max_new_tokens=9, sampling=Sampling(temperature), automaton=grammar, batch_size=3)
    for result in results:
        assert len(result) in (4, 7)
        assert not grammar.allowed(grammar.read(result)).any()


def _under_grammar(model, prompt, grammar, count):
    """Greedy decoding under a grammar that runs the whole model again and reads the whole head for every token."""
    run = jax.jit(
        lambda model, row: model.logits(model(row, jnp.ones_like(row), jnp.arange(64, dtype=jnp.int32)[None]))
    )
    row, state, made = np.zeros((1, 64), np.int32), grammar.initial_state, []
    row[0, : len(prompt)] = prompt
    while len(made) < count and grammar.allowed(state).any():
        logits = np.asarray(run(model, row)[0, len(prompt) + len(made) - 1])
        made.append(int(np.argmax(np.where(grammar.allowed(state), logits, -np.inf))))
        row[0, len(prompt) + len(made) - 1] = made[-1]
        state = int(grammar.next_state[state, grammar.class_of_token[made[-1]]])
    return made


# Text of ids 0 to 39, closed by 40, then frames of two codes (50 to 65, 66 to 81), closed by 90: rows of a batch leave
# the text, whose states are wide, at different steps.
def _text_then_frames():
    masks = np.zeros((5, 97), bool)
    for mask, (start, stop) in zip(masks, [(0, 40), (40, 41), (50, 66), (66, 82), (90, 91)], strict=True):
        mask[start:stop] = True
    class_of_token = np.where(masks.any(axis=0), masks.argmax(axis=0), 5).astype(np.int32)
    next_state = np.full((11, 6), -1, np.int32)
    for place in range(4):
        next_state[place, :2] = place + 1, 4
    next_state[3, :2] = 4, 4
    for frame in range(3):
        next_state[4 + 2 * frame, 2], next_state[5 + 2 * frame, 3] = 5 + 2 * frame, 6 + 2 * frame
        next_state[6 + 2 * frame, 4] = 10
    return TokenAutomaton(class_of_token, next_state[:11])


def test_reading_few_rows_of_the_head_chooses_the_same(tiny, prompts):
    grammar = _text_then_frames()
    results = generate(tiny, prompts, max_new_tokens=12, automaton=grammar, batch_size=4)
    for prompt, result in zip(prompts, results, strict=True):
        assert result.tolist() == _under_grammar(tiny, prompt, grammar, 12)


def _shares_by_definition(logits, allowed, sampling):
    """Probability of every id, from a sort of all that are allowed."""
    logits = np.where(allowed, logits.astype(np.float64) / sampling.temperature, -np.inf)
    order = np.argsort(-logits)
    kept = np.exp(logits[order] - logits.max())
    if sampling.top_k:
        kept[sampling.top_k :] = 0
    reached = np.cumsum(kept / kept.sum())
    kept[1:][reached[:-1] >= sampling.top_p] = 0
    kept[kept < sampling.min_p * kept[0]] = 0
    shares = np.zeros_like(kept)
    shares[order] = kept / kept.sum()
    return shares


_BESIDE = [(30, 40), (44, 45)]  # a single id inside the common window of 20 ids


@pytest.mark.parametrize(
    ("slot", "sampling"),
    [
        (_BESIDE, Sampling(temperature=1.5)),
        (_BESIDE, Sampling(temperature=1.5, top_k=8, top_p=0.8)),
        ([(80, 81), (87, 97)], Sampling(temperature=1.5)),  # at the end of the vocabulary
    ],
)
def test_draws_under_a_grammar_have_the_shares_of_the_whole_softmax(random_model, slot, sampling):
    model = random_model(Qwen3xConfig(vocab_size=97, embed=8, mlp=8, layers=1, heads=1, kv_heads=1, head_dim=8))
    prompt = np.array([5])
    grammar = TokenAutomaton.cycles(97, [slot, [(0, 20)]], end=75, minimum=1, maximum=1)
    count = 1000
    drawn = generate(model, [prompt] * count, max_new_tokens=1, automaton=grammar, sampling=sampling, batch_size=250)
    row = jnp.asarray(prompt, jnp.int32)[None]
    run = jax.jit(lambda model, row: model.logits(model(row, jnp.ones_like(row), jnp.zeros_like(row))))
    shares = _shares_by_definition(np.asarray(run(model, row)[0, -1]), grammar.allowed(0), sampling)
    counts = np.bincount(np.concatenate(drawn), minlength=97)
    assert not counts[shares == 0].any()
    likely = shares > 0
    statistic = np.sum((counts[likely] - count * shares[likely]) ** 2 / (count * shares[likely]))
    degrees = likely.sum() - 1
    # The 99.99th percentile of chi-square (Wilson and Hilferty); draws are fixed by the seed.
    assert statistic < degrees * (1 - 2 / (9 * degrees) + 3.719 * np.sqrt(2 / (9 * degrees))) ** 3


@pytest.mark.parametrize("temperature", [0.0, 3.0])
def test_neighbours_in_other_states_change_nothing(tiny, prompts, temperature):
    arguments = {"max_new_tokens": 12, "automaton": _text_then_frames(), "sampling": Sampling(temperature, seed=2)}
    together = generate(tiny, prompts, batch_size=4, **arguments)
    alone = generate(tiny, prompts[:1], batch_size=4, **arguments)
    np.testing.assert_array_equal(together[0], alone[0])


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=2.0, top_p=0.9, repetition_penalty=1.3, seed=4)])
@pytest.mark.parametrize("tokens_per_piece", [1, 4, 50])
def test_pieces_of_a_stream_are_what_generate_gives(tiny, prompts, sampling, tokens_per_piece):
    arguments = {"max_new_tokens": 10, "stop_ids": [3], "sampling": sampling}
    (whole,) = generate(tiny, prompts[1:2], seeds=[6], batch_size=1, **arguments)
    pieces = list(stream(tiny, prompts[1], seed=6, tokens_per_piece=tokens_per_piece, **arguments))
    assert all(len(piece) == tokens_per_piece for piece in pieces[:-1])
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_a_stream_ends_with_its_grammar(tiny, prompts):
    grammar = _text_then_frames()
    (whole,) = generate(tiny, prompts[:1], max_new_tokens=12, automaton=grammar, batch_size=1)
    pieces = list(stream(tiny, prompts[0], max_new_tokens=12, automaton=grammar, tokens_per_piece=2))
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_a_large_penalty_forbids_repetition(tiny, prompts):
    sampling = Sampling(repetition_penalty=1e6)
    for prompt, result in zip(prompts, generate(tiny, prompts, max_new_tokens=20, sampling=sampling), strict=True):
        assert len({*prompt.tolist(), *result.tolist()}) == len(set(prompt.tolist())) + 20


def test_max_new_tokens_cuts_a_grammar(tiny, prompts):
    grammar = TokenAutomaton.cycles(97, [[(0, 20)]], end=96, minimum=12, maximum=12)
    results = generate(tiny, prompts[:1], max_new_tokens=9, automaton=grammar, batch_size=3)
    assert results[0].shape == (9,)
    assert results[0].max() < 20


def test_bfloat16_runs_under_strict_promotion(tiny, prompts):
    results = generate(tiny, prompts[:1], max_new_tokens=3, batch_size=1, dtype=jnp.bfloat16)
    assert [x.shape for x in results] == [(3,)]


def test_a_head_cast_row_by_row_chooses_as_one_cast_whole(tiny, prompts):
    grammar = TokenAutomaton.cycles(97, [[(0, 20)], [(20, 40)]], end=96, minimum=2, maximum=4)
    arguments = {"max_new_tokens": 9, "automaton": grammar, "batch_size": 3, "dtype": jnp.bfloat16}
    cast = dataclasses.replace(tiny, head=tiny.head.astype(jnp.bfloat16))
    for one, other in zip(generate(tiny, prompts, **arguments), generate(cast, prompts, **arguments), strict=True):
        np.testing.assert_array_equal(one, other)


def test_nothing_to_do(tiny):
    assert generate(tiny, [], max_new_tokens=3) == []


@pytest.mark.parametrize(
    ("prompt", "arguments", "message"),
    [
        ([], {}, "prompt 0 .* at least one token"),
        ([97], {}, r"ids in \[0, 97\), got 97 to 97"),
        ([1] * 120, {}, "context of 128 tokens, got 120 tokens"),
        ([1], {"max_new_tokens": 0}, "`max_new_tokens`"),
        ([1], {"stop_ids": [97]}, "`stop_ids`"),
        ([1], {"seeds": [0, 1]}, "`seeds` must hold one seed for each of the 1 prompts, got 2"),
        ([1], {"seeds": [-1]}, r"`seeds` must lie in \[0, 4294967296\), got \[-1\]"),
        (
            [1],
            {"automaton": TokenAutomaton.cycles(9, [[(0, 2)]], end=3, maximum=1)},
            "must be for 97 token ids, got one for 9",
        ),
    ],
)
def test_mistakes_are_refused(tiny, prompt, arguments, message):
    with pytest.raises(InputError, match=message):
        generate(tiny, [np.array(prompt, np.int64)], **({"max_new_tokens": 9} | arguments))


def test_tied_weights_generate_too(prompts):
    config = Qwen3xConfig(vocab_size=97, embed=16, mlp=16, layers=1, heads=2, kv_heads=2, head_dim=8, tied=True)
    model = initialize(config, jax.random.key(0))
    result = generate(model, prompts[:1], max_new_tokens=4, batch_size=1)
    np.testing.assert_array_equal(result[0], _continue(model, prompts[0], 4))
