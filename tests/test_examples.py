"""Every example runs, and says what it promises."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_tokenize import EncodedCorpus, load_codec

pytestmark = pytest.mark.optimized

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def output_of(name: str, *arguments: str) -> str:
    finished = subprocess.run([sys.executable, EXAMPLES / name, *arguments], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def found(pattern: str, name: str, *arguments: str) -> tuple[str, ...]:
    """Return the groups of a pattern in what an example prints."""
    said = output_of(name, *arguments)
    match = re.search(pattern, said)
    assert match is not None, said
    return match.groups()


def test_every_example_is_run_here() -> None:
    tested = set(re.findall(r'"(\w+\.py)"', Path(__file__).read_text()))
    assert {path.name for path in EXAMPLES.glob("*.py")} == tested
    assert all(len(path.read_text().splitlines()) <= 60 for path in EXAMPLES.glob("*.py"))


def test_every_example_is_on_the_page() -> None:
    page = (EXAMPLES.parent / "docs" / "examples.md").read_text()
    assert set(re.findall(r"^\| `(\w+\.py)", page, re.MULTILINE)) == {path.name for path in EXAMPLES.glob("*.py")}


@pytest.mark.long
def test_any_integers(tmp_path: Path) -> None:
    """A model that sees the rule predicts the next number far better than one in thirty-two."""
    (last,) = found(r"-> ([\d.]+) nats", "any_integers.py", str(tmp_path))
    assert float(last) < 1.0


def test_load_batch_and_read_without_our_code(tmp_path: Path) -> None:
    """The mixture is exact in a block, and foreign code counts as many tokens as the manifest."""
    said = output_of("load_batch.py", str(tmp_path))
    assert "rows: 6 short, 2 long" in said
    pattern = r"(\d+) tokens; the manifest states (\d+)"
    tokens, stated = found(pattern, "read_without_our_code.py", str(tmp_path / "long"))
    assert int(tokens) == int(stated) == 200 * 42


@pytest.mark.long
def test_own_recipe_and_fine_tune(tmp_path: Path) -> None:
    """The new run starts from what the old one learned: its first loss is far below that of random weights."""
    first, last = map(float, found(r"100 steps, loss ([\d.]+) -> ([\d.]+)", "own_recipe.py", str(tmp_path)))
    assert last < first / 2
    assert {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()} == {"50", "100"}
    begun, end = map(float, found(r"fine-tuned ([\d.]+) -> ([\d.]+) nats", "fine_tune.py", str(tmp_path)))
    assert abs(begun - last) < 0.3
    assert end < first / 2
    launch = json.loads((tmp_path / "tuned" / "launches.jsonl").read_text())
    assert (launch["init"]["step"], launch["init"]["path"]) == (100, str(tmp_path / "run"))


@pytest.mark.long
def test_codec_round_trip(tmp_path: Path) -> None:
    wav = tmp_path / "decoded.wav"
    (frames,) = found(r"-> (\d+) frames x 8 codebooks", "codec_round_trip.py", str(wav))
    samples, rate = soundfile.read(wav)
    assert (len(samples), rate) == (int(frames) * 1920, 24_000)


@pytest.mark.long
def test_generate_speech(tmp_path: Path) -> None:
    """The grammar holds: whole frames of all codebooks and one end, and the sound is as long as the frames."""
    wav = tmp_path / "speech.wav"
    tokens, frames, books = found(r"(\d+) tokens -> (\d+) frames x (\d+) codebooks", "generate_speech.py", str(wav))
    assert int(tokens) == int(frames) * int(books) + 1
    assert 12 <= int(frames) <= 25
    samples, rate = soundfile.read(wav)
    assert len(samples) == int(frames) * 1920
    assert rate == 24_000


@pytest.mark.long
def test_transformers_round_trip(tmp_path: Path) -> None:
    """What is written is a model of theirs; where transformers is installed it computes the same."""
    installed = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))
    command = [sys.executable, EXAMPLES / "transformers_round_trip.py", tmp_path]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["architectures"] == ["Qwen3ForCausalLM"]
    if not installed:
        assert finished.returncode == 1
        assert "nothing to compare with" in finished.stderr
        return
    assert finished.returncode == 0, finished.stderr
    difference = re.search(r"Qwen3ForCausalLM: largest difference of a logit (\S+)", finished.stdout)
    assert difference is not None
    assert float(difference.group(1)) < 1e-4
    assert "weights after both ways: equal" in finished.stdout


@pytest.mark.long
def test_own_codec(tmp_path: Path) -> None:
    """The codes of a codec in a file are the means and peaks of its frames, and decode to those means."""
    codec = str(EXAMPLES / "own_codec.py") + ":MeanAndLoudness"
    codes, wav = tmp_path / "codes", tmp_path / "decoded.wav"
    ramp = np.linspace(-1, 1, 16_000)
    (tmp_path / "speech").mkdir()
    soundfile.write(tmp_path / "speech" / "ramp.wav", ramp, 8_000, subtype="FLOAT")
    (tmp_path / "speech" / "ramp.txt").write_text("a ramp")
    tokenize = [sys.executable, "-m", "audio_tokenize"]
    subprocess.run([*tokenize, "encode", tmp_path / "speech", "--codec", codec, "--out", codes], check=True)
    subprocess.run([*tokenize, "decode", codes, "--out", wav], check=True)
    samples, rate = soundfile.read(wav)
    assert (len(samples), rate) == (16_000, 8_000)
    means = ramp.reshape(-1, 80).mean(axis=1)
    np.testing.assert_allclose(samples[::80], means, atol=1 / 64)
    (utterance,) = EncodedCorpus.open(codes)
    np.testing.assert_array_equal(utterance.codes[:, 0], np.clip((means + 1) * 32, 0, 63).astype(int))


@pytest.mark.long
def test_own_codec_in_pieces_is_the_whole() -> None:
    codec = load_codec(str(EXAMPLES / "own_codec.py") + ":MeanAndLoudness")
    signal = np.random.default_rng(0).uniform(-1, 1, 1_001).astype(np.float32)
    encoder, decoder = codec.encoder_stream(), codec.decoder_stream()
    pieces = np.concatenate([encoder.push(signal[:333]), encoder.push(signal[333:]), encoder.finish()])
    np.testing.assert_array_equal(pieces, codec.encode(signal))
    sound = np.concatenate([decoder.push(pieces[:5]), decoder.push(pieces[5:]), decoder.finish()])
    np.testing.assert_array_equal(sound, codec.decode(pieces))
    assert len(sound) == 80 * codec.num_frames(len(signal))


@pytest.mark.long
def test_own_task(tmp_path: Path) -> None:
    """Random codes cannot be predicted from what came before; the command line finds the task in the file."""
    low, high = map(float, found(r"\[([\d.]+), ([\d.]+)\]", "own_task.py", str(tmp_path)))
    assert low < 1 < high
    words = ("run", tmp_path / "model", "--data", tmp_path / "data", "--heldout", "toy", "--out", tmp_path / "again")
    own = ("--tasks", f"{EXAMPLES / 'own_task.py'}:ContextGain", "--transcriber", "none", "--json")
    finished = subprocess.run([sys.executable, "-m", "audio_eval", *words, *own], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    score = json.loads(finished.stdout)["summary"]["toy"]["context_gain"]
    assert [round(score[key], 3) for key in ("low", "high")] == [low, high]


def test_the_guide_of_own_tasks_quotes_the_example() -> None:
    guide = (EXAMPLES.parent / "docs" / "howto" / "own-task.md").read_text()
    (quoted,) = re.findall(r"```python\n(.*?)```", guide, re.S)
    assert quoted in (EXAMPLES / "own_task.py").read_text()
