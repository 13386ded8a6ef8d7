import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_data import InputError, Vocabulary
from audio_eval.grammars import audio_automaton, text_automaton

COMPACT = Vocabulary.compact("toy", 20, "toy-codec", 3, 16, "toy-text")
# As in Llama-3, begin and end of text lie among the text ids.
INSIDE = Vocabulary("inside", 20, 17, 18, 20, 21, 22, 23, 24, 3, 16, "toy-codec", "toy-text")
VOCABULARIES = st.sampled_from([COMPACT, INSIDE])


def walk(automaton, choose, limit=10_000):
    """Follows the automaton with `choose(allowed ids)` until nothing may follow."""
    state, tokens = automaton.initial_state, []
    while True:
        allowed = np.flatnonzero(automaton.next_state[state][automaton.class_of_token] >= 0)
        if not len(allowed):
            return tokens
        tokens.append(int(choose(allowed)))
        state = automaton.next_state[state, automaton.class_of_token[tokens[-1]]]
        assert len(tokens) < limit


@given(st.data(), VOCABULARIES, st.integers(0, 5), st.integers(1, 5), st.integers(1, 3))
def test_every_walk_of_the_audio_grammar_is_whole_frames(data, vocabulary, min_frames, more, books):
    automaton = audio_automaton(
        vocabulary, min_frames=min_frames, max_frames=min_frames + more, num_codebooks=books, vocab_size=100
    )
    *tokens, end = walk(automaton, lambda allowed: data.draw(st.sampled_from(allowed.tolist())))
    assert end == vocabulary.audio_end
    codes = vocabulary.codes(np.array(tokens, np.int32), books)
    assert min_frames <= len(codes) <= min_frames + more


@given(st.data(), VOCABULARIES, st.integers(0, 4), st.integers(1, 4))
def test_every_walk_of_the_text_grammar_is_text(data, vocabulary, min_tokens, more):
    automaton = text_automaton(vocabulary, max_tokens=min_tokens + more, min_tokens=min_tokens)
    *tokens, end = walk(automaton, lambda allowed: data.draw(st.sampled_from(allowed.tolist())))
    assert end == vocabulary.text_end
    assert min_tokens <= len(tokens) <= min_tokens + more
    assert set(vocabulary.kind_of(np.array(tokens, np.int64)).tolist()) <= {0}


@pytest.mark.parametrize("prefer", ["first", "last"])
@pytest.mark.parametrize("bounds", [(0, 1), (2, 2), (3, 7)])
def test_least_and_greatest_length_are_reached(prefer, bounds):
    end_comes_first = COMPACT.audio_end < COMPACT.audio_base
    automaton = audio_automaton(COMPACT, min_frames=bounds[0], max_frames=bounds[1])
    tokens = walk(automaton, lambda allowed: allowed[0] if prefer == "first" else allowed[-1])
    assert end_comes_first
    assert len(tokens) - 1 == 3 * (bounds[0] if prefer == "first" else bounds[1])


def test_every_text_id_and_nothing_else_may_begin_a_text():
    automaton = text_automaton(INSIDE, max_tokens=2, vocab_size=90)
    allowed = np.flatnonzero(automaton.next_state[0][automaton.class_of_token] >= 0)
    assert allowed.tolist() == [*range(17), 19, INSIDE.text_end]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: audio_automaton(COMPACT, min_frames=-1, max_frames=2), "`min_frames` must be 0 or more, got -1"),
        (lambda: audio_automaton(COMPACT, min_frames=3, max_frames=2), "`max_frames` must be at least 3, got 2"),
        (lambda: audio_automaton(COMPACT, min_frames=0, max_frames=2, num_codebooks=4), "must be 1 to 3, got 4"),
        (lambda: text_automaton(COMPACT, max_tokens=0), "`max_tokens` must be at least 1, got 0"),
    ],
)
def test_contradicting_bounds_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
