"""Checkpoints of a run: asynchronous, atomic, and readable without this package's classes.

A checkpoint is a step number, a flat mapping from paths to arrays, and the fingerprint of the run. The position in the
data is the step number. Orbax writes to a temporary folder; when all files are written, their checksums are added and
the folder is renamed. A checkpoint is therefore either complete or not listed. Temporary folders of a killed run are
removed at the next launch. Checksums are compared before a checkpoint is restored.
"""

import inspect
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jaxtyping import PyTree
from orbax.checkpoint.path import atomicity

from audio_data import InputError, check_utf8, file_errors, flush, from_json, read_json, to_json
from audio_model import CHECKSUMS_FILE, find_damage, write_checksums
from audio_train.renames import RENAMED_ARRAYS
from audio_train.run_folder.folder import CHECKPOINTS_FOLDER
from audio_train.sharding.processes import is_first, wait_for_all
from audio_train.state import TrainState
from audio_train.tracking.metrics import MetricsState

_TEMPORARY = ".orbax-checkpoint-tmp"
"""Suffix of Orbax's temporary folders, which Orbax removes at the next launch."""
_DISCARDED = ".discarded-"
"""Prefix of checkpoints that are being deleted; Orbax ignores such folders."""
_PARTS = {"run", "state", "_CHECKPOINT_METADATA", "commit_success.txt", CHECKSUMS_FILE}
"""Names in the folder of a checkpoint."""


@dataclass(frozen=True)
class _RunItem:
    """The item `run` of a checkpoint: fingerprint of the run, step, whether it has checksums, state of the metrics."""

    fingerprint: str
    step: int
    checksums: bool = False
    metrics: MetricsState | None = None


class _ChecksummedPath(atomicity.AtomicRenameTemporaryPath):
    """A temporary folder of Orbax that is renamed after the checksums of its files are on disk.

    Orbax calls `finalize` in the thread that saves, and only in the first process, when all processes have written.
    """

    async def finalize(self) -> None:
        """Complete a checkpoint. Its items are renamed as Orbax does; the checkpoint has the checksums of all."""
        final = self.get_final()
        if final.parent.name.endswith(_TEMPORARY):
            await super().finalize()
            return
        # Orbax writes its last file while it renames.
        complete = self._final_path = final.with_name(f"{final.name}.complete{_TEMPORARY}")
        await super().finalize()
        write_checksums(Path(complete))
        os.rename(complete, final)
        flush(Path(final.parent))


class _Kept:
    """Policy of Orbax: keep the newest checkpoints, those of every so many steps, and the best one."""

    def __init__(self, keep_last: int, keep_every_steps: int | None):
        self._keep_last, self._keep_every_steps = keep_last, keep_every_steps
        self.best: int | None = None

    def should_preserve(self, checkpoints: Sequence[Any], *, context: object) -> list[bool]:
        """Tell for each checkpoint, oldest first, whether it is kept. Orbax asks when a newer one is being saved."""
        del context
        newest, every = len(checkpoints) - self._keep_last, self._keep_every_steps
        return [
            index >= newest or (every is not None and found.step % every == 0) or found.step == self.best
            for index, found in enumerate(checkpoints)
        ]


