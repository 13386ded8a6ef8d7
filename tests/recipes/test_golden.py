"""Every recipe resolves to its golden numbers, is named by the rule, and reads corpora that something makes.

`UPDATE_GOLDEN=1 uv run pytest tests/recipes` rewrites the golden files and docs/study.md after a recipe changed.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from audio_data import Vocabulary, from_json, to_json
from audio_train import Experiment, ResolvedRun, TrainRun, experiments, resolve
from audio_train.recipes.targets import find_target
from audio_train.soda import page
from audio_train.soda.mixtures import MIXTURES, mixture_name
from audio_train.soda.tokenization import produced_by

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "recipes"
PAGE = GOLDEN.parent.parent.parent / "docs" / "study.md"
COMPACT = Vocabulary.compact("compact", 384, "embedded-v1", num_codebooks=8, codebook_size=2048, text_tokenizer="x")
STUDY_BY_NAME = {study.name: study for study in experiments().values()}
PUBLISHED = [study for study in experiments().values() if study.vocabulary is not None and not study.fixed_size]
NAMES = [(study.name, name) for study in experiments().values() for name in study.runs]


def resolved_as_published(study: Experiment, name: str) -> ResolvedRun:
    return resolve(study.runs[name], study.vocabulary_of(name) or COMPACT)


def recorded(study: Experiment, name: str) -> dict[str, Any]:
    """What the golden file holds of a run: given and derived numbers, and those of its miniature."""
    whole = resolved_as_published(study, name).to_json()
    small = resolve(find_target(name).at_scale("smoke"), COMPACT).to_json()
    derived = {key: small["derived"][key] for key in ("num_parameters", "num_steps", "peak_learning_rate")}
    return {
        "vocabulary": whole["vocabulary"]["name"],
        "mixture": mixture_name(study.runs[name].data.mixture[0].weights),
        "reported": study.reported_of(name),
        "run": whole["run"],
        "derived": whole["derived"],
        "smoke": {**derived, "model": small["run"]["model"], "start": small["run"]["init"]["source"]},
    }


def golden_file(study: Experiment) -> Path:
    return GOLDEN / f"{study.name}.json"


@pytest.mark.parametrize("study", experiments().values(), ids=lambda study: study.name)
def test_recipes_equal_their_golden_files(study: Experiment):
    found = {name: json.loads(json.dumps(recorded(study, name))) for name in study.runs}
    path = golden_file(study)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    golden = json.loads(path.read_text(encoding="utf-8"))
    assert list(found) == list(golden)
    for name in found:
        assert found[name] == golden[name], f"recipe {name} changed; if that is meant: UPDATE_GOLDEN=1"


def test_there_is_no_other_golden_file():
    assert {path.name for path in GOLDEN.iterdir()} == {f"{study.name}.json" for study in experiments().values()}


def test_names_are_unique_and_follow_the_rule():
    names = [name for _, name in NAMES]
    assert len(set(names)) == len(names)
    for study, name in NAMES:
        run = STUDY_BY_NAME[study].runs[name]
        assert run.name == name == name.lower()
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")
        assert from_json(TrainRun, json.loads(json.dumps(to_json(run))), "run") == run


def test_what_a_study_says_of_its_runs_is_of_its_runs():
    for study in experiments().values():
        for names in (study.reported, study.aliases, study.vocabularies, study.inactive):
            assert set(names) <= set(study.runs), study.name
        for path in (key.partition("=")[0] for key in (*study.choices, *study.derived)):
            for run in study.runs.values():
                tree: Any = to_json(run)
                for part in path.split("."):
                    assert part in tree, (study.name, path)
                    tree = tree[part]


def test_every_mixture_is_of_the_study_and_something_makes_each_of_its_corpora():
    for study in PUBLISHED:
        for run in study.runs.values():
            for stage in run.data.mixture:
                assert mixture_name(stage.weights) in {*MIXTURES, *stage.weights}
                for corpus in stage.weights:
                    assert corpus in produced_by(corpus).produces
            assert run.intervals.evaluation is not None
            for corpus in run.intervals.evaluation.corpora:
                assert corpus in produced_by(corpus).produces


def test_every_mixture_of_the_study_but_the_unused_is_in_a_recipe():
    used = {mixture_name(s.weights) for study in PUBLISHED for run in study.runs.values() for s in run.data.mixture}
    assert set(MIXTURES) - used == {"emilia_all", "soda_extension"}


def test_the_page_in_the_docs_is_the_one_that_recipes_give():
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(page.page(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page.page()
