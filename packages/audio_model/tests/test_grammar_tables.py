import numpy as np
import pytest

from audio_model import TokenAutomaton
from audio_model.grammar_tables import GrammarTables


def _audio(vocab, codebooks, size, base, end):
    slots = [[(base + size * k, base + size * (k + 1))] for k in range(codebooks)]
    return TokenAutomaton.cycles(vocab, slots, end=end, maximum=3)


@pytest.mark.parametrize(
    "grammar",
    [
        _audio(400, 4, 32, 200, 199),
        _audio(400, 4, 32, 272, 5),  # the last window touches the end of the vocabulary
        TokenAutomaton.cycles(400, [[(0, 10), (20, 25)], [(390, 400)]], end=399 - 10, maximum=2),
        TokenAutomaton.cycles(400, [[(0, 300)], [(310, 312)]], end=399, maximum=2),
        # The common window is 20 wide: from the run of the second slot on it reaches a single id, and the end.
        TokenAutomaton.cycles(400, [[(0, 20)], [(100, 110), (115, 116)]], end=117, maximum=2),
        # And at the end of the vocabulary, where the window begins before the run.
        TokenAutomaton.cycles(400, [[(0, 20)], [(385, 386), (390, 400)]], end=387, maximum=2),
    ],
)
def test_a_narrow_state_allows_its_window_and_its_strays_and_nothing_else(grammar):
    tables = GrammarTables.of(grammar)
    assert tables.window > 0
    for state, start in enumerate(np.asarray(tables.window_start)):
        allowed = np.flatnonzero(grammar.allowed(state))
        strays = np.asarray(tables.strays[state])
        if start < 0:
            assert 4 * len(allowed) > 400
            continue
        assert 0 <= start <= 400 - tables.window
        window = np.intersect1d(allowed, np.arange(start, start + tables.window))
        reached = np.concatenate([window, strays[strays >= 0]])
        # Every allowed id once, so that none is drawn twice as often.
        assert sorted(reached.tolist()) == allowed.tolist()
    assert (np.asarray(tables.window_start) >= 0).any()


def test_windows_are_as_wide_as_a_codebook_and_the_end_beside_it():
    assert GrammarTables.of(_audio(400, 4, 32, 200, 5)).window == 32
    assert GrammarTables.of(_audio(400, 4, 32, 200, 199)).window == 33


def test_narrow_is_a_grammar_whose_states_all_are():
    assert GrammarTables.of(_audio(400, 4, 32, 200, 199)).is_narrow
    assert not GrammarTables.of(TokenAutomaton.cycles(400, [[(0, 300)], [(310, 312)]], end=399, maximum=2)).is_narrow
    assert not GrammarTables.of(TokenAutomaton.cycles(400, [[(0, 300)]], end=399, maximum=2)).is_narrow


def test_a_grammar_of_scattered_ids_has_no_windows():
    grammar = TokenAutomaton.cycles(400, [[(i, i + 1) for i in range(0, 398, 2)]], end=399, maximum=2)
    tables = GrammarTables.of(grammar)
    for state in range(len(grammar.next_state)):
        assert (int(tables.window_start[state]) >= 0) == (len(np.flatnonzero(grammar.allowed(state))) <= 9)