class Checkpoints:
    """The checkpoints of one run.

    Args:
        run_folder: Folder of the run; checkpoints are in its `checkpoints/`.
        fingerprint: Fingerprint of the run; written into each checkpoint and required of each that is read.
        keep_last: Number of newest checkpoints to keep; None for read-only use.
        keep_every_steps: Checkpoints whose step is a multiple are kept too; None for none.

    Attributes:
        metrics: Function that returns the state of `metrics.jsonl` for a new checkpoint; None without such a file.
    """

    def __init__(
        self, run_folder: Path, fingerprint: str, keep_last: int | None = None, keep_every_steps: int | None = None
    ):
        self.folder = run_folder / CHECKPOINTS_FOLDER
        check_utf8(self.folder.resolve())
        self.fingerprint = fingerprint
        self.metrics: Callable[[], MetricsState] | None = None
        # Orbax logs every phase of every save; failures are raised anyway.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        if keep_last is not None and is_first():
            for left in self.folder.glob(f"{_DISCARDED}*"):
                shutil.rmtree(left)
        self._kept = None if keep_last is None else _Kept(keep_last, keep_every_steps)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self._kept,
            create=keep_last is not None,
            read_only=keep_last is None,
            cleanup_tmp_directories=keep_last is not None,
            enable_async_checkpointing=keep_last is not None,
            temporary_path_class=_ChecksummedPath,
        )
        # Trained float32 weights compress to 92 % only, and compression takes longer than hashing.
        handlers = {
            "state": ocp.PyTreeCheckpointHandler(use_compression=False),
            "run": ocp.JsonCheckpointHandler(),
        }
        self._manager = ocp.CheckpointManager(self.folder.resolve(), options=options, item_handlers=handlers)

    def steps(self) -> list[int]:
        """Return the steps of the checkpoints that have all parts, ascending; their content is not read."""
        return sorted(filter(self._is_complete, self._manager.all_steps()))

    def newest_whole(self) -> int | None:
        """Step of the newest intact checkpoint; None if there is no checkpoint.

        Damaged checkpoints are reported on standard error. All processes of a run call this together and share the
        work.

        Raises:
            InputError: There are checkpoints, but all are damaged.
        """
        numbered = sorted((int(path.name) for path in self.folder.glob("*") if path.name.isdecimal()), reverse=True)
        damage: dict[int, str] = {}
        for step in numbered:
            reason = self.damage(step)
            if reason is None:
                for damaged, why in damage.items() if is_first() else ():
                    click.echo(
                        f"checkpoint `{self.folder / str(damaged)}` is damaged ({why}); using step {step}", err=True
                    )
                return step
            damage[step] = reason
        if not damage:
            return None
        # They may be days of training: a restart must not begin again and overwrite them.
        found = "; ".join(f"{step}: {reason}" for step, reason in damage.items())
        raise InputError(
            f"no checkpoint in `{self.folder}` is intact ({found}), as after an interrupted copy; copy them again, or "
            "remove them to start again."
        )

    def damage(self, step: int) -> str | None:
        """Describe the damage of a checkpoint's files; None if every byte is as written.

        A checkpoint written without checksums counts as intact if it has all parts; a line on standard error reports
        that it was not checked. All processes of a run call this together and share the work.

        Args:
            step: Step of the checkpoint.
        """
        if not self._is_complete(step):
            return "parts are missing"
        try:
            if not _has_checksums(self.folder / str(step)):
                if is_first():
                    click.echo(f"checkpoint `{self.folder / str(step)}` has no checksums and is not checked", err=True)
                return None
            share = (jax.process_index(), jax.process_count())
            reason = find_damage(self.folder / str(step), share)
        except (OSError, InputError) as error:
            reason = str(error)
        return _first_of_all(reason)

    def check(self, step: int) -> None:
        """Check that the files of a checkpoint are as written.

        Args:
            step: Step of the checkpoint.

        Raises:
            InputError: A file is damaged; the message names it.
        """
        reason = self.damage(step)
        if reason is not None:
            raise _damaged(self.folder / str(step), reason)

    def keep(self, step: int | None) -> None:
        """Keep the checkpoint of a step until another one is kept instead, whose files are on disk first.

        Args:
            step: Step of the checkpoint, which may be saved later; None for none.
        """
        if self._kept is not None:
            self._kept.best = step

    def save(self, state: TrainState, step: int) -> None:
        """Start saving a state; returns when its arrays are copied, before they are on disk.

        Args:
            state: The state; it may be donated to the next step afterwards.
            step: `state.step`, which the caller knows without waiting for the device.

        Raises:
            InputError: This save or the previous one could not be written.
        """
        item = _RunItem(self.fingerprint, step, checksums=True, metrics=self.metrics() if self.metrics else None)
        items = ocp.args.Composite(
            state=ocp.args.PyTreeSave(flat_paths(state)),
            run=ocp.args.JsonSave(to_json(item)),
        )
        with self._writing():
            self._manager.save(step, args=items)

    def restore(self, step: int, like: TrainState, *, checked: bool = False) -> TrainState:
        """Read a state.

        Args:
            step: One of `steps()`.
            like: Arrays or shapes with the wanted shardings, with the structure of the state.
            checked: Whether the caller has already checked the files, with `newest_whole` or `check`.

        Returns:
            The state, sharded as `like`.

        Raises:
            InputError: The checkpoint belongs to another run, or is damaged.
        """
        if not checked:
            self.check(step)
        self.check_run(step)
        leaves = flat_paths(like)
        arrays = self._read(step, leaves, partial=False)
        return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in leaves])

    def check_run(self, step: int) -> None:
        """Check that a checkpoint belongs to the run.

        Args:
            step: One of `steps()`.

        Raises:
            InputError: It belongs to another run, or was saved at another step.
        """
        saved = _run_item(self.folder / str(step))
        if saved.fingerprint != self.fingerprint:
            raise InputError(
                f"checkpoint `{self.folder / str(step)}` must belong to the run with fingerprint "
                f"{self.fingerprint[:12]}, got {saved.fingerprint[:12]}; resume that run, or give another folder."
            )
        if saved.step != step:
            raise InputError(
                f"checkpoint `{self.folder / str(step)}` must be of step {step}, got {saved.step}; rename its folder "
                "to that."
            )

    def metrics_at(self, step: int) -> MetricsState | None:
        """State of `metrics.jsonl` when a checkpoint was saved; None if unknown."""
        return _run_item(self.folder / str(step)).metrics

    def restore_part(self, step: int, like: Mapping[str, PyTree], *, checked: bool = False) -> dict[str, jax.Array]:
        """Read some arrays of a checkpoint, which may belong to another run.

        Args:
            step: One of `steps()`.
            like: Arrays or shapes with the wanted shardings, by path.
            checked: Whether the caller has already checked the files.

        Raises:
            InputError: An array is missing or has another shape, or the checkpoint is damaged.
        """
        if not checked:
            self.check(step)
        return self._read(step, like, partial=True)

    def _read(self, step: int, like: Mapping[str, PyTree], *, partial: bool) -> dict[str, jax.Array]:
        shapes = {
            name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding) for name, leaf in like.items()
        }
        with _Reading(self.folder / str(step)), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
            folder = self.folder.resolve() / str(step) / "state"
            held = reader.metadata(folder).item_metadata.tree
            stored = {name: name if name in held else RENAMED_ARRAYS.get(name, name) for name in shapes}
            for name, shape in shapes.items():
                found = held[stored[name]].shape if stored[name] in held else "no such array"
                if found != shape.shape:
                    raise InputError(
                        f"checkpoint `{folder.parent}` must have `{name}` of {shape.shape}, got {found!r}."
                    )
            wanted = {stored[name]: shape for name, shape in shapes.items()}
            arguments = ocp.args.PyTreeRestore(
                item=wanted, restore_args=ocp.checkpoint_utils.construct_restore_args(wanted), partial_restore=partial
            )
            arrays = jax.block_until_ready(reader.restore(folder, args=arguments))
        return {name: arrays[stored[name]] for name in shapes}

    def discard_after(self, step: int) -> None:
        """Delete the checkpoints of later steps, so that the run can continue from an earlier one.

        Raises:
            InputError: One of them holds a file that is not part of a checkpoint; nothing is deleted.
        """
        if is_first():
            for later in self._manager.all_steps():
                foreign = {path.name for path in (self.folder / str(later)).iterdir()} - _PARTS if later > step else ()
                if foreign:
                    raise InputError(
                        f"`{self.folder / str(later)}` must hold only a checkpoint, to be deleted for the run from "
                        f"step {step}, got `{min(foreign)}`; move that file elsewhere."
                    )
            for later in self._manager.all_steps():
                if later > step:
                    # Renamed first: a kill during the deletion must not leave a damaged newest checkpoint.
                    discarded = self.folder / f"{_DISCARDED}{later}"
                    (self.folder / str(later)).rename(discarded)
                    shutil.rmtree(discarded)
        wait_for_all("later checkpoints are deleted")
        self._manager.reload()

    def wait(self) -> None:
        """Wait until every save is on disk.

        Raises:
            InputError: A save could not be written.
        """
        with self._writing():
            self._manager.wait_until_finished()

    def _is_complete(self, step: int) -> bool:
        parts = ("run/metadata", "state/manifest.ocdbt")
        return all((self.folder / str(step) / part).is_file() for part in parts)

    @contextmanager
    def _writing(self) -> Generator[None, None, None]:
        try:
            yield
        except (OSError, ValueError) as error:
            # TensorStore raises a ValueError that carries the number of the system's error in its text.
            code = re.search(r"os_error_code='(\d+)'", str(error))
            if isinstance(error, ValueError) and code is None:
                raise
            reason = error if code is None else os.strerror(int(code.group(1)))
            raise InputError(
                f"cannot write a checkpoint to `{self.folder}` ({reason}); free some space, then continue from the "
                f"newest intact one with `audio-train resume {self.folder.parent}`."
            ) from error

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: object) -> None:
        with self._writing():  # closing waits for pending saves
            self._manager.close()


