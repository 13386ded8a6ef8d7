"""A recipe by its name, in a file, in a module, or as the resolved run of another."""

import json
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest
from click.testing import CliRunner

import audio_train
from audio_data import InputError, parse_weights, to_json
from audio_train import Experiment, MeshConfig, experiments, find_experiment, find_recipe
from audio_train.cli import main
from audio_train.recipes import ENTRY_POINT_GROUP, find_runs
from audio_train.recipes.quickstart import RUN as QUICKSTART
from audio_train.recipes.targets import find_target, named_run, resolved_for, with_datasets

RECIPE = """
from dataclasses import replace
from audio_train import find_recipe
from sizes import STEPS

ONE = replace(find_recipe("quickstart")[1], name="one", steps=STEPS)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a recipe file and a module beside it that the file imports."""
    (tmp_path / "sizes.py").write_text("STEPS = 7\n")
    (tmp_path / "mine.py").write_text(RECIPE)
    return tmp_path


def show(*words: object):
    return CliRunner().invoke(main, ["show", *map(str, words)], catch_exceptions=False)


@pytest.mark.parametrize("end", ["mine.py:ONE", "mine.py"])
def test_a_file_names_a_recipe(folder: Path, end: str):
    target = find_target(f"{folder / end}")
    assert (target.recipe.name, target.recipe.steps) == ("one", 7)
    assert target.experiment.source_of(target.name) == f"{folder / end}"


def test_a_module_names_a_recipe():
    assert find_target("audio_train.recipes.quickstart:RUN").recipe == find_recipe("quickstart")[1]


def test_a_resolved_run_names_its_recipe(tmp_path: Path):
    resolved = named_run("exp1.4-text-5").resolved
    (tmp_path / "resolved.json").write_text(json.dumps(resolved.to_json()))
    again = named_run(str(tmp_path / "resolved.json")).resolved
    assert again == resolved
    shorter = named_run(str(tmp_path / "resolved.json"), assignments=("tokens=1e9",)).resolved
    assert shorter.num_steps < resolved.num_steps


@pytest.mark.parametrize(
    ("content", "end", "message"),
    [
        (RECIPE, "mine.py:TWO", "has no TrainRun `TWO`; expected one of ONE"),
        (RECIPE + "TWO = ONE", "mine.py", "defines several. Name one as .*mine.py:NAME, NAME being one of ONE, TWO"),
        (
            "x = 1",
            "mine.py:x",
            "must define an object of `audio_train.TrainRun`, got none; `audio-train new` writes an example",
        ),
        ("def f(:", "mine.py:x", "mine.py` line 1: .*; correct it"),
        (RECIPE, "other.py:ONE", "other.py` does not exist; give a registered name, FILE.py:NAME"),
        (RECIPE, "other.json", "other.json` is missing"),
    ],
)
def test_a_wrong_file_is_one_line(folder: Path, content: str, end: str, message: str):
    (folder / "mine.py").write_text(content)
    with pytest.raises(InputError, match=message):
        find_target(f"{folder / end}")


@pytest.mark.parametrize("name", ["no_such_module:ONE", "audio_train.no_such:ONE"])
def test_a_module_that_is_not_there_is_named(name: str):
    with pytest.raises(InputError, match=f"module `{name.partition(':')[0]}` cannot be imported"):
        find_target(name)


