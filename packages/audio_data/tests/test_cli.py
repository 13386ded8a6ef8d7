import json
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import parquet

from audio_data import read_bytes, storage_path, write_bytes
from audio_data.cli import main


def run(*arguments, status=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == status, result.output
    return result


@pytest.fixture
def built(tmp_path, vocabulary):
    vocabulary.write(tmp_path / "vocabulary.json")
    lines = [{"ids": [100, 1, 2, 101], "id": "x", "seconds": 1.5}, {"ids": [3, 101], "loss_mask": [False, True]}]
    (tmp_path / "ids.jsonl").write_text("\n".join(map(json.dumps, lines)))
    arguments = (
        "build",
        tmp_path / "ids.jsonl",
        "--vocabulary",
        tmp_path / "vocabulary.json",
        "--out",
        tmp_path / "d/a",
    )
    result = run(*arguments)
    assert result.stdout == f"dataset {tmp_path / 'd/a'}: 2 documents, 6 tokens\n"
    return tmp_path / "d", arguments


def test_help_is_quick():
    program = "import sys; from audio_data.cli import main; sys.argv = ['audio-data', '--help']; main()"
    start = time.perf_counter()
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    for command in ("build", "inspect", "verify", "stats", "mixes"):
        assert command in result.stdout
    # Half a second on an idle machine; tests share theirs.
    assert seconds < 2
    imported = "import sys, audio_data.cli; print(sorted({'numpy', 'grain', 'jax', 'rich'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", imported], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_build_keeps_what_is_there(built):
    _, arguments = built
    assert "exists; choose another folder, or overwrite it" in run(*arguments, status=2).stderr
    run(*arguments, "--overwrite")


def test_build_reads_parquet_and_leaves_out_what_it_may(tmp_path, vocabulary):
    vocabulary.write(tmp_path / "vocabulary.json")
    rows = [{"tokens": [100, 1, 101]}, {"tokens": [1, 999]}, {"tokens": [2, 101]}]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    options = ("--vocabulary", tmp_path / "vocabulary.json", "--out", tmp_path / "a", "--ids-column", "tokens")
    message = run("build", tmp_path / "a.parquet", *options, status=2).stderr
    assert "document 1 (id None): position `1` of 2" in message
    message = run("build", tmp_path / "a.parquet", *options, "--max-quarantined", "10%", status=2).stderr
    assert f"at most 0 unusable documents, got 1, first `{tmp_path / 'a.parquet'}` row 1" in message
    text = run("build", tmp_path / "a.parquet", *options, "--max-quarantined", 1).stdout
    assert text == f"dataset {tmp_path / 'a'}: 2 documents, 5 tokens, 1 left out\n"
    assert "row 1" in (tmp_path / "a" / "quarantine.jsonl").read_text()
    assert "1 documents left out" in run("stats", tmp_path / "a").stdout
    assert "got 'all'" in run("build", tmp_path, *options, "--max-quarantined", "all", status=2).stderr


def test_the_codec_of_a_dataset_is_stated_or_handed_on(tmp_path, vocabulary):
    vocabulary.write(tmp_path / "vocabulary.json")
    ids = [104, *vocabulary.audio_ids(np.zeros((25, 4), np.int32)).tolist(), 105]
    (tmp_path / "ids.jsonl").write_text(json.dumps({"ids": ids}))
    (tmp_path / "codec.json").write_text('{"id": "test-codec", "frame_rate_hz": 12.5}')
    options = ("--vocabulary", tmp_path / "vocabulary.json", "--out")
    run("build", tmp_path / "ids.jsonl", *options, tmp_path / "a", "--codec", tmp_path / "codec.json")
    run("build", tmp_path / "a", *options, tmp_path / "b")
    for name in "ab":
        assert "<audio 2.0 s, 4 codebooks>" in run("inspect", tmp_path / name).stdout
    (tmp_path / "codec.json").write_text("12.5")
    message = run(
        "build", tmp_path / "a", *options, tmp_path / "c", "--codec", tmp_path / "codec.json", status=2
    ).stderr
    assert "expected a JSON object, got 12.5" in message


