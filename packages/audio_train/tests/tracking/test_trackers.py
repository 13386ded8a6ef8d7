import json
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from audio_data import InputError
from audio_train import ResolvedRun, run
from audio_train.tracking.metrics import JsonLines, read_metrics
from audio_train.tracking.trackers import Several, check_trackers, flat_numbers, open_trackers


def test_numbers_are_named_by_their_place():
    values = {"loss": np.float32(1.5), "nll": {"text": 2.0, "codebook_0": 3}, "records": ["a"], "skipped": True}
    assert dict(flat_numbers(values)) == {"loss": 1.5, "nll/text": 2.0, "nll/codebook_0": 3.0, "skipped": 1.0}


def test_an_unknown_tracker_and_one_that_is_not_installed_are_named(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match="there is no tracker `tensorbord`; did you mean tensorboard"):
        check_trackers(["tensorbord"])
    monkeypatch.setattr("audio_train.tracking.trackers.importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package `wandb`: pip install 'audio-train\[wandb\]'"):
        check_trackers(["wandb"])


def test_a_run_is_refused_before_it_compiles_where_its_tracker_is_absent(
    toy: ResolvedRun, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("audio_train.tracking.trackers.importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="trackio"):
        run(toy, data_root, tmp_path, trackers=["trackio"])
    assert not (tmp_path / "resolved.json").exists()


def test_several_trackers_hold_the_same_lines(tmp_path: Path):
    files = [JsonLines(tmp_path / f"{number}.jsonl", 0) for number in range(2)]
    both = Several(files)
    both.log(1, {"loss": 2.0})
    both.flush()
    both.close()
    assert [list(read_metrics(file.path)) for file in files] == [[{"step": 1, "loss": 2.0}]] * 2


def test_tensorboard_reads_what_was_logged(toy: ResolvedRun, tmp_path: Path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for start, steps in ((0, (1, 2, 3)), (1, (2, 3))):
        (tracker,) = open_trackers(["tensorboard"], tmp_path, toy, start)
        for step in steps:
            tracker.log(step, {"loss": 10.0 * start + step, "nll": {"text": 0.5}})
        tracker.flush()
        tracker.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert sorted(events.Tags()["scalars"]) == ["loss", "nll/text"]
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 1.0), (2, 12.0), (3, 13.0)]


@pytest.fixture
def restarted(toy: ResolvedRun, tmp_path: Path):
    """Log three steps, then the last two again as a run does that was killed after its first checkpoint."""

    def log(name: str) -> None:
        for start, steps in ((0, (1, 2, 3)), (1, (2, 3))):
            (tracker,) = open_trackers([name], tmp_path, toy, start)
            for step in steps:
                tracker.log(step, {"loss": 10.0 + step, "nll": {"text": 0.5}, "records": ["short row 0"]})
            tracker.flush()
            tracker.close()

    return log


def wandb_records(file: Path) -> Iterator[bytes]:
    """The records of a W&B run file: seven bytes, then LevelDB's log, whose blocks of 32 KiB hold parts of records."""
    log, at, record = file.read_bytes(), 7, b""
    while at + 7 <= len(log):
        _, length, part = struct.unpack_from("<IHB", log, at)
        record += log[at + 7 : at + 7 + length]
        if part in (1, 4):  # a whole record, or the last of its parts
            yield record
            record = b""
        at += 7 + length
        at += 32768 - at % 32768 if 32768 - at % 32768 < 7 else 0


def test_wandb_keeps_one_run_through_a_restart(
    restarted, toy: ResolvedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    restarted("wandb")
    ids, steps = set(), []
    for file in (tmp_path / "wandb").glob("offline-run-*/*.wandb"):
        for record in map(Record.FromString, wandb_records(file)):
            if record.WhichOneof("record_type") == "run":
                ids.add(record.run.run_id)
            elif record.WhichOneof("record_type") == "history":
                values = {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
                steps.append((record.history.step.num, float(values["loss"]), float(values["nll/text"])))
    assert ids == {f"toy-{toy.fingerprint[:8]}"}
    assert sorted(steps) == [(1, 11.0, 0.5), (2, 12.0, 0.5), (2, 12.0, 0.5), (3, 13.0, 0.5), (3, 13.0, 0.5)]


@pytest.mark.filterwarnings("ignore")
def test_trackio_keeps_one_run_through_a_restart(
    restarted, toy: ResolvedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when the package is imported
    pytest.importorskip("trackio")
    restarted("trackio")
    with closing(sqlite3.connect(tmp_path / "trackio" / "audio-train.db")) as database:
        rows = database.execute("select run_name, step, metrics from metrics").fetchall()
    assert {name for name, _, _ in rows} == {f"toy-{toy.fingerprint[:8]}"}
    assert {step for _, step, _ in rows} == {1, 2, 3}
    assert all(json.loads(values) == {"loss": 10.0 + step, "nll/text": 0.5} for _, step, values in rows)
