"""What a run's folder says of itself, and what a full disk leaves of that."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from audio_data import InputError
from audio_train import ResolvedRun
from audio_train.run_folder.folder import claim, last_data_root, locked, record_launch, require_run, saved_run


def launch(folder: Path, data: str) -> None:
    record_launch(folder, step=0, data_root=Path(data), devices={"count": 1})


def test_a_claimed_folder_gives_the_run_back(toy: ResolvedRun, tmp_path: Path):
    assert saved_run(tmp_path) is None
    with pytest.raises(InputError, match="holds no run"):
        require_run(tmp_path)
    claim(tmp_path, toy)
    assert require_run(tmp_path).fingerprint == toy.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["resolved.json"]


def test_the_last_launch_counts(tmp_path: Path):
    with pytest.raises(InputError, match="no run that was started"):
        last_data_root(tmp_path)
    launch(tmp_path, "/data/one")
    launch(tmp_path, "/data/two")
    assert last_data_root(tmp_path) == Path("/data/two")
    lines = [json.loads(line) for line in (tmp_path / "launches.jsonl").read_text().splitlines()]
    assert [line["data"] for line in lines] == ["/data/one", "/data/two"]
    assert set(lines[0]["packages"]) >= {"audio-train", "jax", "orbax-checkpoint"}


def test_one_process_at_a_time(tmp_path: Path):
    with locked(tmp_path), pytest.raises(InputError, match="in use by another process"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_a_full_disk_is_one_line_and_leaves_what_was_there(
    toy: ResolvedRun, tmp_path: Path, small_files: Callable[[int], AbstractContextManager[None]]
):
    claim(tmp_path, toy)
    launch(tmp_path, "/data/one")
    before = {name: (tmp_path / name).read_bytes() for name in ("resolved.json", "launches.jsonl")}
    with small_files(100):
        with pytest.raises(InputError, match=r"resolved\.json"):
            claim(tmp_path, toy)
        with pytest.raises(InputError, match=r"launches\.jsonl"):
            launch(tmp_path, "/data/two")
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
