"""Which commands make the data and the beginnings of a miniature."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from audio_data import InputError
from audio_train import experiments, find_recipe
from audio_train.recipes.smoke_scale import at_scale, init_folder
from audio_train.soda.smoke_data import corpora_of, data_commands, weights_commands

ALL = [study.name for study in experiments().values() if study.vocabulary is not None]


def find(name: str):
    return find_recipe(name)[1]


def done(root: Path, *files: str) -> None:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_every_corpus_of_every_recipe_is_made_with_its_heldout_sibling(tmp_path: Path):
    corpora = corpora_of(ALL)
    commands = list(data_commands(tmp_path, corpora))
    out = {word for command in commands for word in command.words}
    assert len(corpora) > 20
    for corpus in corpora:
        assert {str(tmp_path / corpus), str(tmp_path / "heldout" / corpus)} <= out
    builds = [command for command in commands if command.words[1] == "build"]
    assert len(builds) == 2 * len(corpora)
    assert len(commands) == len(builds) + 4  # three samples and a vocabulary


def test_mixtures_hold_different_voices_and_languages(tmp_path: Path):
    selections = {}
    for command in data_commands(tmp_path, corpora_of(["exp2.1-4b", "exp1.1"])):
        if command.words[1] == "build" and "heldout" not in command.words:
            words = command.words
            chosen = [(a, b) for a, b in pairwise(words) if a in ("--speaker", "--language")]
            selections[command.words[command.words.index("--out") + 1]] = (command.words[2], *chosen)
    speech = [value for out, value in selections.items() if "nemotron" not in out]
    assert len(set(speech)) == len(speech)


def test_what_is_there_is_not_made_again(tmp_path: Path):
    samples = ("sample", "sample-multilingual", "sample-parallel")
    done(tmp_path, *(f"codes/{sample}/codes.json" for sample in samples), "vocabulary/vocabulary.json")
    done(tmp_path, "yodas2/en/manifest.json")
    (command,) = data_commands(tmp_path, ["yodas2/en"])
    assert str(tmp_path / "heldout/yodas2/en") in command.words
    done(tmp_path, "heldout/yodas2/en/manifest.json")
    assert not list(data_commands(tmp_path, ["yodas2/en"]))


def test_beginnings_are_made_in_the_order_in_which_they_need_each_other(tmp_path: Path):
    commands = list(weights_commands(tmp_path, find("sft-cvss-method1-soda-600m-warm")))
    assert [command.words[2] for command in commands] == ["exp1.4-text-100", "exp2.2-0.6b"]
    model = json.loads(commands[0].words[-1].partition("=")[2])
    small = at_scale(find("exp2.2-0.6b"), "smoke", find)
    assert {name: model[name] for name in ("embed", "mlp", "layers", "tied")} == {
        name: getattr(small.model, name) for name in ("embed", "mlp", "layers", "tied")
    }
    done(tmp_path, "initial_weights/qwen3x-0.6b/export/config.json", "starts/exp2.2-0.6b/export/config.json")
    assert not list(weights_commands(tmp_path, find("sft-cvss-method1-soda-600m-warm")))
    assert not list(weights_commands(tmp_path, find("exp2.1-4b")))


@pytest.mark.parametrize("folder", ["initial_weights", "starts"])
def test_weights_that_are_not_there_are_named_with_the_command_that_makes_them(tmp_path: Path, folder: str):
    anneal = at_scale(find("exp1.3-mls-en"), "smoke", find)
    with pytest.raises(InputError, match=r"audio-train soda make-smoke-data --out .* --for exp1\.3-mls-en"):
        init_folder(anneal, find_recipe("exp1.3-mls-en")[0], tmp_path)
    assert anneal.init.step is not None
    kept = tmp_path / folder / "exp1.1" / "checkpoints" / str(anneal.init.step)
    kept.mkdir(parents=True)
    assert init_folder(anneal, find_recipe("exp1.3-mls-en")[0], tmp_path) == kept
    assert init_folder(at_scale(find("exp1.1"), "smoke", find), find_recipe("exp1.1")[0], tmp_path) is None


@pytest.mark.parametrize(
    "name", ["sft-cvss-method1-soda-600m", "sft-cvss-method1-qwen3x-0.6b", "exp2.1-135m-anneal-mix3-v3"]
)
def test_weights_are_looked_for_where_they_are_made(tmp_path: Path, name: str):
    experiment, run = find_recipe(name)
    for command in weights_commands(tmp_path, run):
        made = Path(command.words[command.words.index("--out") + 1])
        (made / "export").mkdir(parents=True)
        (made / "checkpoints" / str(at_scale(run, "smoke", find).init.step)).mkdir(parents=True)
    folder = init_folder(at_scale(run, "smoke", find), experiment, tmp_path)
    assert folder is not None
    assert folder.is_relative_to(made)


def test_a_corpus_in_a_language_that_no_sample_has_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"must be in one of ar, de, en.*got 'ko'"):
        list(data_commands(tmp_path, ["emilia/ko"]))
    with pytest.raises(InputError, match="no tokenization makes corpus `yodas/en`; did you mean"):
        list(data_commands(tmp_path, ["yodas/en"]))
