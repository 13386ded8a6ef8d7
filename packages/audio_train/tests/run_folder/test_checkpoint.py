import shutil
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from audio_data import InputError
from audio_train import Checkpoints, ResolvedRun
from audio_train.run_folder.checkpoint import flat_paths
from audio_train.training.state import TrainState


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
        assert checkpoints.latest() == 2
        checkpoints.save(state, 3)


def test_another_run_s_checkpoint_is_refused(state: TrainState, tmp_path: Path):
    with Checkpoints(tmp_path, "a" * 64, keep_last=2) as checkpoints:
        checkpoints.save(state, 1)
        checkpoints.wait()
    with (
        Checkpoints(tmp_path, "b" * 64) as others,
        pytest.raises(InputError, match="aaaaaaaaaaaa, not to bbbbbbbbbbbb"),
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
    def kill(path: Path) -> None:
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


def test_arrays_are_named_by_their_place(state: TrainState):
    paths = flat_paths(state)
    assert paths["model.layers.query"].shape == (2, 16, 16)
    assert "step" in paths
    assert len(paths) == len(jax.tree.leaves(state))
