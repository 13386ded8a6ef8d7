import jax.numpy as jnp
import numpy as np
import pytest

from audio_data import InputError
from audio_eval import load_checkpoint
from audio_eval.harness import TextModel, cut, harness_model, rolling_windows

REQUESTS = [("the red cat is in", " room 1"), ("", "the blue bird"), ("the white horse ", "is in room 2")]


@pytest.fixture(scope="module")
def checkpoint(export):
    return load_checkpoint(export)


@pytest.fixture(scope="module")
def plain(checkpoint):
    return TextModel(checkpoint, batch_size=2)


def logits_of(checkpoint, ids):
    seq = len(ids)
    tokens = jnp.asarray(ids, jnp.int32)[None]
    hidden = checkpoint.model(tokens, jnp.ones((1, seq), jnp.int32), jnp.arange(seq, dtype=jnp.int32)[None])
    return np.asarray(checkpoint.model.logits(hidden[0]), np.float64)


def naive(checkpoint, before, scored):
    ids = [*before, *scored]
    logits = logits_of(checkpoint, ids)[len(before) - 1 : -1]
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    greedy = (logits.argmax(axis=-1) == scored).all()
    return log_probs[np.arange(len(scored)), scored].sum(), bool(greedy)


def test_loglikelihoods_are_those_of_a_naive_loop(checkpoint, plain):
    begin, text = checkpoint.vocabulary.begin_of_text, checkpoint.text
    found = plain.loglikelihood(REQUESTS)
    for (context, continuation), (value, greedy) in zip(REQUESTS, found, strict=True):
        whole, before = text.encode(context + continuation), text.encode(context.rstrip())
        expected, best = naive(checkpoint, [begin, *before], whole[len(before) :])
        assert value == pytest.approx(expected, abs=1e-4)
        assert greedy == best


def test_what_greedy_decoding_gives_is_greedy(checkpoint, plain):
    begin, scored = checkpoint.vocabulary.begin_of_text, []
    for _ in range(3):
        scored.append(int(logits_of(checkpoint, [begin, *scored])[-1].argmax()))
    assert plain._score([([begin], scored)])[0][1]
    assert not plain._score([([begin], [*scored[:2], scored[2] ^ 1])])[0][1]


def test_each_token_of_a_long_text_is_predicted_once(checkpoint, plain):
    text = " ".join(["the red cat is in room 1"] * 60)
    tokens, longest = checkpoint.text.encode(text), checkpoint.model.config.max_seq_len
    assert len(tokens) > 2 * longest
    windows = list(rolling_windows(tokens, checkpoint.vocabulary.begin_of_text, longest - 1))
    assert [token for _, scored in windows for token in scored] == tokens
    assert all(len(before) + len(scored) <= longest for before, scored in windows)
    expected = sum(naive(checkpoint, *window)[0] for window in windows)
    (found,) = plain.loglikelihood_rolling([text])
    assert found == pytest.approx(expected, rel=1e-5)


def test_windows_are_the_harness_own():
    utils = pytest.importorskip("lm_eval.utils")
    for count in (1, 4, 5, 9, 10, 11):
        tokens = list(range(100, 100 + count))
        theirs = utils.get_rolling_token_windows(tokens, prefix_token=0, max_seq_len=4, context_len=1)
        # It writes a window as all inputs and the last targets: what is given is the inputs up to the first target.
        theirs = [(given[: len(given) - len(wanted) + 1], wanted) for given, wanted in theirs]
        assert list(rolling_windows(tokens, 0, 4)) == theirs


def test_generation_stops_at_the_first_of_its_ends(checkpoint, plain):
    options = {"max_gen_toks": 6}
    whole = plain.generate_until([("the red cat", options), ("the", {**options, "until": "nowhere"})])
    assert all(isinstance(text, str) for text in whole)
    assert cut("one two\n\nthree", ["three", "\n\n"]) == "one two"
    assert cut("one two", ["", "four"]) == "one two"
    assert cut("one.two", ".") == "one"


def test_a_continuation_that_cannot_be_scored_is_named(plain):
    with pytest.raises(InputError, match="must have 1 to 255 tokens, got 0"):
        plain.loglikelihood([("the", "")])


def test_without_the_harness_it_says_how_to_get_it(export, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lm_eval.api.model", None)
    with pytest.raises(InputError, match="pip install lm_eval"):
        harness_model(export)


def test_the_harness_itself_measures_a_task(export, tmp_path):
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.api.instance import Instance

    model = harness_model(export)
    requests = [Instance("loglikelihood", {}, request, index) for index, request in enumerate(REQUESTS)]
    assert model.loglikelihood(requests) == TextModel(load_checkpoint(export)).loglikelihood(REQUESTS)
    (tmp_path / "cats.jsonl").write_text(
        '{"q": "the red cat is in room", "choices": ["1", "xylophone"], "gold": 0}\n'
        '{"q": "the blue bird is in room", "choices": ["zebra", "2"], "gold": 1}\n'
    )
    config = {
        "task": "cats",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "cats.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{q}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{gold}}",
        "metric_list": [{"metric": "acc"}],
    }
    results = lm_eval.simple_evaluate(model=model, tasks=[config], bootstrap_iters=0)
    assert results["results"]["cats"]["acc,none"] in (0.0, 0.5, 1.0)
