"""`audio-tokenize encode` as people type it, with a Mimi of random weights."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from click.testing import CliRunner

from audio_tokenize import CodecSpec, EncodedCorpus, load_codec
from audio_tokenize.cli import main
from audio_tokenize.waveform import load_audio


def run(*arguments: object, exit_code: int = 0) -> str:
    result = CliRunner().invoke(main, ["encode", *map(str, arguments)])
    assert result.exit_code == exit_code, (result.output, result.exception)
    return result.output


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """A folder as people keep them: recordings of several lengths and rates, a transcript beside each with sound."""
    folder = tmp_path_factory.mktemp("recordings")
    random = np.random.default_rng(0)
    for i, (seconds, rate_hz) in enumerate([(0.7, 16_000), (3.21, 44_100), (1.5, 24_000)]):
        soundfile.write(folder / f"r{i}.flac", 0.3 * random.standard_normal(round(seconds * rate_hz)), rate_hz)
        (folder / f"r{i}.txt").write_text(f"words of recording {i}")
    soundfile.write(folder / "mute.flac", np.zeros(24_000), 24_000)
    return folder


def test_a_folder_through_mimi(recordings: Path, mimi_folder: Path, tmp_path: Path):
    mimi = ["--codec", "mimi", "--weights", mimi_folder, "--codebooks", 4, "--attention-window", "none"]
    printed = run("folder", "--root", recordings, *mimi, "--max-clip-seconds", 2, "--out", tmp_path / "codes")
    assert "encoded: 3 records of 3 utterances" in printed
    assert "1 skipped" in printed
    assert "skipped 1:" in printed
    encoded = EncodedCorpus.open(tmp_path / "codes")
    codec = load_codec(CodecSpec("mimi", str(mimi_folder), num_codebooks=4, attention_window_seconds=None))
    for utterance in encoded:
        samples = load_audio(recordings / f"{utterance.id}.flac", 24_000)
        pieces = [codec.encode(samples[start : start + 48_000]) for start in range(0, len(samples), 48_000)]
        assert np.array_equal(utterance.codes, np.concatenate(pieces))
        assert utterance.text == f"words of recording {utterance.id[1:]}"
    described = encoded.manifest.codec
    assert (described["num_codebooks"], described["attention_window_frames"]) == (4, None)
    assert encoded.manifest.arithmetic == (codec.arithmetic,)
    assert (codec.arithmetic["device"], codec.arithmetic["matmul_precision"]) == ("cpu", "highest")
    assert load_codec(CodecSpec.from_description(described)).codec_id == codec.codec_id
    mistake = run(recordings, *mimi[:-1], 10, "--max-clip-seconds", 2, "--out", tmp_path / "codes", exit_code=2)
    assert "was begun with `codec.attention_window_frames` None, now it is 125" in mistake


def test_transcripts_are_as_the_rule_says(recordings: Path, tmp_path: Path):
    manifest = tmp_path / "words.jsonl"
    manifest.write_text(json.dumps({"audio": str(recordings / "r0.flac"), "text": " a stray space "}))
    for rule, expected in (("stripped", "a stray space"), ("verbatim", " a stray space ")):
        run("jsonl", "--root", manifest, "--transcripts", rule, "--out", tmp_path / rule)
        assert [utterance.text for utterance in EncodedCorpus.open(tmp_path / rule)] == [expected]


def test_strict_stops_at_what_would_be_skipped(recordings: Path, tmp_path: Path):
    (tmp_path / "speech").mkdir()
    for path in recordings.iterdir():
        (tmp_path / "speech" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "speech/mute.txt").write_text("")
    assert "mute" in run(tmp_path / "speech", "--strict", "--out", tmp_path / "codes", exit_code=2)


def test_several_splits_leave_the_files_of_others_alone(recordings: Path, tmp_path: Path):
    """What no split needs may be damaged, and is no shard of the plan."""
    content = (recordings / "r0.flac").read_bytes()
    for split in ("train", "dev"):
        row = {"audio": {"bytes": content, "path": "r.flac"}, "text": split}
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / f"{split}-00000.parquet")
    (tmp_path / "test-00000.parquet").write_bytes(b"cut short")
    for i, words in enumerate(([tmp_path], ["parquet", "--root", tmp_path])):
        run(*words, "--split", "train", "--split", "dev", "--out", tmp_path / f"codes{i}")
        encoded = EncodedCorpus.open(tmp_path / f"codes{i}")
        assert {utterance.text: utterance.split for utterance in encoded} == {"train": "train", "dev": "dev"}
        assert [shard.source for shard in encoded.manifest.shards] == ["dev-00000", "train-00000"]


def test_weights_may_move(recordings: Path, mimi_folder: Path, tmp_path: Path):
    """The same weights elsewhere are the same plan: a finished folder is left alone."""
    run(recordings, "--codec", "mimi", "--weights", mimi_folder, "--out", tmp_path / "codes")
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in mimi_folder.iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    printed = run(recordings, "--codec", "mimi", "--weights", moved, "--out", tmp_path / "codes")
    assert "already encoded, nothing to do" in printed


def test_a_share_of_the_shards(tmp_path: Path):
    words = ["sample-multilingual", "--language", "en", "--out", tmp_path]
    assert "the manifest is written by the job that ends last" in run(*words, "--shard", "1/2")
    assert ": encoded: " in run(*words, "--shard", "0/2")
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert [name for name, _ in plan["shards"]] == ["00000000-256"]


def test_mistakes_are_one_line(recordings: Path, tmp_path: Path):
    for words, message in [
        ([recordings, "--codec", "embeded"], "got 'embeded'"),
        ([recordings, "--shard", "1of2"], "`--shard` must be I/N"),
        ([recordings, "--shard", "2/2"], "`shard` must be i/n with 0 <= i < n"),
        ([recordings, "--max-quarantined", "few"], "expected a number such as 12, or a share such as 0.5%, got 'few'"),
        ([recordings, "--attention-window", "all"], "must be seconds or none"),
        ([recordings, "--engine", "slurm"], "must be one of local, ray"),
        ([recordings, "--gpus-per-worker", 1], "`gpus_per_worker` must be 0, or more with engine ray"),
        (["yodas", "--root", recordings], "yodas2"),
    ]:
        printed = run(*words, "--out", tmp_path / "codes", exit_code=2)
        assert printed.startswith("Error: "), printed
        assert message in printed
        assert len(printed.splitlines()) == 1
