"""What a run's folder says of itself, and what a full disk leaves of that."""

import json
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from audio_data import InputError
from audio_train import ResolvedRun
from audio_train.run_folder.folder import check_claim, claim, last_data_root, record_launch, require_run, saved_run


def launch(folder: Path, data: str) -> None:
    record_launch(folder, step=0, data_root=Path(data), devices={"count": 1})


def test_a_claimed_folder_gives_the_run_back(toy: ResolvedRun, tmp_path: Path):
    assert saved_run(tmp_path) is None
    with pytest.raises(InputError, match="must hold a run"):
        require_run(tmp_path)
    claim(tmp_path, toy)
    assert require_run(tmp_path).fingerprint == toy.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["resolved.json"]


def test_the_last_launch_counts(tmp_path: Path):
    with pytest.raises(InputError, match="must hold a run that was launched"):
        last_data_root(tmp_path)
    launch(tmp_path, "/data/one")
    launch(tmp_path, "/data/two")
    assert last_data_root(tmp_path) == Path("/data/two")
    lines = [json.loads(line) for line in (tmp_path / "launches.jsonl").read_text().splitlines()]
    assert [line["data"] for line in lines] == ["/data/one", "/data/two"]
    assert set(lines[0]["packages"]) >= {"audio-train", "jax", "orbax-checkpoint"}


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


@pytest.mark.parametrize("name", ["metrics.jsonl", "launches.jsonl", "checkpoints", "export", "tensorboard"])
def test_files_of_a_user_under_the_names_of_a_run_s_are_not_taken_over(toy: ResolvedRun, tmp_path: Path, name: str):
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=rf"got `{name}` without resolved\.json"):
        check_claim(tmp_path, toy, saved_run(tmp_path))
    assert (tmp_path / name).read_text() == "mine"


def damaged(content: bytes, seed: int) -> bytes:
    """A file after one bit flipped, a cut, zeros over a part, bytes that are not UTF-8, or another type in a field."""
    chosen = random.Random(seed)
    at, kind = chosen.randrange(len(content)), seed % 5
    if kind == 0:
        return content[:at] + bytes([content[at] ^ 1 << chosen.randrange(8)]) + content[at + 1 :]
    if kind == 1:
        return content[:at]
    if kind == 2:
        return content[:at] + bytes(min(40, len(content) - at)) + content[at + 40 :]
    if kind == 3:
        return content[:at] + b"\xff\xfe" + content[at:]
    values = [b"null", b"[]", b'"x"', b"-1", b"NaN", b"1e999", b"{}", b"true"]
    colons = [i for i, byte in enumerate(content) if byte == ord(":")]
    start = chosen.choice(colons) + 1
    end = min(i for i in (content.find(c, start) for c in (b",", b"}")) if i >= 0)
    return content[:start] + chosen.choice(values) + content[end:]


def test_a_damaged_resolved_json_is_one_line_or_the_same_run(toy: ResolvedRun, tmp_path: Path, refusal):
    claim(tmp_path, toy)
    path = tmp_path / "resolved.json"
    whole = path.read_bytes()
    found = []
    for seed in range(200):
        path.write_bytes(damaged(whole, seed))
        message = refusal(lambda: found.append(saved_run(tmp_path)))
        if message is None:
            assert found.pop().fingerprint == toy.fingerprint, seed
        else:
            assert str(path) in message, (seed, message)
            assert "give another folder" in message, (seed, message)


def test_a_damaged_launches_file_is_one_line(tmp_path: Path, refusal):
    launch(tmp_path, "/data/one")
    path = tmp_path / "launches.jsonl"
    whole = path.read_bytes()
    refused = 0
    for seed in range(100):
        path.write_bytes(damaged(whole, seed))
        message = refusal(lambda: last_data_root(tmp_path)) or refusal(lambda: launch(tmp_path, "/data/two"))
        refused += message is not None
        assert message is None or str(tmp_path) in message, (seed, message)
    assert refused > 50
