import json
from pathlib import Path

import numpy as np
import pytest

from audio_data import InputError
from audio_train import read_metrics
from audio_train.tracking.metrics import JsonLines


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
    with pytest.raises(InputError, match=r"metrics\.jsonl` line 2 is not JSON"):
        list(read_metrics(path))
