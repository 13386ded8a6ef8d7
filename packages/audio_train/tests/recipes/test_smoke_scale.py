"""The miniature of every recipe keeps what makes it that recipe, and shrinks by the documented rules."""

import math
from dataclasses import replace

import pytest

from audio_data import InputError, Vocabulary
from audio_model import SIZES
from audio_train import InitSpec, NamedModel, at_scale, experiments, find_recipe, resolve
from audio_train.recipes.smoke_scale import heldout_of, smoke_model
from audio_train.recipes.targets import find_target, named_run

COMPACT = Vocabulary.compact("compact", 384, "embedded-v1", num_codebooks=8, codebook_size=2048, text_tokenizer="x")
PUBLISHED = [
    (study, name)
    for study in experiments().values()
    if study.vocabulary is not None and not study.fixed_size
    for name in study.runs
]


def find(name: str):
    return find_recipe(name)[1]


def test_what_a_recipe_is_stays():
    for study, name in PUBLISHED:
        whole = study.runs[name]
        small = at_scale(whole, "smoke", find)
        assert small.data.mixture == whole.data.mixture
        for field in ("packing", "positions", "max_segments", "mixture_block", "reshuffle_each_epoch"):
            assert getattr(small.data, field) == getattr(whole.data, field)
        assert small.loss == whole.loss
        assert replace(small.optimizer, learning_rate=1.0) == replace(whole.optimizer, learning_rate=1.0)
        assert small.schedule == whole.schedule
        assert replace(small.init, source=None, kind="scratch", state="fresh", rope_and_epsilon_of=None) == InitSpec(
            audio_embedding_init=whole.init.audio_embedding_init,
            vocabulary_init=whole.init.vocabulary_init,
            revision=whole.init.revision,
        )
        for field in ("kind", "state", "rope_and_epsilon_of"):
            assert getattr(small.init, field) == getattr(whole.init, field)
        small_model, model = (resolve(run, COMPACT).model for run in (small, whole))
        assert (small_model.rope, small_model.rms_epsilon) == (model.rope, model.rms_epsilon)
        corpora = {corpus for stage in whole.data.mixture for corpus in stage.weights}
        assert small.intervals.evaluation is not None
        assert set(small.intervals.evaluation.corpora) == {heldout_of(corpus) for corpus in corpora}


def test_every_miniature_is_small_and_its_schedule_has_the_published_shape():
    for study, name in PUBLISHED:
        whole = resolve(study.runs[name], study.vocabulary_of(name) or COMPACT)
        small = resolve(at_scale(study.runs[name], "smoke", find), COMPACT)
        assert small.model.num_parameters < 6e6
        assert small.num_steps * small.run.data.tokens_per_step <= 1.4e6
        assert small.model.tied == whole.model.tied
        is_anneal = whole.first_step > 0
        assert (small.first_step > 0) == is_anneal
        shapes = [
            [
                float(run.learning_rate(run.first_step + fraction * run.num_steps))
                for fraction in (0.0, 0.05, 0.3, 0.6, 0.9)
            ]
            for run in (whole, small)
        ]
        heights = [shape[0] if is_anneal else max(shape) for shape in shapes]
        published, miniature = (
            [rate / height for rate in shape] for shape, height in zip(shapes, heights, strict=True)
        )
        assert miniature == pytest.approx(published, abs=0.12)


def test_wider_and_deeper_models_stay_so():
    small = [smoke_model(NamedModel(size)) for size in ("135m", "300m", "0.6b", "1.7b", "4b")]
    work = [model.layers * model.embed * (model.embed + model.mlp) for model in small]
    assert work == sorted(work)
    assert len(set(work)) == len(work)
    for size, shape in SIZES.items():
        model = smoke_model(NamedModel(size))
        assert model.heads % model.kv_heads == 0
        assert model.embed == model.heads * model.head_dim
        assert model.mlp / model.embed == pytest.approx(shape.mlp / shape.embed, rel=0.05)


def test_an_anneal_begins_with_a_checkpoint_that_its_base_keeps():
    for name in ("exp1.3-mls-en", "exp2.1-135m-anneal-mix2-v2", "cooldown-exp1"):
        small = at_scale(find(name), "smoke", find)
        assert small.init.source is not None
        assert small.init.step is not None
        base = at_scale(find(small.init.source.partition("@")[0]), "smoke", find)
        assert base.intervals.keep_every_steps is not None
        assert base.steps is not None
        assert small.init.step % base.intervals.keep_every_steps == 0
        assert small.init.step / base.steps == pytest.approx(190_000 / 238_419, abs=0.05)
        # The line of the anneal passes the base's learning rate where it begins.
        resolved = resolve(small, COMPACT)
        line = resolved.learning_rate
        assert resolved.first_step == small.init.step
        assert float(line(resolved.first_step)) == pytest.approx(base.optimizer.learning_rate, rel=0.03)
        assert float(line(resolved.last_step)) == pytest.approx(0, abs=1e-9)


def test_published_is_the_recipe_itself_and_a_miniature_has_no_other_scale():
    run = find("exp2.1-4b")
    assert at_scale(run, "published", find) is run
    assert find_target("grammar-loss-full").at_scale("smoke") is find("grammar-loss-full")
    assert find_target("exp2.1-4b").at_scale("smoke") == at_scale(run, "smoke", find)


def test_an_anneal_from_a_step_that_is_not_kept_is_refused():
    run = find("exp1.3-mls-en")
    odd = replace(run, init=replace(run.init, source="exp1.1@190001"))
    with pytest.raises(InputError, match=r"must name a checkpoint that recipe `exp1\.1` keeps"):
        at_scale(odd, "smoke", find)


def test_where_the_miniature_of_an_anneal_begins_cannot_be_set_alone():
    with pytest.raises(InputError, match=r"of `exp1\.3-mls-en` follows from where the anneal begins"):
        named_run("exp1.3-mls-en", None, ("init.source=exp1.1@7",), "smoke")
    shorter = named_run("exp1.6-3e18-d512", None, ("steps=5",), "smoke").resolved
    assert shorter.num_steps == 5


def test_steps_shrink_by_a_root():
    for name, steps in {"exp2.1-4b": 238_419, "exp1.4-text-5": 19_074, "sft-cvss-method1-scratch": 28_615}.items():
        small = at_scale(find(name), "smoke", find)
        assert small.steps == round(math.sqrt(steps))
