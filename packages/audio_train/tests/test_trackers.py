from pathlib import Path

import numpy as np
import pytest

from audio_data import InputError
from audio_train import ResolvedRun, run
from audio_train.trackers import Several, check_trackers, flat_numbers, open_trackers
from audio_train.tracking import JsonLines, read_metrics


def test_numbers_are_named_by_their_place():
    values = {"loss": np.float32(1.5), "nll": {"text": 2.0, "codebook_0": 3}, "records": ["a"], "skipped": True}
    assert dict(flat_numbers(values)) == {"loss": 1.5, "nll/text": 2.0, "nll/codebook_0": 3.0, "skipped": 1.0}


def test_an_unknown_tracker_and_one_that_is_not_installed_are_named(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match="there is no tracker `tensorbord`; did you mean tensorboard"):
        check_trackers(["tensorbord"])
    monkeypatch.setattr("audio_train.trackers.importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package `wandb`: pip install 'audio-train\[wandb\]'"):
        check_trackers(["wandb"])


def test_a_run_is_refused_before_it_compiles_where_its_tracker_is_absent(
    toy: ResolvedRun, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("audio_train.trackers.importlib.util.find_spec", lambda name: None)
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
