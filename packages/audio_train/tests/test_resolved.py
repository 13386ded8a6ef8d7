import json
from dataclasses import replace

import numpy as np
import pytest

from audio_data import InputError, Vocabulary
from audio_model import TokenSets
from audio_train import LossSpec, ResolvedRun, TrainRun, resolve
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
    assert varied(cadence=replace(toy.run.cadence, keep_last=9)).fingerprint == toy.fingerprint
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
    with pytest.raises(InputError, match="'words', which is no token kind; the kinds are text, special, codebook_0"):
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
