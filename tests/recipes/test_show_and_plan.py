"""Every recipe is shown and priced by the commands a user would type."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from audio_train import Experiment, experiments, resolve
from audio_train.cli import main
from audio_train.recipes import provenance

RECIPES = [(study, name) for study in experiments().values() if study.vocabulary is not None for name in study.runs]


def answer(*words: str) -> dict[str, Any]:
    return json.loads(CliRunner().invoke(main, [*words, "--json"], catch_exceptions=False).stdout)


@pytest.mark.parametrize(("study", "name"), RECIPES, ids=[name for _, name in RECIPES])
def test_every_recipe_is_shown_and_priced(study: Experiment, name: str):
    vocabulary = study.vocabulary_of(name)
    assert vocabulary is not None
    resolved = resolve(study.runs[name], vocabulary)
    shown = answer("show", name)
    assert shown["fingerprint"] == resolved.fingerprint
    assert shown["experiment"]["reported"] == study.reported_of(name)
    assert all(provenance.origin_of(path, shown["origins"]) for path, _ in provenance.leaves(shown["run"], "run"))
    priced = answer("plan", name, "--slice", "h100-1" if study.fixed_size else "v5p-16", "--no-compile")
    assert priced["fingerprint"] == resolved.fingerprint
    assert priced["training_flops"]["full_attention"] == resolved.training_flops
    assert priced["estimated_seconds"] > 0
