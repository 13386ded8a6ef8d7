"""Checkpoints of a run: asynchronous, atomic, and readable without this package's classes.

A checkpoint is a step number, a flat mapping from a parameter's path to its array, and the fingerprint of the run. The
position in the data is the step number. Orbax writes to a temporary folder and renames it, so a checkpoint either is
there as a whole or is not listed; folders that a kill left behind are removed at the next start.
"""

import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from audio_data import InputError
from audio_train.sharding.processes import is_first, wait_for_all
from audio_train.training.state import TrainState

FOLDER = "checkpoints"


class Checkpoints:
    """The checkpoints of one run.

    Args:
        run_folder: the run's folder; checkpoints lie in its `checkpoints/`.
        fingerprint: of the run; written into each checkpoint and required of each that is read.
        keep_last: checkpoints kept after a new one is complete; None only reads.
        keep_every_steps: checkpoints whose step is a multiple are kept as well; None for none.
    """

    def __init__(
        self, run_folder: Path, fingerprint: str, keep_last: int | None = None, keep_every_steps: int | None = None
    ):
        self.folder = run_folder / FOLDER
        self.fingerprint = fingerprint
        # Orbax reports every phase of every save there; what fails is raised as well.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep_last,
            keep_period=keep_every_steps,
            create=keep_last is not None,
            read_only=keep_last is None,
            cleanup_tmp_directories=keep_last is not None,
            enable_async_checkpointing=keep_last is not None,
        )
        self._manager = ocp.CheckpointManager(self.folder.resolve(), options=options)

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, ascending; one that was copied or removed in part is none."""
        return sorted(filter(self._is_complete, self._manager.all_steps()))

    def latest(self) -> int | None:
        """Step of the newest complete checkpoint, or None."""
        return max(self.steps(), default=None)

    def save(self, state: TrainState, step: int) -> None:
        """Start saving a state; returns once its arrays are copied, before they are on disk.

        Args:
            state: the state; it may be donated to the next step right after.
            step: `state.step`, known to the caller without waiting for the device.

        Raises:
            InputError: this save, or the one before, could not be written.
        """
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(flat_paths(state)),
            run=ocp.args.JsonSave({"fingerprint": self.fingerprint, "step": step}),
        )
        with self._writing():
            self._manager.save(step, args=items)

    def restore(self, step: int, like: TrainState) -> TrainState:
        """Read a state.

        Args:
            step: one of `steps()`.
            like: arrays or shapes with the shardings wanted, of the structure to read.

        Returns:
            The state, placed as `like` is.

        Raises:
            InputError: the checkpoint belongs to another run.
        """
        self.check_run(step)
        shapes = jax.tree.map(_abstract, flat_paths(like))
        arguments = ocp.args.Composite(state=ocp.args.StandardRestore(shapes))
        arrays = self._manager.restore(step, args=arguments)["state"]
        return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in flat_paths(like)])

    def check_run(self, step: int) -> None:
        """Check that a checkpoint belongs to the run.

        Args:
            step: one of `steps()`.

        Raises:
            InputError: it belongs to another; both fingerprints are named.
        """
        saved = self._manager.restore(step, args=ocp.args.Composite(run=ocp.args.JsonRestore()))["run"]
        if saved["fingerprint"] != self.fingerprint:
            raise InputError(
                f"checkpoint `{self.folder / str(step)}` belongs to the run with fingerprint "
                f"{saved['fingerprint'][:12]}, not to {self.fingerprint[:12]}; go on with that run, or go elsewhere."
            )

    def restore_part(self, step: int, like: Mapping[str, PyTree]) -> dict[str, jax.Array]:
        """Read some arrays of a checkpoint, whose run may be another; the rest is not touched.

        Args:
            step: one of `steps()`.
            like: arrays or shapes with the shardings wanted, by their paths.

        Raises:
            InputError: the checkpoint lacks one of them, or has it in another shape.
        """
        shapes = {name: _abstract(leaf) for name, leaf in like.items()}
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
            folder = self.folder.resolve() / str(step) / "state"
            held = reader.metadata(folder).item_metadata.tree
            for name, shape in shapes.items():
                if name not in held or held[name].shape != shape.shape:
                    found = held[name].shape if name in held else "no such array"
                    raise InputError(f"checkpoint `{folder.parent}` has `{name}` of {shape.shape}, got {found!r}.")
            arguments = ocp.args.PyTreeRestore(
                item=shapes, restore_args=ocp.checkpoint_utils.construct_restore_args(shapes), partial_restore=True
            )
            return reader.restore(folder, args=arguments)

    def discard_after(self, step: int) -> None:
        """Remove the checkpoints of later steps, whole or not, so that the run can be taken up from an earlier one."""
        if is_first():
            for later in self._manager.all_steps():
                if later > step:
                    # What a kill leaves of a removal may not pass for the newest checkpoint; Orbax clears this name.
                    doomed = self.folder / f"{later}.orbax-checkpoint-tmp"
                    (self.folder / str(later)).rename(doomed)
                    shutil.rmtree(doomed)
        wait_for_all("later checkpoints are given up")
        self._manager.reload()

    def wait(self) -> None:
        """Return once every save is on disk.

        Raises:
            InputError: one of them could not be written.
        """
        with self._writing():
            self._manager.wait_until_finished()

    def _is_complete(self, step: int) -> bool:
        parts = ("run/metadata", "state/manifest.ocdbt")
        return all((self.folder / str(step) / part).is_file() for part in parts)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            # TensorStore raises a ValueError that carries the number of the system's error in its text.
            code = re.search(r"os_error_code='(\d+)'", str(error))
            if isinstance(error, ValueError) and code is None:
                raise
            reason = error if code is None else os.strerror(int(code.group(1)))
            raise InputError(
                f"cannot write a checkpoint to `{self.folder}` ({reason}); free some space, then go on from the newest "
                f"whole one with `audio-train resume {self.folder.parent}`."
            ) from error

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: object) -> None:
        with self._writing():  # closing waits for what is being saved
            self._manager.close()


def flat_paths(tree: PyTree) -> dict[str, PyTree]:
    """The leaves of a tree by their path, such as `model.layers.query`, in the tree's order."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _abstract(leaf: jax.Array | jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
