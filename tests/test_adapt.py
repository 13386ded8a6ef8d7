"""`audio-train adapt` from recordings to the report. Its commands run here; the quickstart tests processes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
from click.testing import CliRunner

from audio_data import open_root
from audio_eval.cli import main as audio_eval
from audio_tokenize import load_audio, open_corpus
from audio_tokenize.cli import main as audio_tokenize
from audio_train import adapt
from audio_train.adapt import Adaptation
from audio_train.cli import main as audio_train
from audio_train.command_lines import Command

PROGRAMS = {"audio-tokenize": audio_tokenize, "audio-train": audio_train, "audio-eval": audio_eval}
SMALL = ("model.embed=32", "model.mlp=64", "model.layers=1", "model.heads=2", "model.kv_heads=2", "model.head_dim=16")


def run(*words: object) -> str:
    program, *rest = map(str, words)
    result = CliRunner().invoke(PROGRAMS[program], rest)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The command lines of the chain, in the order in which they ran."""
    ran: list[tuple[str, ...]] = []

    def here(command: Command, program: str, **_: Any) -> None:
        assert Path(program).name == command.words[0]
        ran.append(command.words)
        run(*command.words)

    monkeypatch.setattr(adapt, "run_command", here)
    return ran


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str, int], Path]:
    """Write a folder of recordings of a voice with their transcripts."""

    def write(speaker: str, split: str, number: int) -> Path:
        folder = tmp_path_factory.mktemp(speaker)
        for utterance in open_corpus("sample").select(split=split, speaker=speaker).utterances[:number]:
            samples = load_audio(utterance.audio, 24_000, utterance.start_seconds, utterance.end_seconds)
            soundfile.write(folder / f"{utterance.id}.wav", samples[: 15 * 1_920], 24_000)
            (folder / f"{utterance.id}.txt").write_text(utterance.text)
        return folder

    return write


@pytest.fixture(scope="module")
def base(record, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of a few steps on one voice, and its datasets."""
    out = tmp_path_factory.mktemp("base")
    run("audio-tokenize", "encode", record("slt", "train", 16), "--out", out / "codes")
    run("audio-tokenize", "vocabulary", out / "codes", "--out", out / "data/vocabulary")
    build = ("audio-tokenize", "build", out / "codes", "--vocabulary", out / "data/vocabulary", "--out")
    run(*build, out / "data/asr", "--holdout", "0.5")
    run(*build, out / "data/heldout", "--holdout", "0.5", "--heldout")
    settings = [word for one in (*SMALL, "steps=2", "data.seq_len=256", "data.batch_size=1") for word in ("--set", one)]
    run("audio-train", "run", "own-5m", "--data", out / "data", "--out", out / "run", *settings)
    return out / "run", out / "data"


def test_a_voice_reaches_the_report_beside_the_model_before(
    base: tuple[Path, Path], record, commands: list[tuple[str, ...]], tmp_path: Path
):
    model, data = base
    wanted = Adaptation(
        model,
        record("awb", "heldout-awb", 24),
        tmp_path / "out",
        task="asr",
        steps=4,
        rounds=2,
        transcriber="none",
        rehearse=data,
        rehearsal_share=0.25,
    )
    outcome = adapt.main(wanted)
    report = json.loads((tmp_path / "out/report.json").read_text())
    compared = {(one["dataset"], one["name"]): one for one in report["comparison"]}
    for dataset in ("heldout", "heldout-base-heldout"):
        one = compared[dataset, "asr_wer"]
        assert one["first"] == pytest.approx(outcome["base"][dataset]["asr_wer"])
        assert one["second"] == pytest.approx(outcome["adapted"][dataset]["asr_wer"])
        assert one["difference"] == pytest.approx(one["second"] - one["first"])
    assert "Before and after" in Path(outcome["report"]).read_text()
    assert set(outcome["errors_by_step"]) == {2, 4}
    assert outcome["errors_by_step"][outcome["step"]] == min(outcome["errors_by_step"].values())
    assert (Path(outcome["model"]) / "model.safetensors").is_file()
    # An exact share of the rows is of the model's own data.
    saved = json.loads((tmp_path / "out/run/resolved.json").read_text())["run"]
    assert saved["data"]["mixture"][0]["weights"] == {"own-asr": 0.75, "base-asr": 0.25}
    assert saved["init"]["source"] == "own-5m@2"
    parts = [
        {d.metadata["base_id"] for d in open_root(tmp_path / "out/data")[name]}
        for name in ("own-asr", "heldout-dev", "heldout")
    ]
    assert all(not one & other for i, one in enumerate(parts) for other in parts[:i])
    assert len(set.union(*parts)) == 24

    before, weights = len(commands), (Path(outcome["model"]) / "model.safetensors").read_bytes()
    again = adapt.main(wanted)
    assert again == outcome
    assert (Path(again["model"]) / "model.safetensors").read_bytes() == weights
    assert len(commands) - before <= before


def test_three_clips_are_too_few(base: tuple[Path, Path], record, commands, tmp_path: Path):
    wanted = Adaptation(base[0], record("awb", "heldout-awb", 3), tmp_path / "out", transcriber="none")
    with pytest.raises(adapt.InputError, match=r"at least 20 utterances for task both.*got 3; record more"):
        adapt.main(wanted)
    assert [words[1] for words in commands] == ["check-codec", "encode"]
