import pytest

from audio_data import InputError
from audio_tokenize.encoding.quarantine import QuarantineBudget, reasons_by_count


def broken(*names: str) -> list[dict[str, str]]:
    return [
        {"id": name, "reason": f"`{name}.wav`: expected readable audio, got 'Format not recognised'"} for name in names
    ]


def test_a_fraction_is_judged_after_a_hundred():
    budget = QuarantineBudget()
    budget.count(50, broken(*"abcdef"))
    budget.count(50)
    with pytest.raises(InputError, match=r"at most 5 % of utterances that .* got 6 of 101 \(`a`: .*; `b`: .*; `c`: "):
        budget.count(1)


def test_a_count_is_judged_at_once():
    budget = QuarantineBudget(1)
    budget.count(2, broken("a"))
    with pytest.raises(InputError, match="at most 1 utterances that cannot be encoded, got 2 of 4"):
        budget.count(2, broken("b"))
    with pytest.raises(InputError, match="at most 0 utterances"):
        QuarantineBudget(0).count(1, broken("a"))


def test_a_fraction_is_of_all_where_their_number_is_known():
    """What was skipped at opening comes first: it alone says nothing of the whole."""
    names = [f"a{number}" for number in range(150)]
    budget = QuarantineBudget(0.5, num_expected=300)
    budget.count(150, broken(*names))
    budget.count(100)
    with pytest.raises(InputError, match="at most 50 % of utterances that cannot be encoded, got 151 of 300"):
        budget.count(1, broken("b"))


@pytest.mark.parametrize("limit", [-1, 1.5, -0.1])
def test_what_is_no_budget_is_refused(limit):
    with pytest.raises(InputError, match=r"budget: expected a number from 0, or a share 0\.0\.\.1\.0, got"):
        QuarantineBudget(limit)


def test_reasons_are_told_apart_by_what_they_say_not_by_whom():
    bytes_ = [{"id": n, "reason": f"`{n}`: byte 0x{n} at 3, U+D8{n.upper()}, no UTF-8"} for n in ("e9", "f1")]
    assert reasons_by_count(bytes_) == {"…: byte … at …, …, no UTF-8": 2}
    silent = [{"id": "x", "reason": "line 12: the text is empty"}, {"id": "y", "reason": "line 7: the text is empty"}]
    assert list(reasons_by_count([*silent, *broken("a", "b", "c")]).items()) == [
        ("…: expected readable audio, got …", 3),
        ("line …: the text is empty", 2),
    ]
