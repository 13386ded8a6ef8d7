import importlib
import io
import json
import sqlite3
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io.wavfile

from audio_data import InputError
from audio_train import EvaluationSpec, Intervals, ResolvedRun, run
from audio_train.tracking.metrics import JsonLines, read_metrics
from audio_train.tracking.trackers import MultiTracker, check_trackers, flat_numbers, open_trackers


def test_numbers_are_named_by_their_place():
    values = {"loss": np.float32(1.5), "nll": {"text": 2.0, "codebook_0": 3}, "records": ["a"], "skipped": True}
    assert dict(flat_numbers(values)) == {"loss": 1.5, "nll/text": 2.0, "nll/codebook_0": 3.0, "skipped": 1.0}


def test_an_unknown_tracker_and_one_that_is_not_installed_are_named(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match="there is no tracker `tensorbord`; did you mean tensorboard"):
        check_trackers(["tensorbord"])
    monkeypatch.setattr("audio_train.tracking.trackers.importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package `wandb`: `uv pip install 'wandb>="):
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
    both = MultiTracker(files)
    both.log(1, {"loss": 2.0})
    both.flush()
    both.close()
    assert [list(read_metrics(file.path)) for file in files] == [[{"step": 1, "loss": 2.0}]] * 2


@pytest.mark.parametrize("checkpoint", [0, 1])
def test_tensorboard_shows_steps_taken_again_once(checkpoint: int, toy: ResolvedRun, tmp_path: Path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for start in (0, checkpoint):
        (tracker,) = open_trackers(["tensorboard"], tmp_path, toy, start)
        for step in range(start + 1, 4):
            tracker.log(step, {"loss": float(step), "nll": {"text": 0.5}})
        tracker.flush()
        tracker.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert sorted(events.Tags()["scalars"]) == ["loss", "nll/text"]
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 1.0), (2, 2.0), (3, 3.0)]


@pytest.fixture
def killed_and_resumed(toy: ResolvedRun, tmp_path: Path):
    """Log five steps twice: a kill in step 4, after a checkpoint at step 1, leaves the rows before that one."""

    def log(name: str) -> None:
        for start, steps in ((0, (1, 2, 3, 4)), (1, (2, 3, 4, 5))):
            (tracker,) = open_trackers([name], tmp_path, toy, start)
            for step in steps:
                tracker.log(step, {"loss": 10.0 + step, "records": ["short row 0"]})
                tracker.log(step, {"evaluation": {"nll": {"text": 0.5}}})
            if start:
                tracker.close()
            else:
                importlib.import_module(name).finish()
                time.sleep(1.0)  # W&B names its folders by the second

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


EXPECTED = [(step, {"loss": 10.0 + step, "evaluation/nll/text": 0.5}) for step in range(1, 6)]


def wandb_rows(folder: Path) -> tuple[set[str], list[tuple[int, dict[str, float]]]]:
    """Ids of the runs, and every row, in a folder's offline files."""
    from wandb.proto.wandb_internal_pb2 import Record

    ids, rows = set(), []
    for file in (folder / "wandb").glob("offline-run-*/*.wandb"):
        for record in map(Record.FromString, wandb_records(file)):
            if record.WhichOneof("record_type") == "run":
                ids.add(record.run.run_id)
            elif record.WhichOneof("record_type") == "history":
                items = (("/".join(item.nested_key) or item.key, item.value_json) for item in record.history.item)
                row = {name: float(value) for name, value in items if not name.startswith("_")}
                rows.append((record.history.step.num, row))
    return ids, sorted(rows, key=lambda row: row[0])


@pytest.fixture
def wandb_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")


@pytest.mark.usefixtures("wandb_offline")
def test_wandb_offline_keeps_one_run_with_steps_taken_again_in_both_files(
    killed_and_resumed, toy: ResolvedRun, tmp_path: Path
):
    killed_and_resumed("wandb")
    ids, rows = wandb_rows(tmp_path)
    assert ids == {f"toy-{toy.fingerprint[:8]}"}
    assert rows == sorted(EXPECTED[:3] + EXPECTED[1:], key=lambda row: row[0])


