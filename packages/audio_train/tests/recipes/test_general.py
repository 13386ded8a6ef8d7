"""Recipes for one's own data: their sizes, and that one trains on any folder, from scratch and from weights."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from audio_data import Vocabulary, open_root
from audio_train import MeshConfig, find_recipe, require_run, resolve, run
from audio_train.cli import main
from audio_train.recipes.targets import named_run, resolved_for

ALONE = MeshConfig(data=1)
SETTINGS = ("data.seq_len=64", "data.batch_size=2", "steps=2", "model.layers=1", "model.mlp=64")


@pytest.mark.parametrize(("name", "millions"), [("own-5m", 5), ("own-30m", 30), ("own-135m", 135)])
def test_a_recipe_has_the_size_that_its_name_says(name: str, millions: int):
    # 256 bytes, 128 pieces, the specials, and eight codebooks of 2,048.
    vocabulary = Vocabulary.compact("own", 420, "embedded-v1", 8, 2048, "sentencepiece:own")
    model = resolve(find_recipe(name)[1], vocabulary).model
    assert model.num_parameters == pytest.approx(1e6 * millions, rel=0.04)


@pytest.mark.parametrize("name", ["own-5m", "own-30m", "own-135m", "adapt"])
def test_a_recipe_takes_all_datasets_of_the_folder_or_those_named(name: str, data_root: Path):
    tokens = {corpus: dataset.manifest.num_tokens for corpus, dataset in open_root(data_root).items()}
    (stage,) = resolved_for(name, data_root).run.data.mixture
    assert stage.weights == pytest.approx({corpus: n / sum(tokens.values()) for corpus, n in tokens.items()})
    chosen = named_run(name, data_root, mixture={"short": 1.0}).resolved
    assert chosen.run.data.mixture[0].weights == {"short": 1.0}


def test_a_recipe_trains_and_starts_again_from_what_it_trained(data_root: Path, tmp_path: Path):
    small = named_run("own-5m", data_root, SETTINGS).resolved
    assert run(small, data_root, tmp_path / "first", mesh_config=ALONE).finished
    words = ["run", "adapt", "--data", str(data_root), "--out", str(tmp_path / "second")]
    words += ["--start", str(tmp_path / "first"), "--mixture", "short=3,long=1"]
    for setting in SETTINGS[:3]:
        words += ["--set", setting]
    stopped = CliRunner().invoke(main, [*words, "--until", "1"], catch_exceptions=False)
    assert stopped.exit_code == 0, stopped.output
    assert "--until: saved step 1 of 2" in stopped.output
    finished = CliRunner().invoke(main, words, catch_exceptions=False)
    assert finished.exit_code == 0, finished.output
    saved = require_run(tmp_path / "second")
    assert saved.run.init.source == "own-5m@2"
    assert (saved.model.layers, saved.model.mlp) == (1, 64)
    assert saved.run.data.mixture[0].weights == {"short": 3.0, "long": 1.0}
