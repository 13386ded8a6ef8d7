"""The command as a whole."""

import json
import subprocess
import sys

from audio_data import read_bytes, storage_path, write_bytes


def test_help_names_the_commands_and_needs_no_library():
    program = "import sys; from audio_data.cli import main; sys.argv = ['audio-data', '--help']; main()"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    for command in ("build", "inspect", "verify", "stats"):
        assert command in result.stdout
    imported = "import sys, audio_data.cli; print(sorted({'numpy', 'grain', 'jax', 'rich'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", imported], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_command_takes_urls(built, s3_folder, tmp_path, monkeypatch, run):
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