def test_a_module_that_misses_another_shows_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "needs_more.py").write_text("import no_such_module_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
        find_target("needs_more:ONE")


def test_a_recipe_from_a_file_trains_and_resumes_without_the_file(
    toy: audio_train.ResolvedRun, data_root: Path, tmp_path: Path, one_device: MeshConfig
):
    content = json.dumps(json.dumps(to_json(toy.run)))
    lines = ("import json", "from audio_data import from_json", "from audio_train import TrainRun")
    (tmp_path / "mine.py").write_text("\n".join([*lines, f"RUN = from_json(TrainRun, json.loads({content}), 'run')"]))
    ended = audio_train.run(
        f"{tmp_path / 'mine.py'}:RUN", str(data_root), str(tmp_path / "run"), mesh_config=one_device
    )
    assert ended.finished
    (tmp_path / "mine.py").unlink()
    again = CliRunner().invoke(main, ["resume", str(tmp_path / "run")], catch_exceptions=False)
    assert "finished step 12" in again.stdout


def test_all_datasets_are_weighted_by_their_tokens(toy: audio_train.ResolvedRun, data_root: Path):
    every = replace(toy.run.data, mixture=(audio_train.MixtureStage(0.0, {audio_train.ALL_DATASETS: 1.0}),))
    resolved = resolved_for(replace(toy.run, data=every), data_root)
    weights = resolved.run.data.mixture[0].weights
    tokens = {name: json.loads((data_root / name / "manifest.json").read_text())["num_tokens"] for name in weights}
    assert set(weights) == {str(p.parent.relative_to(data_root)) for p in data_root.rglob("manifest.json")}
    assert weights == pytest.approx({name: count / sum(tokens.values()) for name, count in tokens.items()})


def test_all_datasets_leave_out_what_is_held_out_and_what_is_empty(toy: audio_train.ResolvedRun, manifests):
    every = replace(toy.run.data, mixture=(audio_train.MixtureStage(0.0, {audio_train.ALL_DATASETS: 1.0}),))
    run, short, long = replace(toy.run, data=every), manifests["short"], manifests["long"]
    empty = replace(short, shards=(), num_documents=0, num_tokens=0)
    expanded = with_datasets(run, {"a": short, "heldout-b": long, "empty": empty})
    assert expanded.data.mixture[0].weights == {"a": 1.0}
    for others in ({"heldout": short}, {"a": empty, "heldout/b": long}):
        with pytest.raises(InputError, match=r"must have a dataset to train on, got .*heldout"):
            with_datasets(run, others)


def test_all_datasets_stand_alone():
    with pytest.raises(InputError, match=r"must name datasets or be '\*' alone, got '\*', 'asr'"):
        audio_train.MixtureStage(0.0, {audio_train.ALL_DATASETS: 1.0, "asr": 2.0})


def test_the_name_of_an_experiment_is_answered_with_its_runs():
    message = show("exp2.1").stderr
    assert (
        "`exp2.1` is an experiment; name one of its runs: exp2.1-135m, exp2.1-0.6b, exp2.1-1.7b, exp2.1-4b" in message
    )
    assert show("exp1.6").stderr.rstrip().endswith("and 42 more")


def test_a_mixture_on_the_command_line_replaces_that_of_the_recipe(data_root: Path):
    shown = json.loads(show("quickstart", "--data", data_root, "--mixture", "short=3", "--json").stdout)
    assert shown["run"]["data"]["mixture"] == [{"start_fraction": 0.0, "weights": {"short": 3.0}}]
    assert set(shown["datasets"]) == {"short"}


def test_a_recipe_of_other_datasets_says_how_to_choose(data_root: Path):
    message = show("quickstart", "--data", data_root).stderr
    assert "recipe `quickstart` reads dataset `asr`, which the data folder does not have" in message
    assert "it has long, short. Choose among them with --mixture long=1,short=1" in message


@pytest.mark.parametrize("text", ["a", "a=", "a=0", "a=-1", "a=inf", "a=nan", "=1", "a=1,a=2", "a=1,,b=1", ""])
def test_a_wrong_mixture_is_refused(text: str):
    with pytest.raises(InputError, match=r"must be NAME=WEIGHT,\.\.\. with each dataset once and weights above 0"):
        parse_weights(text)


def test_a_mixture_may_have_any_sum_and_an_equals_sign_in_a_name():
    assert parse_weights("yodas2/en=0.5, a=b=2") == {"yodas2/en": 0.5, "a=b": 2.0}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    """Another entry point beside those of this package."""
    module = type(sys)("other_package")
    monkeypatch.setitem(sys.modules, "other_package", module)
    ours = entry_points(group=ENTRY_POINT_GROUP)
    point = EntryPoint("other", "other_package:RECIPES", ENTRY_POINT_GROUP)
    monkeypatch.setattr("audio_data.extensions.entry_points", lambda group: [*ours, point])
    experiments.cache_clear()
    yield module
    experiments.cache_clear()


def test_an_installed_package_adds_recipes(installed):
    own = replace(QUICKSTART, name="own")
    installed.RECIPES = [Experiment("other", "?", "a package", {"own": own})]
    assert find_recipe("own") == (installed.RECIPES[0], own)
    assert find_experiment("other") is installed.RECIPES[0]
    assert "exp2.1-4b" in find_experiment("exp2.1").runs


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: 3, "must be an iterable of `audio_train.Experiment`, got int"),
        (lambda: [QUICKSTART], "must be an iterable of `audio_train.Experiment`, got TrainRun"),
        (
            lambda: [Experiment("other", "?", "x", {"exp2.1-4b": QUICKSTART})],
            "`exp2.1-4b` must have one owner",
        ),
    ],
)
def test_a_wrong_entry_point_is_named(installed, content, message: str):
    installed.RECIPES = content()
    with pytest.raises(InputError, match=message):
        experiments()


def test_an_entry_point_that_cannot_be_loaded_is_named(installed):
    del installed
    with pytest.raises(InputError, match=r"entry point `other` .*other_package:RECIPES\) cannot be loaded"):
        experiments()


def test_the_starter_is_short_and_runs_on_any_folder(data_root: Path, tmp_path: Path):
    path = tmp_path / "my_recipe.py"
    said = CliRunner().invoke(main, ["new", str(path)], catch_exceptions=False)
    assert f"audio-train run {path}:RUN --data DATA --out RUN" in said.stdout
    assert len(path.read_text().splitlines()) <= 30
    assert max(map(len, path.read_text().splitlines())) <= 120
    shown = json.loads(show(f"{path}:RUN", "--data", data_root, "--json").stdout)
    assert shown["run"]["name"] == "my-recipe"
    assert shown["derived"]["num_steps"] == 1000
    assert set(shown["datasets"]) == {str(p.parent.relative_to(data_root)) for p in data_root.rglob("manifest.json")}


@pytest.mark.parametrize(("name", "message"), [("recipe.txt", "must end in .py"), ("there.py", "exists; give another")])
def test_the_starter_replaces_nothing(tmp_path: Path, name: str, message: str):
    (tmp_path / "there.py").write_text("mine")
    result = CliRunner().invoke(main, ["new", str(tmp_path / name)], catch_exceptions=False)
    assert result.exit_code == 2
    assert message in result.stderr
    assert (tmp_path / "there.py").read_text() == "mine"


def test_resolving_needs_a_vocabulary(folder: Path):
    assert "`--data` must be given for recipe" in show(folder / "mine.py").stderr


def test_runs_by_the_name_of_a_recipe_or_an_experiment():
    assert find_runs("exp1.7") == tuple(find_experiment("exp1.7").runs.values())
    assert find_runs("exp1.7-semantic") == (find_recipe("exp1.7-semantic")[1],)
    with pytest.raises(InputError, match=r"there is no recipe or experiment `exp1.77`; did you mean .*exp1.7"):
        find_runs("exp1.77")
