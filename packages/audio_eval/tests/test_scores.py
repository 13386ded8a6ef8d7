import json

import numpy as np
import pytest

from audio_data import InputError
from audio_eval.metrics import bootstrap, ratio
from audio_eval.scores import Item, Measure, Score, compare_items, score_items

WER = Measure("wer", "errors/word", "lower", ("wer",))
GAIN = Measure("gain", "errors/word", "higher", ("other", "wer"), "difference")
BITS = Measure("bits", "bits/token", "lower", ("nats",), scale=1 / np.log(2))


def make_items(errors, words=4.0, dataset="heldout"):
    return [
        Item(
            f"u{i}", dataset, {"wer": (e, words), "other": (e + 2, words), "nats": (np.log(2) * e, 1.0)}, {"text": "x"}
        )
        for i, e in enumerate(errors)
    ]


def test_scores_are_ratios_of_sums_over_the_items_of_their_data_set():
    items = make_items([1.0, 3.0, 0.0]) + make_items([4.0, 4.0], dataset="other")
    wer, gain, in_bits = score_items("asr", "heldout", (WER, GAIN, BITS), items)
    assert (wer.value, wer.num_items) == (pytest.approx(4 / 12), 3)
    assert gain.value == pytest.approx(6 / 12)
    assert (gain.low, gain.high) == (pytest.approx(0.5), pytest.approx(0.5))
    assert in_bits.value == pytest.approx(4 / 3)
    expected = bootstrap(np.array([[1.0, 4.0], [3.0, 4.0], [0.0, 4.0]]), ratio)
    assert (wer.low, wer.high) == (expected.low, expected.high)


def test_items_without_a_term_do_not_count_and_unspoken_measures_are_left_out():
    items = [*make_items([1.0]), Item("silent", "heldout", {}, {})]
    absent = Measure("absent", "x", "lower", ("absent",))
    (score,) = score_items("asr", "heldout", (WER, absent), items)
    assert score.num_items == 1
    assert score.low is None


def test_zero_denominator_is_reported_as_missing_with_the_reason():
    (score,) = score_items("asr", "heldout", (WER,), make_items([0.0, 1.0], words=0.0))
    assert score.value is None
    assert "zero over all 2 items" in score.reason


def test_json_round_trips():
    (score,) = score_items("asr", "heldout", (GAIN,), make_items([1.0, 2.0]))
    assert Score.from_json(json.loads(json.dumps(score.to_json()))) == score
    item = make_items([1.0])[0]
    assert Item.from_json(json.loads(json.dumps(item.to_json()))) == item


@pytest.mark.parametrize(
    ("second", "verdict"), [([0.0] * 20, "better"), ([3.0] * 20, "worse"), ([1.0, 2.0] * 10, "undecided")]
)
def test_comparison_is_paired_and_gives_a_verdict(second, verdict):
    first = make_items([2.0, 1.0] * 10)
    comparison = compare_items(WER, "heldout", first, list(reversed(make_items(second))))
    assert comparison.verdict == verdict
    assert comparison.difference.value == pytest.approx(np.mean(second) / 4 - 1.5 / 4)
    assert (comparison.first, comparison.second) == (1.5 / 4, np.mean(second) / 4)
    assert comparison.to_json()["verdict"] in str(comparison)


def test_pairing_makes_a_constant_gain_certain():
    errors = np.random.default_rng(0).integers(1, 30, 40).astype(float)
    comparison = compare_items(WER, "heldout", make_items(errors), make_items(errors - 1))
    assert comparison.difference.low == pytest.approx(-0.25)
    assert comparison.difference.high == pytest.approx(-0.25)


def test_comparison_without_shared_items_is_refused():
    with pytest.raises(InputError, match="none in common"):
        compare_items(WER, "heldout", make_items([1.0]), make_items([1.0], dataset="elsewhere"))
