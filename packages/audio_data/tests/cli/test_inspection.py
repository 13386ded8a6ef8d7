import json
import sys

import pytest


def test_inspect_shows_windows(built, run):
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


def test_inspect_shows_text_where_a_tokenizer_lies_beside_the_data(built, monkeypatch, run):
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
    assert "uv pip install 'sentencepiece" in run("inspect", data / "a", "--tokenizer", tokenizer, status=2).stderr


def test_inspect_shows_documents(built, run):
    data, _ = built
    text = run("inspect", data / "a").stdout
    assert "document 0: 4 tokens, 4 targets" in text
    assert "<|begin_of_text|><text 2 tokens><|end_of_text|>" in text
    report = json.loads(run("inspect", data / "a", "--start", 1, "--json").stdout)
    assert [d["num_targets"] for d in report["documents"]] == [1]
    assert "`--start`: expected 0..1, got 2" in run("inspect", data / "a", "--start", 2, status=2).stderr


@pytest.mark.parametrize("count", [0, -1])
def test_inspect_shows_at_least_one(built, run, count):
    message = run("inspect", built[0] / "a", "--count", count, status=2).stderr
    assert f"`--count`: expected at least 1, got {count}" in message
