import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from audio_data import InputError
from audio_train import read_metrics
from audio_train.tracking.metrics import JsonLines, MetricsState


def test_numbers_are_kept_exactly_and_those_that_are_not_finite_become_null(tmp_path: Path):
    loss = np.float32(0.1)
    with JsonLines(tmp_path / "metrics.jsonl", 0) as metrics:
        metrics.log(1, {"loss": loss, "nll": {"text": float("nan")}, "counts": np.array([1, 2])})
    (line,) = read_metrics(tmp_path / "metrics.jsonl")
    assert np.float32(line["loss"]) == loss
    assert line == {"step": 1, "loss": float(loss), "nll": {"text": None}, "counts": [1, 2]}


@pytest.mark.parametrize("torn", [b"", b'{"step":7,"lo', b'{"step":7,"loss":1.0}'])
def test_a_resumed_run_goes_on_from_its_step(tmp_path: Path, torn: bytes):
    path = tmp_path / "metrics.jsonl"
    with JsonLines(path, 0) as metrics:
        for step in (1, 2, 3, 3, 4, 5, 6):
            metrics.log(step, {"loss": float(step)})
    with open(path, "ab") as file:
        file.write(torn)
    with JsonLines(path, 3) as metrics:
        metrics.log(4, {"loss": -4.0})
    assert [(line["step"], line["loss"]) for line in read_metrics(path)] == [(1, 1), (2, 2), (3, 3), (3, 3), (4, -4)]


def test_a_torn_last_line_is_not_read(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({"step": 1}) + "\n" + '{"step": 2')
    assert list(read_metrics(path)) == [{"step": 1}]


def test_a_full_disk_is_one_line(tmp_path: Path, small_files):
    message = r"cannot write .*metrics\.jsonl.*audio-train resume"
    with JsonLines(tmp_path / "metrics.jsonl", 0) as metrics, small_files(10), pytest.raises(InputError, match=message):
        metrics.log(1, {"loss": 1.0})


def test_a_damaged_line_is_named(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\nnonsense\n{"step": 3}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl`: line 2: expected JSON.*remove that line"):
        list(read_metrics(path))


def logged(path: Path, num_steps: int) -> MetricsState:
    with JsonLines(path, 0) as metrics:
        for step in range(1, num_steps + 1):
            metrics.log(step, {"loss": float(step)})
        return metrics.state()


def test_the_state_is_the_length_and_digest_of_the_file_whenever_it_was_opened(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    state = logged(path, 3)
    assert state == MetricsState(path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
    with JsonLines(path, 2, None) as metrics:
        metrics.log(3, {"loss": 3.0})
        assert metrics.state() == state


@pytest.mark.parametrize("damage", ["missing", "cut", "line lost", "bit flipped", "other lines"])
def test_lines_that_are_lost_or_changed_are_not_gone_on_with(tmp_path: Path, damage: str):
    path = tmp_path / "metrics.jsonl"
    expected = logged(path, 5)
    with JsonLines(path, 5) as metrics:
        metrics.log(6, {"loss": 6.0})
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    if damage == "missing":
        path.unlink()
    else:
        flipped = whole.replace(b"2.0", b"3.0")
        content = {"cut": whole[:40], "line lost": b"".join(lines[1:]), "bit flipped": flipped, "other lines": b"{}\n"}
        path.write_bytes(content[damage])
    with pytest.raises(InputError, match=r"metrics\.jsonl` (is missing|holds other|lacks lines).*an empty file"):
        JsonLines(path, 5, expected)
    path.write_bytes(whole)
    with JsonLines(path, 5, expected) as metrics:
        assert metrics.state() == expected
    path.write_bytes(b"")  # a user who goes on without them says so
    with JsonLines(path, 5, expected) as metrics:
        metrics.log(6, {"loss": 6.0})


def test_a_record_without_a_step_is_refused(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    for line in ('{"loss": 1.0}', '{"step": "one"}', '{"step": null}', "[1]", '{"step": 1, "loss": NaN}'):
        path.write_text(line + "\n")
        with pytest.raises(InputError, match=r"metrics\.jsonl`: .*line 1"):
            JsonLines(path, 3)
        assert path.read_text() == line + "\n"
