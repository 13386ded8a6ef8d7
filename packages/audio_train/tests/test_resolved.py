import json
from dataclasses import replace

import numpy as np
import pytest

from audio_data import InputError, Vocabulary, from_json, to_json
from audio_model import TokenSets
from audio_train import LossSpec, ResolvedRun, TrainRun, override, resolve
from audio_train.resolved import loss_weights, token_kinds


def test_json_round_trip_keeps_every_number(toy: ResolvedRun):
    saved = json.loads(json.dumps(toy.to_json()))
    assert ResolvedRun.from_json(saved) == toy
    assert saved["fingerprint"] == toy.fingerprint


def test_a_changed_number_is_not_read_back(toy: ResolvedRun):
    saved = toy.to_json()
    saved["run"]["optimizer"]["beta1"] = 0.5
    with pytest.raises(InputError, match="use the version that wrote it"):
        ResolvedRun.from_json(saved)


def test_the_fingerprint_is_of_what_changes_the_losses(toy: ResolvedRun, varied):
    assert varied(intervals=replace(toy.run.intervals, keep_last=9)).fingerprint == toy.fingerprint
    assert varied(seed=1).fingerprint != toy.fingerprint
    assert replace(toy, datasets={**toy.datasets, "long": "0" * 64}).fingerprint != toy.fingerprint


def test_tokens_give_whole_steps(varied):
    assert varied(steps=None, tokens=1000.0).num_steps == 4  # 256 tokens a step, rounded up


def test_stages_begin_at_their_fraction(toy: ResolvedRun):
    assert [stage.start_step for stage in toy.mixture.stages] == [0, 6]
    assert toy.mixture.weights(1) == {"short": 0.25, "long": 0.75}


def test_in_a_short_run_the_later_of_two_stages_at_one_step_holds(toy: ResolvedRun):
    stages = toy.with_steps(1).mixture.stages
    assert [(stage.start_step, stage.weights) for stage in stages] == [(0, {"short": 1.0, "long": 3.0})]


def test_rows_longer_than_the_context_are_refused(varied, toy: ResolvedRun):
    context = toy.run.model.max_seq_len
    assert varied(data=replace(toy.run.data, seq_len=context)).run.data.seq_len == context
    with pytest.raises(InputError, match=r"`model.max_seq_len` = 64, got 65: .*set model.max_seq_len=65"):
        varied(data=replace(toy.run.data, seq_len=context + 1))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 0.0, -1.0])
@pytest.mark.parametrize(
    "path",
    [
        *("model.rope_theta", "model.rms_epsilon", "optimizer.epsilon", "optimizer.max_grad_norm"),
        *("optimizer.muon_learning_rate_scale", "optimizer.learning_rate", "intervals.checkpoint_seconds"),
    ],
)
def test_numbers_that_are_none_are_refused_in_a_recipe_and_in_a_saved_run(toy: ResolvedRun, path: str, value: float):
    section, name = path.split(".")
    with pytest.raises(InputError, match=f"`(model.)?{name}` must be .*above [01], got"):
        replace(getattr(toy.run, section), **{name: value})
    with pytest.raises(InputError, match=f"`[a-z._]*{name}` (must be .*above [01]|takes a number), got"):
        override(toy.run, f"{path}={json.dumps(value)}")
    saved = toy.to_json()
    saved["run"][section][name] = value
    with pytest.raises(InputError):
        ResolvedRun.from_json(saved)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
@pytest.mark.parametrize(
    "path",
    [
        *("optimizer.weight_decay", "schedule.warmup", "schedule.decay", "loss.z_loss_weight"),
        *("loss.kind_weights.text", "schedule.min_ratio", "optimizer.beta1", "data.mixture.1.start_fraction"),
        *("tokens", "data.mixture.0.weights.short", "optimizer.learning_rate.base"),
    ],
)
def test_numbers_out_of_range_are_refused(toy: ResolvedRun, path: str, value: float):
    rule = ('optimizer.learning_rate={"rule": "batch", "base": 0.1}',) if path.endswith("base") else ()
    length = ("steps=null", "tokens=1000") if path == "tokens" else ()
    run = override(toy.run, *rule, *length)
    # Decoded JSON has no such numbers; a recipe in Python may.
    tree, (*above, name) = to_json(run), path.split(".")
    node = tree
    for key in above:
        node = node[int(key) if key.isdigit() else key]
    node[name] = value
    with pytest.raises(InputError, match=f"got .*{value!r}"):
        resolve(from_json(TrainRun, tree, "run"), toy.vocabulary)


@pytest.mark.parametrize("value", [None, 3, "x", [1], {"x": 1}])
@pytest.mark.parametrize("name", ["datasets", "fingerprint", "run", "vocabulary"])
def test_a_damaged_part_of_a_resolved_run_is_one_line(toy: ResolvedRun, name: str, value: object):
    with pytest.raises(InputError):
        ResolvedRun.from_json({**toy.to_json(), name: value})


def test_what_a_resolved_run_lacks_is_named(toy: ResolvedRun):
    with pytest.raises(InputError, match="`resolved run` lacks `fingerprint`, `run`, `vocabulary`, `datasets`"):
        ResolvedRun.from_json({})
    for name in ("datasets", "fingerprint", "run", "vocabulary"):
        with pytest.raises(InputError, match=f"`resolved run` lacks `{name}`"):
            ResolvedRun.from_json({key: value for key, value in toy.to_json().items() if key != name})


def test_a_missing_corpus_is_named(toy_run: TrainRun, vocabulary: Vocabulary, manifests):
    with pytest.raises(InputError, match="`long` is not among the data"):
        resolve(toy_run, vocabulary, {"short": manifests["short"]})


def test_loss_weights_by_kind(vocabulary: Vocabulary):
    weights = loss_weights({"text": 8.0, "audio": 0.5, "codebook_0": 2.0}, vocabulary)
    assert dict(zip(vocabulary.kinds, weights.tolist(), strict=True)) == {
        "text": 8.0,
        "special": 1.0,
        "codebook_0": 2.0,
        "codebook_1": 0.5,
    }


def test_an_unknown_kind_is_refused_when_the_run_is_resolved(varied):
    with pytest.raises(InputError, match=r"must name token kinds, of text, special, codebook_0, .*got 'words'"):
        varied(loss=LossSpec(kind_weights={"words": 1.0}))


def test_kinds_agree_with_the_vocabulary(vocabulary: Vocabulary):
    ids = np.arange(vocabulary.size)
    np.testing.assert_array_equal(token_kinds(vocabulary), vocabulary.kind_of(ids))


def test_sets_are_disjoint_cover_all_ids_and_let_audio_end_after_a_frame(vocabulary: Vocabulary):
    set_of = TokenSets.build(vocabulary.allowed_sets).set_of_token(vocabulary.size)
    assert set_of.min() == 0
    assert set_of[vocabulary.audio_end] == set_of[vocabulary.audio_range(0)[0]]
    for codebook in range(vocabulary.num_codebooks):
        assert len(set(set_of[slice(*vocabulary.audio_range(codebook))])) == 1
    rest = [*range(vocabulary.num_text), *(i for i in vocabulary.special_ids if i != vocabulary.audio_end)]
    assert set(set_of[rest]) == {0}
    assert len(set(set_of)) == 1 + vocabulary.num_codebooks


def test_without_audio_all_ids_compete():
    text = Vocabulary.compact("text", 20, "none", num_codebooks=0, codebook_size=0, text_tokenizer="x")
    assert TokenSets.build(text.allowed_sets).ranges == (((0, text.size),),)