def test_every_command_takes_urls(built, s3_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("AUDIO_DATA_CACHE", str(tmp_path / "cache"))
    data, _ = built
    for file in (tmp_path / "ids.jsonl", tmp_path / "vocabulary.json"):
        write_bytes(storage_path(f"{s3_folder}/{file.name}"), file.read_bytes())
    options = ("--vocabulary", f"{s3_folder}/vocabulary.json", "--out", f"{s3_folder}/d/a")
    assert "2 documents, 6 tokens" in run("build", f"{s3_folder}/ids.jsonl", *options).stdout
    assert "document 1: 2 tokens, 1 targets" in run("inspect", f"{s3_folder}/d/a").stdout
    assert f"{s3_folder}/d/a: sound" in run("verify", f"{s3_folder}/d").stdout
    local, there = (json.loads(run("stats", path, "--json").stdout) for path in (data, f"{s3_folder}/d"))
    assert there == local
    run("stats", data, "--html", f"{s3_folder}/stats.html")
    assert "<svg" in read_bytes(storage_path(f"{s3_folder}/stats.html")).decode()
    missing = run("stats", "s3://nowhere-at-all/d", status=2).stderr
    assert "s3://nowhere-at-all/d" in missing


def test_inspect_shows_windows(built):
    data, _ = built
    text = run("inspect", data / "a", "--windows", 6).stdout
    assert "window 0: 2 segments, 4 targets\n  segment 1: tokens 0..3, positions 0..3, 3 targets, of x" in text
    report = json.loads(run("inspect", data / "a", "--windows", 3, "--start", 1, "--json").stdout)
    assert [w["window"] for w in report["windows"]] == [1]
    message = run("inspect", data / "a", "--windows", 4, "--start", 1, status=2).stderr
    assert "`--start`: expected 0..0, got 1" in message
    packed = run("inspect", data / "a", "--windows", 8, "--packing", "best_fit", "--positions", "reset").stdout
    assert "2 of padding" in packed
    assert "expected at least 9 tokens" in run("inspect", data / "a", "--windows", 9, status=2).stderr


def test_inspect_shows_text_where_a_tokenizer_lies_beside_the_data(built, monkeypatch):
    pytest.importorskip("tokenizers", reason="text is decoded by the extra `text`")
    data, _ = built
    tokenizer = data / "vocabulary" / "tokenizer.json"
    model = {"type": "WordLevel", "vocab": {f"w{i}": i for i in range(4)}, "unk_token": "w0"}
    (data / "vocabulary").mkdir()
    tokenizer.write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": model}))
    assert "<|begin_of_text|>w1 w2<|end_of_text|>" in run("inspect", data / "a").stdout
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    result = run("inspect", data / "a")
    assert "<text 2 tokens>" in result.stdout
    assert "text is shown as marks: tokenizer" in result.stderr
    assert "audio-data[text]" in run("inspect", data / "a", "--tokenizer", tokenizer, status=2).stderr


def test_inspect_shows_documents(built):
    data, _ = built
    text = run("inspect", data / "a").stdout
    assert "document 0: 4 tokens, 4 targets" in text
    assert "<|begin_of_text|><text 2 tokens><|end_of_text|>" in text
    report = json.loads(run("inspect", data / "a", "--start", 1, "--json").stdout)
    assert [d["num_targets"] for d in report["documents"]] == [1]
    assert "`--start`: expected 0..1, got 2" in run("inspect", data / "a", "--start", 2, status=2).stderr


def test_stats_counts_and_prices(built):
    data, _ = built
    report = json.loads(run("stats", data, "--json").stdout)
    assert report["total"] == {"num_documents": 2, "num_tokens": 6, "audio_seconds": 1.5}
    assert report["corpora"]["a"]["tokens_by_kind"]["special"] == 3
    assert "text                        3  50.00%" in run("stats", data).stdout
    assert "corpus `yodas2/en` is not among the data" in run("stats", data, "--mixture", "text_5", status=2).stderr


def test_verify_tells_sound_from_damaged(built):
    data, _ = built
    assert json.loads(run("verify", data, "--json").stdout) == {"sound": True, "problems": {str(data / "a"): []}}
    (data / "a" / "shard-00000.arrayrecord").write_bytes(b"")
    assert "1 problems" in run("verify", data, status=1).stdout
    report = json.loads(run("verify", data, "--json", status=1).stdout)
    assert "got 0" in report["problems"][str(data / "a")][0]


def test_verify_lists_what_readers_may_leave_out(built):
    data, _ = built
    file = data / "a" / "shard-00000.arrayrecord"
    content = bytearray(file.read_bytes())
    content[content.index(b"ATOK") + 17] ^= 1
    file.write_bytes(bytes(content))
    assert "at most 0 unusable documents, got 1" in run("verify", data, "--max-quarantined", 0, status=1).stdout
    assert "sound but for 1 documents, listed\n  shard `" in run("verify", data, "--max-quarantined", "50%").stdout
    assert list(json.loads((data / "a" / "damaged.json").read_text())["documents"]) == ["0"]
    report = json.loads(run("verify", data, "--max-quarantined", 1, "--json").stdout)
    assert list(report["quarantined"][str(data / "a")]) == ["0"]


def test_mixes_lists_and_shows():
    assert "soda" in json.loads(run("mixes", "--json").stdout)
    assert "yodas8" in run("mixes").stdout
    report = json.loads(run("mixes", "soda", "--json").stdout)
    assert sum(report["places"].values()) == report["block"] == 2048
    assert "nemotron_cc/hq_actual      0.05000   102 of 2048" in run("mixes", "soda").stdout
    assert "expected one of" in run("mixes", "sode", status=2).stderr
