import json
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

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


def test_mixes_lists_and_shows():
    assert "soda" in json.loads(run("mixes", "--json").stdout)
    assert "yodas8" in run("mixes").stdout
    report = json.loads(run("mixes", "soda", "--json").stdout)
    assert sum(report["places"].values()) == report["block"] == 2048
    assert "nemotron_cc/hq_actual      0.05000   102 of 2048" in run("mixes", "soda").stdout
    assert "expected one of" in run("mixes", "sode", status=2).stderr