class _Reading:
    """Turn the errors of Orbax for damaged files into one that names the checkpoint.

    Orbax raises many types of errors for them, including `Exception` itself. If the files are intact the error is a bug
    and is raised unchanged.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def __enter__(self) -> None:
        self._shown, sys.unraisablehook = sys.unraisablehook, self._without_pending_reads

    def _without_pending_reads(self, unraisable: Any) -> None:
        """Suppress the tracebacks of Orbax's other reads, which fail when they are garbage-collected."""
        reading = inspect.iscoroutine(unraisable.object) and "orbax" in unraisable.object.cr_code.co_filename
        if not reading and str(unraisable.exc_value) not in ("Event loop is closed", "coroutine ignored GeneratorExit"):
            self._shown(unraisable)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        folder = self._folder
        expected = not isinstance(error, Exception) or isinstance(error, InputError)
        if expected or (_has_checksums(folder) and find_damage(folder) is None):
            sys.unraisablehook = self._shown
            return
        # The hook stays: the error references those reads until it is shown.
        first_line = next(iter(str(error).strip().splitlines()), "")
        raise _damaged(folder, f"{type(error).__name__}: {first_line[:200]}") from error


def _has_checksums(folder: Path) -> bool:
    """Whether a checkpoint was saved with checksums, even if their file is missing now."""
    return (folder / CHECKSUMS_FILE).exists() or _run_item(folder).checksums


def _run_item(folder: Path) -> _RunItem:
    path, remedy = folder / "run" / "metadata", "copy the checkpoint again or use another one"
    with file_errors(path, remedy):
        return from_json(_RunItem, read_json(path, remedy=remedy), "run")


def _damaged(folder: Path, reason: str) -> InputError:
    return InputError(f"checkpoint `{folder}` is damaged ({reason}); copy it again or use another one.")


def flat_paths(tree: PyTree) -> dict[str, PyTree]:
    """Leaves of a tree by path, such as `model.layers.query`, in the tree's order."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _first_of_all(reason: str | None) -> str | None:
    """Return what the first process that found something wrong found, in all of them."""
    if jax.process_count() == 1:
        return reason
    text = (reason or "").encode()[:1024]
    found = multihost_utils.process_allgather(np.frombuffer(text.ljust(1024, b"\0"), np.uint8).copy())
    texts = [bytes(row).rstrip(b"\0").decode(errors="replace") for row in np.asarray(found)]
    return next(filter(None, texts), None)
