import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from audio_data import InputError
from audio_train import Checkpoints, ResolvedRun
from audio_train.run_folder.checkpoint import flat_paths
from audio_train.state import TrainState


@pytest.fixture
def state(toy: ResolvedRun, fresh_state) -> TrainState:
    return fresh_state(toy)


def add_one(state: TrainState) -> TrainState:
    return jax.tree.map(lambda leaf: leaf + np.asarray(1, leaf.dtype), state)


def test_a_save_holds_the_state_as_it_was_though_the_next_step_overwrites_it(state: TrainState, tmp_path: Path):
    overwrite = jax.jit(add_one, donate_argnums=0)
    expected = jax.device_get(state)
    current = jax.tree.map(jax.numpy.copy, state)
    with Checkpoints(tmp_path, "f", keep_last=3) as checkpoints:
        checkpoints.save(current, 1)
        for _ in range(20):
            current = overwrite(current)
        jax.block_until_ready(current)
        checkpoints.wait()
        restored = checkpoints.restore(1, current)
    assert eqx.tree_equal(jax.device_get(restored), expected)


def test_the_newest_are_kept_and_later_ones_can_be_given_up(state: TrainState, tmp_path: Path):
    with Checkpoints(tmp_path, "f", keep_last=2) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(state, step)
            checkpoints.wait()
        assert checkpoints.steps() == [2, 3]
        checkpoints.discard_after(2)
        assert checkpoints.steps() == [2]
        checkpoints.save(state, 3)


def test_another_run_s_checkpoint_is_refused(state: TrainState, tmp_path: Path):
    with Checkpoints(tmp_path, "a" * 64, keep_last=2) as checkpoints:
        checkpoints.save(state, 1)
        checkpoints.wait()
    with (
        Checkpoints(tmp_path, "b" * 64) as others,
        pytest.raises(InputError, match="bbbbbbbbbbbb, got aaaaaaaaaaaa"),
    ):
        others.restore(1, state)


def test_a_half_written_checkpoint_is_not_listed_and_is_cleared_away(state: TrainState, tmp_path: Path):
    with Checkpoints(tmp_path, "f", keep_last=3) as checkpoints:
        checkpoints.save(state, 1)
    half = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "checkpoints" / "1", half)
    shutil.rmtree(half / "state")
    with Checkpoints(tmp_path, "f", keep_last=3) as checkpoints:
        assert checkpoints.steps() == [1]
        checkpoints.save(state, 2)
        checkpoints.wait()
        assert checkpoints.steps() == [1, 2]
    assert not half.exists()


@pytest.mark.parametrize("lost", ["run", "state", "."])
def test_a_checkpoint_that_lacks_a_part_is_not_listed_and_gives_way(state: TrainState, tmp_path: Path, lost: str):
    with Checkpoints(tmp_path, "f", keep_last=3) as checkpoints:
        checkpoints.save(state, 1)
    part = tmp_path / "checkpoints" / "2"
    shutil.copytree(tmp_path / "checkpoints" / "1", part)
    shutil.rmtree(part / lost)
    part.mkdir(exist_ok=True)
    with Checkpoints(tmp_path, "f", keep_last=3) as checkpoints:
        assert checkpoints.steps() == [1]
        checkpoints.discard_after(1)
        assert not part.exists()
        checkpoints.save(add_one(state), 2)
        checkpoints.wait()
        assert checkpoints.steps() == [1, 2]
        assert eqx.tree_equal(jax.device_get(checkpoints.restore(2, state)), jax.device_get(add_one(state)))


def test_a_kill_while_later_checkpoints_are_removed_leaves_none_that_could_be_chosen(
    state: TrainState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def kill(path: Path, **options: object) -> None:
        raise KeyboardInterrupt

    with Checkpoints(tmp_path, "f", keep_last=3) as checkpoints:
        for step in (1, 2):
            checkpoints.save(state, step)
            checkpoints.wait()
        with monkeypatch.context() as killed:
            killed.setattr(shutil, "rmtree", kill)
            with pytest.raises(KeyboardInterrupt):
                checkpoints.discard_after(1)
    with Checkpoints(tmp_path, "f", keep_last=3) as checkpoints:
        assert checkpoints.steps() == [1]
        checkpoints.save(state, 2)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"1", "2"}


