"""Files and commands from before fields were renamed. `old_run` is a run of the toy recipe, trained before that."""

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from audio_data import InputError, from_json, to_json
from audio_train import (
    InitSpec,
    LearningRateRule,
    MeshConfig,
    ResolvedRun,
    ScheduleSpec,
    TrainRun,
    experiments,
    override,
    read_metrics,
    run,
)
from audio_train.recipes.targets import named_run
from audio_train.renames import RENAMES, current_assignment, with_current_names, with_old_names

OLD_RUN = Path(__file__).parent / "old_run"
OLD = json.loads((OLD_RUN / "resolved.json").read_text())


def test_an_old_resolved_run_opens_with_its_fingerprint(toy_run: TrainRun, manifests):
    resolved = ResolvedRun.from_json(OLD)
    assert resolved.run == replace(
        toy_run,
        name="before-the-names-changed",
        data=replace(toy_run.data, reshuffle_each_epoch=False),
        optimizer=replace(toy_run.optimizer, learning_rate=LearningRateRule("inverse_sqrt_width", 0.01, width=64)),
        schedule=ScheduleSpec(warmup=0.6, decay=0.5, on_overlap="skip_warmup"),
        init=InitSpec(audio_embedding_init="codebooks"),
        intervals=replace(toy_run.intervals, keep_last=3),
    )
    assert resolved.fingerprint == OLD["fingerprint"]
    assert resolved.datasets == {name: manifest.fingerprint for name, manifest in manifests.items()}
    again = json.loads(json.dumps(resolved.to_json()))
    assert ResolvedRun.from_json(again) == resolved
    assert {key: again[key] for key in again if key != "run"} == {key: OLD[key] for key in OLD if key != "run"}


def test_an_old_run_folder_resumes_from_its_checkpoint(data_root: Path, tmp_path: Path, one_device: MeshConfig):
    """The checkpoint has the array `bad_run`; the losses are those that the run had when nothing was renamed."""
    shutil.copytree(OLD_RUN, tmp_path, dirs_exist_ok=True)
    with zipfile.ZipFile(OLD_RUN / "checkpoints.zip") as archive:
        assert b"bad_run" in archive.read("checkpoints/5/state/_METADATA")
        archive.extractall(tmp_path)
    result = run(str(tmp_path / "resolved.json"), data_root, tmp_path, mesh_config=one_device)
    assert (result.finished, result.step) == (True, 12)
    losses, before = (
        [line["loss"] for line in read_metrics(folder / "metrics.jsonl")] for folder in (tmp_path, OLD_RUN)
    )
    assert losses[:5] == before[:5]
    np.testing.assert_allclose(losses[5:], before[5:], rtol=1e-4)
    assert json.loads((tmp_path / "launches.jsonl").read_text())["step"] == 5
    written = json.loads((tmp_path / "resolved.json").read_text())
    assert (written["fingerprint"], "start" in written["run"]) == (OLD["fingerprint"], False)


def test_every_recipe_has_old_names_and_comes_back_from_them():
    old_keys = {"start", "audio_rows", "initialization", "cadence", "overlap", "block", "permutation", "function"}
    for recipe in (recipe for experiment in experiments().values() for recipe in experiment.runs.values()):
        old = with_old_names(to_json(recipe))
        sections = (old, old["start"], old["schedule"], old["data"])
        assert old_keys <= {name for section in sections for name in section}
        assert "sqrt_width" not in json.dumps(old)
        assert from_json(TrainRun, with_current_names(old), "run") == recipe
        assert with_current_names(to_json(recipe)) == to_json(recipe)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("start.audio_rows=codebooks", "init.audio_embedding_init=codebooks"),
        ("start.initialization=haliax", "init.vocabulary_init=haliax"),
        ('start={"audio_rows": "codebooks"}', 'init={"audio_embedding_init": "codebooks"}'),
        ("cadence.keep_last=7", "intervals.keep_last=7"),
        ("cadence.evaluation=null", "intervals.evaluation=null"),
        ("schedule.overlap=skip_warmup", "schedule.on_overlap=skip_warmup"),
        (
            'start={"kind": "model", "source": "owner/name", "function": "weights"}',
            'init={"kind": "model", "source": "owner/name", "rope_and_epsilon_of": "weights"}',
        ),
        ("data.block=16", "data.mixture_block=16"),
        ("data.permutation=fixed", "data.reshuffle_each_epoch=false"),
        ("data.permutation=epoch", "data.reshuffle_each_epoch=true"),
        (
            'optimizer.learning_rate={"rule": "wider_larger", "base": 0.1}',
            'optimizer.learning_rate={"rule": "sqrt_width", "base": 0.1}',
        ),
    ],
)
def test_old_names_in_set(toy_run: TrainRun, old: str, new: str):
    assert override(toy_run, old) == override(toy_run, new)


def test_an_old_value_of_a_rule_in_set(toy_run: TrainRun):
    ruled = replace(toy_run, optimizer=replace(toy_run.optimizer, learning_rate=LearningRateRule("batch", 0.1)))
    changed = override(ruled, "optimizer.learning_rate.rule=wider_smaller")
    assert changed.optimizer.learning_rate == LearningRateRule("inverse_sqrt_width", 0.1)


def test_every_rename_is_read_from_set(toy_run: TrainRun):
    for rename in RENAMES:
        *above, old = rename.old.split(".")
        assert current_assignment([*above, old], None) == ([*above, rename.new], None)
    assert current_assignment(["seed"], {"x": [1]}) == (["seed"], {"x": [1]})


def test_both_names_of_a_field_are_refused(toy: ResolvedRun):
    saved = toy.to_json()
    saved["run"]["cadence"] = saved["run"]["intervals"]
    with pytest.raises(InputError, match="`cadence` or `intervals`, which are names of one field, got both"):
        ResolvedRun.from_json(saved)


def test_an_old_name_does_not_get_around_a_field_that_follows_from_others():
    with pytest.raises(InputError, match="follows from where the anneal begins"):
        named_run("exp2.1-135m-anneal-mix3-v3", assignments=("start.source=exp2.1-135m@1",))


@pytest.mark.parametrize("name", ["--init", "--start"])
def test_the_option_of_first_weights_has_both_names(name: str):
    from audio_train.cli.training import run as command

    assert command.make_context("run", ["exp1.1", "--data", "d", "--out", "o", name, "w"]).params["init"] == Path("w")
