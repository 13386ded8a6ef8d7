import numpy as np
import pytest

from audio_model import InputError, TokenAutomaton


def _words(automaton, tokens, limit):
    """Every sequence of the automaton up to a length, by exhaustion."""
    complete, open_words = set(), [((), automaton.initial_state)]
    while open_words:
        word, state = open_words.pop()
        allowed = [token for token in tokens if automaton.allowed(state)[token]]
        if not allowed:
            complete.add(word)
        assert len(word) <= limit
        open_words += [((*word, token), automaton.read(np.array([*word, token]))) for token in allowed]
    return complete


def test_cycles_accept_exactly_whole_rounds():
    automaton = TokenAutomaton.cycles(6, [[(0, 2)], [(3, 4)]], end=5, minimum=1, maximum=2)
    expected = {(a, 3, 5) for a in (0, 1)} | {(a, 3, b, 3, 5) for a in (0, 1) for b in (0, 1)}
    assert _words(automaton, range(6), 5) == expected


def test_text_is_a_cycle_of_one_slot_that_may_be_empty():
    automaton = TokenAutomaton.cycles(4, [[(0, 1), (2, 3)]], end=1, minimum=0, maximum=2)
    text = [(), (0,), (2,), (0, 0), (0, 2), (2, 0), (2, 2)]
    assert _words(automaton, range(4), 3) == {(*word, 1) for word in text}


def test_slots_may_share_ids():
    automaton = TokenAutomaton.cycles(5, [[(0, 3)], [(2, 4)]], end=4, minimum=1, maximum=1)
    assert _words(automaton, range(5), 3) == {(a, b, 4) for a in (0, 1, 2) for b in (2, 3)}


def test_reading_names_the_first_wrong_token():
    automaton = TokenAutomaton.cycles(6, [[(0, 2)], [(3, 4)]], end=5, minimum=1, maximum=2)
    with pytest.raises(InputError, match="token 0 at position 1"):
        automaton.read(np.array([0, 0, 3]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"slots": []}, "at least one slot"),
        ({"slots": [[]]}, "at least one slot"),
        ({"slots": [[(0, 2)], [], [(3, 4)]]}, "every slot at least one range"),
        ({"slots": [[(0, 9)]]}, "0 <= start < stop <= 6"),
        ({"slots": [[(0, 2), (4, 4)]]}, "0 <= start < stop <= 6"),
        ({"slots": [[(-1, 2)]]}, "0 <= start < stop <= 6"),
        ({"end": 6}, r"`end` must lie in \[0, 6\)"),
        ({"end": 1}, "outside every slot"),
        ({"minimum": 3}, "minimum <= maximum"),
        ({"maximum": 0}, "minimum <= maximum"),
    ],
)
def test_bad_cycles_are_refused(arguments, message):
    good = {"slots": [[(0, 2)], [(3, 4)]], "end": 5, "minimum": 0, "maximum": 2}
    with pytest.raises(InputError, match=message):
        TokenAutomaton.cycles(6, **(good | arguments))


@pytest.mark.parametrize(
    ("classes", "table", "initial", "message"),
    [
        ([], [[0, 0]], 0, r"`class_of_token` must hold classes in \[0, 2\) for at least one token"),
        ([0, 2], [[0, 0]], 0, r"`class_of_token` must hold classes in \[0, 2\) for at least one token"),
        ([0, -1], [[0, 0]], 0, r"`class_of_token` must hold classes in \[0, 2\) for at least one token"),
        ([0, 1], [[0, 1]], 0, r"`next_state` must hold states in \[0, 1\) or -1"),
        ([0, 1], [[0, -2]], 0, r"`next_state` must hold states in \[0, 1\) or -1"),
        ([0, 1], [[0, 0]], 1, r"`initial_state` must lie in \[0, 1\), got 1"),
        ([0, 1], [[0, 0]], -1, r"`initial_state` must lie in \[0, 1\), got -1"),
        ([0, 0], [[0, 0]], 0, r"allows the classes \[1\]"),
    ],
)
def test_bad_tables_are_refused(classes, table, initial, message):
    with pytest.raises(InputError, match=message):
        TokenAutomaton(np.array(classes, np.int32), np.array(table, np.int32), initial)