@pytest.mark.usefixtures("wandb_offline")
def test_wandb_online_is_not_sent_what_it_has(toy: ResolvedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Online, W&B resumes the run itself; here only what it says of that is put in its mouth."""
    import wandb

    monkeypatch.setattr(wandb.Run, "starting_step", property(lambda self: 3))
    (tracker,) = open_trackers(["wandb"], tmp_path, toy, 1)
    for step, values in EXPECTED[1:]:
        tracker.log(step, values)
    tracker.close()
    assert wandb_rows(tmp_path)[1] == EXPECTED[2:]


@pytest.mark.filterwarnings("ignore")
def test_trackio_holds_every_step_once_after_a_kill(
    killed_and_resumed, toy: ResolvedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when the package is imported
    pytest.importorskip("trackio")
    killed_and_resumed("trackio")
    with closing(sqlite3.connect(tmp_path / "trackio" / "audio-train.db")) as database:
        rows = database.execute("select run_name, step, metrics from metrics order by step").fetchall()
    assert {name for name, _, _ in rows} == {f"toy-{toy.fingerprint[:8]}"}
    assert [(step, json.loads(values)) for _, step, values in rows] == EXPECTED


def tone(step: int) -> np.ndarray:
    return np.sin(np.arange(800) * 0.1 * step).astype(np.float32)


def test_tensorboard_plays_the_samples_of_a_run(
    varied, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_device
):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    asked = []

    def sampler(folder: Path, datasets, count: int):
        asked.append((json.loads((folder / "provenance.json").read_text())["step"], list(datasets), count))
        yield "long/0", "speaks: a", tone(len(asked)), 8000

    for module in ("recorder", "launch"):
        monkeypatch.setattr(f"audio_train.training.{module}.find_sampler", lambda: sampler)
    resolved = varied(intervals=Intervals(evaluation=EvaluationSpec(("long",), 2, 1)), steps=4)
    run(resolved, data_root, tmp_path, trackers=["tensorboard"], num_samples=3, mesh_config=one_device)
    assert asked == [(2, ["long"], 3), (4, ["long"], 3)]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    sounds = events.Audio("audio/long/0")
    assert [(sound.step, sound.sample_rate, sound.content_type) for sound in sounds] == [
        (2, 8000, "audio/wav"),
        (4, 8000, "audio/wav"),
    ]
    for number, sound in enumerate(sounds, start=1):
        rate_hz, samples = scipy.io.wavfile.read(io.BytesIO(sound.encoded_audio_string))
        assert rate_hz == 8000
        np.testing.assert_allclose(samples / 32_767, tone(number), atol=1e-4)
    assert not (tmp_path / "exports").exists()


def test_samples_that_cannot_be_made_do_not_end_the_run(
    varied, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_device, capfd
):
    pytest.importorskip("tensorboard")

    def sampler(folder: Path, datasets, count: int):
        raise InputError("the codec has no weights here")

    for module in ("recorder", "launch"):
        monkeypatch.setattr(f"audio_train.training.{module}.find_sampler", lambda: sampler)
    resolved = varied(intervals=Intervals(evaluation=EvaluationSpec(("long",), 2, 1)), steps=2)
    assert run(resolved, data_root, tmp_path, trackers=["tensorboard"], num_samples=1, mesh_config=one_device).finished
    assert "step 2: no audio samples: the codec has no weights here" in capfd.readouterr().err


def test_samples_need_a_tracker_and_a_package_that_makes_them(toy, data_root: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("audio_train.tracking.samples.entry_points", lambda group: [])
    with pytest.raises(InputError, match="must have a package that generates audio"):
        run(toy, data_root, tmp_path, num_samples=1)
    monkeypatch.setattr("audio_train.training.launch.find_sampler", lambda: None)
    with pytest.raises(InputError, match="must have a tracker that plays it"):
        run(toy, data_root, tmp_path, num_samples=1)
    assert not (tmp_path / "resolved.json").exists()


def test_wandb_gets_sounds_in_the_row_of_their_step(toy: ResolvedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sent = []
    module = SimpleNamespace(
        init=lambda **options: SimpleNamespace(starting_step=0),
        log=lambda row, step, **options: sent.append((step, row)),
        Audio=lambda data, sample_rate, caption: (data.tolist(), sample_rate, caption),
        finish=lambda: None,
    )
    monkeypatch.setattr("audio_train.tracking.trackers._imported", lambda package, name: module)
    monkeypatch.setattr("audio_train.tracking.trackers.importlib.util.find_spec", lambda name: True)
    both = MultiTracker([*open_trackers(["wandb"], tmp_path, toy, 0), JsonLines(tmp_path / "metrics.jsonl", 0)])
    both.log(2, {"loss": 1.5})
    both.log_audio(2, [("long/0", "speaks: a", np.zeros(2, np.float32), 8000)])
    both.close()
    assert sent == [(2, {"loss": 1.5, "audio/long/0": ([0.0, 0.0], 8000, "speaks: a")})]