def test_a_full_disk_is_one_line(state: TrainState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # What TensorStore raises; a disk that is really full leaves Orbax's own threads in disorder.
    message = "RESOURCE_EXHAUSTED: Error writing \"model.embedding/0\": No space left on device [os_error_code='28']"

    def fail(manager: ocp.CheckpointManager) -> None:
        raise ValueError(message)

    with Checkpoints(tmp_path, "f", keep_last=2) as checkpoints:
        checkpoints.save(state, 1)
        with monkeypatch.context() as full:
            full.setattr(ocp.CheckpointManager, "wait_until_finished", fail)
            with pytest.raises(InputError, match=r"\(No space left on device\); free some space.*audio-train resume"):
                checkpoints.wait()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, toy: ResolvedRun, fresh_state) -> Path:
    """A folder with checkpoints 1 and 2; tests work on copies."""
    folder = tmp_path_factory.mktemp("saved")
    with Checkpoints(folder, "f", keep_last=3) as checkpoints:
        for step in (1, 2):
            checkpoints.save(fresh_state(toy), step)
            checkpoints.wait()
    return folder


def damages(folder: Path) -> Iterator[str]:
    """Damage each file of a checkpoint in every way, one at a time: bits, cuts, zeros, removed, and files more."""
    chosen = random.Random(0)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name, content = str(path.relative_to(folder)), path.read_bytes()
        middle, last = len(content) // 2, len(content) - 1
        for at in {0, middle, last, *(chosen.randrange(len(content)) for _ in range(5))}:
            path.write_bytes(content[:at] + bytes([content[at] ^ 1 << chosen.randrange(8)]) + content[at + 1 :])
            yield f"{name}: bit of byte {at}"
        changed = {"cut": content[:middle], "empty": b"", "short": content[:last], "longer": content + b"\0"}
        for what, other in {**changed, "zeros": content[:middle] + bytes(len(content) - middle)}.items():
            path.write_bytes(other)
            yield f"{name}: {what}"
        path.unlink()
        yield f"{name}: removed"
        path.write_bytes(content)
    for more in (folder / "more", folder / "state" / "d" / "more"):
        more.write_bytes(b"x")
        yield "a file more"
        more.unlink()
    (folder / "state" / "link").symlink_to("/nowhere")
    yield "a link more"
    (folder / "state" / "link").unlink()


@pytest.mark.parametrize(
    ("here", "elsewhere", "all_say"),
    [(None, None, None), ("a", None, "a"), (None, "b", "b"), ("a", "b", "a"), ("x" * 2000, None, "x" * 1024)],
)
def test_what_one_process_finds_wrong_all_say(here, elsewhere, all_say, monkeypatch: pytest.MonkeyPatch):
    """Two processes, of which the second is played by the test; one alone asks nobody."""
    from audio_train.run_folder import checkpoint

    def gather(row: np.ndarray) -> np.ndarray:
        return np.stack([row, np.frombuffer((elsewhere or "").encode().ljust(1024, b"\0"), np.uint8)])

    monkeypatch.setattr(checkpoint.multihost_utils, "process_allgather", gather)
    assert checkpoint._first_of_all(here) == here
    monkeypatch.setattr(checkpoint.jax, "process_count", lambda: 2)
    assert checkpoint._first_of_all(here) == all_say


def test_no_damage_of_any_file_is_restored(saved: Path, state: TrainState, tmp_path: Path):
    copied = tmp_path / "run"
    shutil.copytree(saved, copied)
    folder, tried = copied / "checkpoints" / "2", 0
    with Checkpoints(copied, "f") as checkpoints:
        assert checkpoints.damage(2) is None
        expected = jax.device_get(checkpoints.restore(2, state))
        for what in damages(folder):
            tried += 1
            reason = checkpoints.damage(2)
            if reason is None:  # white space between two values of a listing, say
                assert "checksums.json" in what, what
                assert eqx.tree_equal(jax.device_get(checkpoints.restore(2, state)), expected), what
            else:
                assert "\n" not in reason, what
                if tried % 40 == 0:
                    with pytest.raises(InputError, match=r"checkpoints/2` is damaged \("):
                        checkpoints.restore(2, state)
                    with pytest.raises(InputError, match=r"checkpoints/2` is damaged \("):
                        checkpoints.restore_part(2, {"step": state.step})
        assert checkpoints.damage(2) is None
    assert tried > 150


