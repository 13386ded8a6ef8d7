"""Recipes for one's own data: their sizes, and that one trains on any folder, from scratch and from weights."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from audio_data import DatasetWriter, Document, Vocabulary, open_root
from audio_train import MeshConfig, find_recipe, require_run, resolve, run
from audio_train.cli import main
from audio_train.recipes.targets import named_run, resolved_for
from audio_train.training.trainer import cut_document_lines

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


def write_long(root: Path, frames: int) -> int:
    """Write a dataset whose second document has so many frames of two codes; return its tokens."""
    vocabulary = Vocabulary.compact("toy", 12, "toy-codec", 2, 16, "toy")
    with DatasetWriter(root / "talks", corpus="talks", vocabulary=vocabulary, provenance={}) as writer:
        for number, length in enumerate((3, frames)):
            audio = vocabulary.audio_ids(np.zeros((length, 2), np.int64))
            ids = np.array([vocabulary.audio_start, *audio.tolist(), vocabulary.audio_end], np.int32)
            writer.write(Document(ids, None, {"id": str(number)}))
    return 2 * frames + 2


@pytest.mark.parametrize(("frames", "rows"), [(3, (1024, 4)), (600, (1280, 3)), (1000, (2048, 2)), (9000, (4096, 1))])
def test_rows_hold_the_longest_document_within_the_context(tmp_path: Path, frames: int, rows: tuple[int, int]):
    num_tokens = write_long(tmp_path, frames)
    data = named_run("own-5m", tmp_path).resolved.run.data
    assert (data.seq_len, data.batch_size) == rows
    assert data.seq_len >= min(num_tokens, 4096)
    assert resolved_for("own-5m", tmp_path).run.data == data
    stated = named_run("own-5m", tmp_path, ("data.seq_len=512",)).resolved
    assert (stated.run.data.seq_len, stated.run.data.batch_size) == (512, 4)
    lines = cut_document_lines(stated, open_root(tmp_path))
    if num_tokens <= 512:
        assert lines == [f"no document is longer than a row of 512 tokens; the longest has {num_tokens:,}"]
    else:
        # What the last line advises makes every document whole.
        advised = [word for word in lines[-1].split() if "=" in word]
        whole = named_run("own-5m", tmp_path, tuple(advised)).resolved
        assert "no document is longer" in cut_document_lines(whole, open_root(tmp_path))[0]


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
