"""The chain of `audio-train adapt`: its command lines, the choice of a step, and what it refuses."""

import itertools
import json
import shlex
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from audio_data import InputError
from audio_train import MeshConfig, run
from audio_train.adapt import (
    TASKS,
    Adaptation,
    BaseModel,
    Rounds,
    build_commands,
    encode_commands,
    evaluate_command,
    read_base,
    text_cost,
    train_command,
)
from audio_train.cli import main
from audio_train.config import LossSpec
from audio_train.resolved import resolve

WANTED = Adaptation(Path("model"), Path("speech"), Path("out"))
BASE = BaseModel(Path("model/export"), "embedded", ("loss.kind=grammar",), 512)


def options(words: tuple[str, ...]) -> dict[str, list[str]]:
    """Values of each option of a command line."""
    found: dict[str, list[str]] = {}
    for name, value in itertools.pairwise(words):
        if name.startswith("--"):
            found.setdefault(name, []).append(value)
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    toy, data_root = request.getfixturevalue("toy"), request.getfixturevalue("data_root")
    loss = LossSpec(kind="grammar", kind_weights={"text": 3.0})
    resolved = resolve(replace(toy.run, loss=loss, steps=1), toy.vocabulary)
    folder = tmp_path_factory.mktemp("runs") / "base"
    assert run(resolved, data_root, folder, mesh_config=MeshConfig(data=1)).finished
    return folder


def test_a_run_and_its_export_tell_codec_loss_and_context(trained: Path):
    for path in (trained, trained / "export"):
        base = read_base(path)
        assert base.folder == trained / "export"
        assert base.loss == ("loss.kind=grammar", 'loss.kind_weights={"text": 3.0}')
        assert base.max_seq_len == json.loads((trained / "export/config.json").read_text())["max_position_embeddings"]


def test_a_folder_without_weights_or_vocabulary_says_what_to_fetch(trained: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"has no config.json; download a model with `hf download OWNER/NAME"):
        read_base(tmp_path)
    (tmp_path / "config.json").write_bytes((trained / "export/config.json").read_bytes())
    with pytest.raises(InputError, match=r"has no vocabulary/.*audio-tokenize vocabulary --kind marin-mimi"):
        read_base(tmp_path)


def test_the_parts_held_out_share_no_utterance_with_training():
    commands = {c.words[c.words.index("--out") + 1]: c.words for c in build_commands(WANTED, BASE, ["ann"])}
    assert set(commands) == {f"out/data/{name}" for name in ("own-asr", "own-tts", "heldout-dev", "heldout")}
    for name in ("own-asr", "own-tts"):
        assert options(commands[f"out/data/{name}"])["--holdout"] == ["0.2"]
        assert "--heldout" not in commands[f"out/data/{name}"]
    dev, test = (options(commands[f"out/data/{name}"]) for name in ("heldout-dev", "heldout"))
    assert (dev["--holdout"], dev["--holdout-after"]) == (["0.2"], ["0.1"])
    assert test["--holdout"] == ["0.1"]
    # Spoken by the model at one frame offset; heard at all of them.
    assert options(commands["out/data/own-tts"])["--frame-offset"] == ["0"]
    assert "--frame-offset" not in commands["out/data/own-asr"]


def test_of_four_speakers_one_is_held_out_and_of_three_none():
    four = [c.words for c in build_commands(WANTED, BASE, ["a", "b", "c", "d"])]
    assert options(four[-1])["--speaker"] == ["d"]
    assert "out/data/heldout-speaker" in four[-1]
    assert all(options(words)["--speaker"] == ["a", "b", "c"] for words in four[:-1])
    assert not any("--speaker" in c.words for c in build_commands(WANTED, BASE, ["a", "b", "c"]))


@pytest.mark.parametrize(("longest", "rows", "batch"), [(300, "320", "7"), (64, "64", "32"), (900, "512", "4")])
def test_the_row_holds_the_longest_document_up_to_the_context(longest: int, rows: str, batch: str):
    words = train_command(WANTED, BASE, {"own-asr": 0.5, "own-tts": 0.5}, longest, until=200).words
    assert {f"data.seq_len={rows}", f"data.batch_size={batch}"} <= set(options(words)["--set"])
    assert options(words)["--until"] == ["200"]
    assert "--until" not in train_command(WANTED, BASE, {"own-asr": 1.0}, longest, until=WANTED.steps).words


def test_the_smallest_dataset_has_a_row_of_each_block():
    words = train_command(WANTED, BASE, {"own": 0.9, "base": 0.001}, 64, 1).words
    assert f"data.mixture_block={-(-901 // 1)}" in options(words)["--set"]


@pytest.mark.parametrize(
    ("scores", "best", "is_over"),
    [
        ({1: 0.5}, 1, False),
        ({1: 0.5, 2: 0.4}, 2, False),
        ({1: 0.5, 2: 0.6}, 1, False),
        ({1: 0.5, 2: 0.6, 3: 0.5}, 1, True),
        ({1: 0.5, 2: 0.6, 3: 0.4, 4: 0.4}, 3, False),
        ({1: None, 2: None, 3: None}, 3, False),
        ({1: None, 2: 0.9, 3: None}, 2, False),
    ],
)
def test_training_stops_after_two_rounds_without_fewer_errors(scores, best: int, is_over: bool):
    rounds = Rounds(scores=scores)
    assert (rounds.best, rounds.is_over) == (best, is_over)


@pytest.mark.parametrize(
    ("text", "words", "characters", "expected"),
    [
        (150, 100, 500, "text: 1.50 tokens a word, 0.30 a character"),
        (900, 100, 300, "text: 9.00 tokens a word, 3.00 a character; the model's tokenizer spells this language"),
        (0, 0, 0, None),
    ],
)
def test_the_cost_of_the_text_is_said(text: int, words: int, characters: int, expected: str | None):
    counts = {"tokens_by_kind": {"text": text, "codebook_0": 5}, "num_words": words, "num_characters": characters}
    found = text_cost(counts)
    assert found is None if expected is None else str(found).startswith(expected)


@pytest.mark.parametrize("task", TASKS)
def test_every_command_line_is_one_that_its_program_knows(task: str):
    others = {
        name: pytest.importorskip(f"{name.replace('-', '_')}.cli").main for name in ("audio-eval", "audio-tokenize")
    }
    groups = {"audio-train": main, **others}
    wanted = replace(WANTED, task=task, language="cy", settings=("precision=bfloat16",))
    made = [*encode_commands(wanted, BASE), *build_commands(wanted, BASE, list("abcd"))]
    made += [train_command(wanted, BASE, {"own": 1.0}, 64, 3)]
    made += [evaluate_command(wanted, Path("m"), Path("o"), ["heldout"], "", 3)]
    for command in made:
        program, name, *words = shlex.split(str(command))
        # Below its group, whose names of the help option the command keeps.
        group = groups[program]
        group.commands[name].make_context(name, words, parent=click.Context(group, **group.context_settings))


def test_recordings_that_do_not_exist_are_named(tmp_path: Path):
    words = ["adapt", "--from", str(tmp_path), "--audio", str(tmp_path / "no"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert "`--audio` must be a folder of recordings or a manifest" in result.output