def test_the_newest_whole_checkpoint_is_used_and_damaged_ones_are_named(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    blob = max((tmp_path / "checkpoints" / "2").rglob("*"), key=lambda path: path.stat().st_size)
    content = bytearray(blob.read_bytes())
    content[len(content) // 3] ^= 4
    blob.write_bytes(content)
    with Checkpoints(tmp_path, "f") as checkpoints:
        assert checkpoints.newest_whole() == 1
        told = capsys.readouterr().err
        assert "checkpoints/2` is damaged" in told
        assert blob.name in told
        assert "using step 1" in told
        (tmp_path / "checkpoints" / "1" / "run" / "metadata").unlink()
        with pytest.raises(InputError, match=r"no checkpoint in .* is intact \(2: .*; 1: parts are missing\)"):
            checkpoints.newest_whole()


def test_one_without_checksums_opens_with_a_word_and_its_damage_is_one_line(
    saved: Path, state: TrainState, tmp_path: Path, capsys: pytest.CaptureFixture[str], refusal
):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "checkpoints" / "2"
    (folder / "checksums.json").unlink()
    with Checkpoints(tmp_path, "f") as checkpoints:
        assert checkpoints.damage(2) == "the list `checksums.json` is missing"
        (folder / "run" / "metadata").write_text(json.dumps({"fingerprint": "f", "step": 2}))  # of an earlier version
        assert checkpoints.newest_whole() == 2
        assert "checkpoints/2` has no checksums" in capsys.readouterr().err
        assert eqx.tree_equal(jax.device_get(checkpoints.restore(2, state)), jax.device_get(state))
        refused = 0
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            content = path.read_bytes()
            for changed in (content[: len(content) // 2], bytes(len(content)), content[::-1]):
                path.write_bytes(changed)
                message = refusal(lambda: checkpoints.restore(2, state, checked=True))
                refused += message is not None
                assert message is None or str(folder) in message
            path.write_bytes(content)
        assert refused >= 10


def test_a_checkpoint_under_another_step_s_name_is_refused(saved: Path, state: TrainState, tmp_path: Path):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    (tmp_path / "checkpoints" / "2").rename(tmp_path / "checkpoints" / "7")
    with Checkpoints(tmp_path, "f") as checkpoints, pytest.raises(InputError, match="got 2; rename"):
        checkpoints.restore(7, state)


def test_a_kill_before_the_checksums_are_written_leaves_no_checkpoint(
    state: TrainState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def kill(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with Checkpoints(tmp_path, "f", keep_last=3) as checkpoints:
        checkpoints.save(state, 1)
        checkpoints.wait()
        with monkeypatch.context() as killed:
            killed.setattr("audio_train.run_folder.checkpoint.write_checksums", kill)
            checkpoints.save(state, 2)
            with pytest.raises(InputError, match="No space left"):
                checkpoints.wait()
    with Checkpoints(tmp_path, "f", keep_last=3) as checkpoints:
        assert checkpoints.newest_whole() == 1
        checkpoints.save(state, 2)
        checkpoints.wait()
        assert checkpoints.newest_whole() == 2
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"1", "2"}


def test_a_user_s_file_among_later_checkpoints_is_not_removed(saved: Path, tmp_path: Path):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    note = tmp_path / "checkpoints" / "2" / "notes.txt"
    note.write_text("mine")
    with (
        Checkpoints(tmp_path, "f", keep_last=3) as checkpoints,
        pytest.raises(InputError, match=r"must hold only a checkpoint, .*got `notes\.txt`"),
    ):
        checkpoints.discard_after(1)
    assert note.read_text() == "mine"


def test_a_plain_error_of_the_disk_is_one_line_and_a_bug_is_not(
    state: TrainState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def failing(error: Exception):
        def save(manager: ocp.CheckpointManager, *arguments: object, **options: object) -> None:
            raise error

        return save

    with Checkpoints(tmp_path, "f", keep_last=2) as checkpoints:
        for error, expected, message in (
            (OSError(28, "No space left on device"), InputError, r"No space left on device\); free some space"),
            (PermissionError(13, "Permission denied"), InputError, "Permission denied"),
            (ValueError("a bug"), ValueError, "^a bug$"),
        ):
            with monkeypatch.context() as full:
                full.setattr(ocp.CheckpointManager, "save", failing(error))
                with pytest.raises(expected, match=message):
                    checkpoints.save(state, 1)


def test_arrays_are_named_by_their_place(state: TrainState):
    paths = flat_paths(state)
    assert paths["model.layers.query"].shape == (2, 16, 16)
    assert "step" in paths
    assert len(paths) == len(jax.tree.leaves(state))
