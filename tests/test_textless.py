"""From audio without any text to scores: encode, build, train, and tell spoken clips from noise."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from audio_eval import evaluate, make_tasks
from audio_tokenize import load_audio, open_corpus
from audio_tokenize.cli import main as audio_tokenize
from audio_train import DataSpec, Intervals, MixtureStage, ModelShape, OptimizerSpec, ScheduleSpec, TrainRun, run

SEED = 0
NUM_CLIPS = 3


def command(*words: object) -> None:
    result = CliRunner().invoke(audio_tokenize, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings of 1.2 seconds, without transcripts."""
    folder = tmp_path_factory.mktemp("speech")
    for number, utterance in enumerate(open_corpus("sample").select(split="train").utterances[:NUM_CLIPS]):
        samples = load_audio(utterance.audio, 24_000, utterance.start_seconds, utterance.end_seconds)
        soundfile.write(folder / f"clip-{number}.wav", samples[: 15 * 1_920], 24_000)
    return folder


@pytest.fixture(scope="module")
def test_sets(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs as published: a recording that was trained on, and the same samples in another order."""
    root, rng = tmp_path_factory.mktemp("sets"), np.random.default_rng(SEED)
    for name in ("swuggy", "sblimp", "salmon/speaker_consistency"):
        (root / name).mkdir(parents=True)
    rows: dict[str, list[str]] = {"swuggy": ["id,filename,voice,correct,word"]}
    rows["sblimp"] = ["id,filename,voice,correct,transcription"]
    for number in range(NUM_CLIPS):
        samples, rate_hz = soundfile.read(clips / f"clip-{number}.wav")
        for wrong, sound in enumerate((samples, rng.permutation(samples))):
            soundfile.write(root / f"salmon/speaker_consistency/sample_{number}_{wrong}.wav", sound, rate_hz)
            for name, lines in rows.items():
                soundfile.write(root / name / f"{number}-{wrong}.wav", sound, rate_hz)
                lines.append(f"{number},{number}-{wrong},A,{1 - wrong},said")
    for name, lines in rows.items():
        (root / name / "gold.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.parametrize("name", ["acoustic", "semantic"])
def test_raw_audio_trains_a_model_that_the_spoken_benchmarks_score(
    clips: Path, test_sets: Path, tmp_path: Path, name: str
):
    data = tmp_path / "data"
    command("encode", clips, "--out", tmp_path / "codes")
    command("vocabulary", tmp_path / "codes", "--out", data / "vocabulary")
    command("build", tmp_path / "codes", "--layout", name, "--vocabulary", data / "vocabulary", "--out", data / name)
    recipe = TrainRun(
        name=f"raw-{name}",
        model=ModelShape(embed=32, mlp=64, layers=1, heads=2, kv_heads=2, head_dim=16),
        data=DataSpec(mixture=(MixtureStage(0.0, {name: 1.0}),), seq_len=128, batch_size=2, packing="best_fit"),
        optimizer=OptimizerSpec("adamw", learning_rate=2e-2, weight_decay=0.0),
        schedule=ScheduleSpec(warmup=0.1, decay=0.5),
        steps=24,
        intervals=Intervals(checkpoint_steps=24),
    )
    run(recipe, data, tmp_path / "run")
    tasks = make_tasks(
        ["swuggy", "sblimp", "salmon"], {"swuggy.codebooks": "1"} if name == "semantic" else {}, test_sets=test_sets
    )
    evaluation = evaluate(
        tmp_path / "run", None, [], tasks, tmp_path / "scores", transcriber="none", speaker_encoder="none"
    )
    for task in ("swuggy", "sblimp", "salmon"):
        scores = {score.name: score for score in evaluation.result(task).scores}
        # What was trained on is likelier than its samples in another order, by the codebook that every layout has.
        accuracy = scores[f"{task}_accuracy_codebook_0"]
        assert (accuracy.value, accuracy.num_items) == (1.0, NUM_CLIPS)
