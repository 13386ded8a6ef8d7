"""Train a run from start to finish: claim the folder, start or resume, run the loop, export."""

import contextlib
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import click
import jax
import numpy as np

from audio_data import Budget, InputError, Progress, check_replaceable, open_root, release_writer, sole_writer
from audio_model import write_adapters
from audio_train.config import TrainRun
from audio_train.recipes.targets import resolved_for
from audio_train.resolved import ResolvedRun, low_rank_of
from audio_train.run_folder.checkpoint import Checkpoints
from audio_train.run_folder.folder import (
    BEST_FILE,
    CHECKPOINTS_FOLDER,
    EXPORT_FOLDER,
    METRICS_FILE,
    PROFILE_FOLDER,
    Best,
    check_claim,
    claim,
    last_data_root,
    last_init,
    read_best,
    record_launch,
    require_run,
    saved_run,
    write_best,
)
from audio_train.run_folder.model_folder import (
    PROVENANCE_FILE,
    damage_of_export,
    export_model,
    foreign_file,
    read_provenance,
)
from audio_train.sharding.mesh import MeshConfig, make_mesh
from audio_train.sharding.processes import first_says, is_first, wait_for_all
from audio_train.state import TrainState, abstract_state
from audio_train.tracking.metrics import JsonLines, Tracker, read_metrics
from audio_train.tracking.samples import find_sampler
from audio_train.tracking.trackers import MultiTracker, check_trackers, open_trackers
from audio_train.training.initialization import resolve_init
from audio_train.training.loop import train
from audio_train.training.recorder import Profile, RunRecorder
from audio_train.training.signals import StopRequest
from audio_train.training.start import started_from
from audio_train.training.trainer import Trainer, check_datasets, cut_document_lines

CheckpointPath = tuple[Path, int]
"""Folder of a run, and step of one of its checkpoints."""


@dataclass(frozen=True)
class RunResult:
    """Result of a call of `run`.

    Attributes:
        folder: Folder of the run.
        step: Step reached.
        last_step: Step at which the run ends.
        first_step: Step at which it began.
        stopped_by: Name of the signal that stopped it, "--until" at the step that was asked for, or None.
        compile_seconds: Time to compile the step; 0 if the run was finished before.
        training_seconds: Time in the training loop, in this call only.
    """

    folder: Path
    step: int
    last_step: int
    first_step: int = 0
    stopped_by: str | None = None
    compile_seconds: float = 0.0
    training_seconds: float = 0.0

    @property
    def finished(self) -> bool:
        """Whether every step was taken and the model exported."""
        return self.step == self.last_step


def run(
    recipe: ResolvedRun | TrainRun | str,
    data: str | Path,
    out: str | Path,
    *,
    resume: str = "auto",
    minutes: float | None = None,
    mesh_config: MeshConfig | None = None,
    microbatches: int = 1,
    init: str | Path | None = None,
    max_quarantined: Budget | None = None,
    trackers: Sequence[str] = (),
    profile: tuple[int, int] | None = None,
    until: int | None = None,
    validate: bool = True,
    num_samples: int = 0,
) -> RunResult:
    """Train a run to its end and export it. SIGTERM and Ctrl-C save the state and stop.

    Args:
        recipe: The run: a value, or a `TARGET` of `audio-train run` such as a recipe's name or `FILE.py:NAME`.
        data: Folder of its datasets.
        out: Folder of the run; created if it does not exist.
        resume: `"auto"` continues from the newest checkpoint of the same run; `"never"` refuses a folder with progress
            of the run; a path is a checkpoint of this run (`RUN/checkpoints/STEP`) to continue from, and deletes the
            later ones of `out`.
        minutes: Set the number of steps so that training takes about this long on this machine. It is measured once, at
            the first launch, and becomes the run's `steps`, so a resumed run keeps it.
        mesh_config: Devices along each mesh axis; None for the largest number that divides the batch, with the weights
            sharded among them.
        microbatches: Gradient-accumulation steps, if `mesh_config` is None.
        init: Path of the first weights: a model folder, a run's folder or a checkpoint; None if the run starts from
            scratch or its `init.source` is such a path. A recipe from scratch takes the shape of their model, see
            `started_from`. A resumed run does not need it.
        max_quarantined: Maximum number or share of documents of a dataset that `audio-data verify` may have listed as
            damaged; their rows become padding and all other rows stay the same. None reads every document, and a
            damaged one ends the run. Each launch records how many were left out.
        trackers: Trackers besides `metrics.jsonl`: `"tensorboard"`, `"wandb"`, `"trackio"`.
        profile: First and last step to trace with JAX's profiler, into `RUN/profile`.
        until: Step to save and stop at, without an export; the run goes on from there when it is started again. This
            changes nothing of what the run computes.
        validate: Whether a run without `intervals.evaluation` is validated on the held-out datasets of `data`, those
            whose names begin with `heldout`. Training is the same bit for bit, and takes 2 % longer.
        num_samples: Number of audio samples to generate at each evaluation, for trackers other than `metrics.jsonl`.
            An installed package makes them, see `audio_train.tracking.samples`.

    The checkpoint with the lowest validation loss is kept besides the newest ones; `RUN/best.json` names it.

    In a run of several processes (`audio_train.sharding.processes`) each process calls this with the same arguments and
    the same folder.

    Returns:
        The step reached, and what stopped the run.

    Raises:
        InputError: Data, folder or devices do not fit the run.
        DivergenceError: Loss or gradient were not finite for too many steps in a row.
    """
    check_trackers(trackers)
    if num_samples:
        find_sampler()
        if not trackers:
            raise InputError("`--track-audio` must have a tracker that plays it, got none: add --track tensorboard")
    data_root, out_dir = Path(data), Path(out)
    if isinstance(recipe, ResolvedRun):
        resolved = recipe
    else:
        starting = None if init is None else partial(started_from, path=Path(init))
        resolved = resolved_for(recipe, data_root, max_quarantined, starting)
    with _held(out_dir), StopRequest() as stop:
        saved = saved_run(out_dir)
        if saved is not None and minutes is not None:
            click.echo(
                f"`{out_dir}` was started with {saved.num_steps} steps; --minutes does not change that", err=True
            )
            resolved, minutes = resolved.with_steps(saved.num_steps), None
        check_claim(out_dir, resolved, saved)
        if resume == "auto" and _is_exported(out_dir, resolved):
            check_datasets(resolved, open_root(data_root, max_quarantined=max_quarantined))
            return RunResult(out_dir, resolved.last_step, resolved.last_step, resolved.first_step)
        point = resume_point(out_dir, resolved, resume)
        step = resolved.first_step if point is None else point[1]
        if until is not None and until <= step < resolved.last_step:
            return RunResult(out_dir, step, resolved.last_step, step, "--until")
        check_replaceable(out_dir / EXPORT_FOLDER, foreign_file)  # before days of training, not after
        given = last_init(out_dir) if init is None and saved is not None else init
        weights = resolve_init(resolved, None if given is None else Path(given)) if point is None else None
        batch_size = resolved.run.data.batch_size
        mesh_config = mesh_config or MeshConfig.spread(
            resolved.model, batch_size, jax.device_count(), microbatches=microbatches
        )
        trainer = Trainer(resolved, data_root, mesh_config, weights, max_quarantined, validate)
        if is_first():
            remarks = [] if weights is None else weights.remarks(resolved)
            for line in [*remarks, *cut_document_lines(resolved, trainer.datasets)]:
                click.echo(line, err=True)
            click.echo(f"{resolved.run.name}: compiling the training step; this may take a minute", err=True)
        with stop.ending_at_once(lambda: release_writer(out_dir) if is_first() else None):
            compile_seconds = trainer.compile()
        if minutes is not None:
            affordable = max(1, int(60 * minutes / trainer.seconds_per_step()))
            trainer.set_run(resolved.with_steps(first_says(affordable)))
        wait_for_all("every process has looked at the folder")
        if is_first():
            claim(out_dir, trainer.resolved)
        wait_for_all("the folder holds the run")
        intervals = resolved.run.intervals
        with Checkpoints(
            out_dir, trainer.resolved.fingerprint, intervals.keep_last, intervals.keep_every_steps
        ) as checkpoints:
            return _train(
                trainer, checkpoints, point, out_dir, trackers, profile, stop, compile_seconds, until, num_samples
            )


@contextlib.contextmanager
def _held(out_dir: Path) -> Generator[None, None, None]:
    """Lock the run's folder, in the first process only."""
    if is_first():
        with sole_writer(out_dir):
            yield
    else:
        yield


def resume_point(out_dir: Path, resolved: ResolvedRun, resume: str) -> CheckpointPath | None:
    """Find the checkpoint that a run continues from; None to start at its first step.

    Args:
        out_dir: Folder of the run.
        resolved: The run.
        resume: The argument of `run`.

    Raises:
        InputError: `resume` is `"never"` and there is progress, it does not name an intact checkpoint of this run, or
            all checkpoints are damaged.
    """
    if resume in ("auto", "never"):
        step = _newest_whole(out_dir, resolved)
        if step is not None and resume == "never":
            raise InputError(
                f"`{out_dir}` must hold no progress of this run for `resume` 'never', got step {step}; give another "
                "folder with --out, or remove it."
            )
        return None if step is None else (out_dir, step)
    path = Path(resume)
    if not (path.name.isdigit() and path.parent.name == CHECKPOINTS_FOLDER):
        raise InputError(
            f"`resume` must be 'auto', 'never' or a checkpoint such as RUN/checkpoints/400, got {resume!r}."
        )
    source, step = path.parent.parent, int(path.name)
    if step not in checkpoint_steps(source, resolved):
        raise InputError(
            f"`{path}` must be a complete checkpoint; `{source}` has steps {checkpoint_steps(source, resolved)!r}."
        )
    with Checkpoints(source, resolved.fingerprint) as checkpoints:
        checkpoints.check(step)
        checkpoints.check_run(step)
    return source, step


def _newest_whole(run_dir: Path, resolved: ResolvedRun) -> int | None:
    """Step of the newest intact checkpoint in a run's folder, or None if there is none."""
    if not (run_dir / CHECKPOINTS_FOLDER).exists():
        return None
    with Checkpoints(run_dir, resolved.fingerprint) as checkpoints:
        return checkpoints.newest_whole()


def checkpoint_steps(run_dir: Path, resolved: ResolvedRun) -> list[int]:
    """Return the steps of the complete checkpoints in a run's folder, ascending."""
    if not (run_dir / CHECKPOINTS_FOLDER).exists():
        return []
    with Checkpoints(run_dir, resolved.fingerprint) as checkpoints:
        return checkpoints.steps()


def export(
    run_dir: Path,
    data_root: Path | None = None,
    *,
    step: int | Literal["best"] | None = None,
    out_dir: Path | None = None,
    adapter: bool = False,
) -> Path:
    """Export a checkpoint of a run as a model folder, or the adapters of a low-rank run as a folder of PEFT.

    Args:
        run_dir: Folder of the run.
        data_root: Folder of its datasets; None for that of the last launch.
        step: Step of the checkpoint, or `"best"` for that with the lowest validation loss; None for the newest.
        out_dir: Folder to write; None for `RUN/export`.
        adapter: Whether to write only the adapters, into `out_dir`, which must be given and be empty or absent.

    Returns:
        The folder written.

    Raises:
        InputError: The folder holds no run, the checkpoint does not exist, or the datasets are not those of the run.
    """
    resolved = require_run(run_dir)
    if adapter and resolved.run.low_rank is None:
        raise InputError(f"`{run_dir}` must be a low-rank run to export adapters, got a run without `low_rank`.")
    if adapter and (out_dir is None or (out_dir.exists() and any(out_dir.iterdir()))):
        raise InputError(f"`--out` must name a new or empty folder for adapters, got {out_dir and str(out_dir)!r}.")
    data_root = data_root or last_data_root(run_dir)
    steps, one_device = checkpoint_steps(run_dir, resolved), MeshConfig(data=1)
    if step == "best":
        best = read_best(run_dir)
        if best is None:
            raise InputError(
                f"run `{run_dir}` must have been validated to have a best checkpoint, got no {BEST_FILE}: build a "
                "dataset of utterances held out, with a name that begins with heldout, before training"
            )
        step = best.step
    chosen = _newest_whole(run_dir, resolved) if step is None else step
    if chosen not in steps:
        raise InputError(
            f"`step` must be one of the checkpoints {steps!r} of `{run_dir}`, got {step!r}; choose one of them."
        )
    datasets = open_root(data_root)
    check_datasets(resolved, datasets)
    folder = out_dir or run_dir / EXPORT_FOLDER
    if not adapter:
        check_replaceable(folder, foreign_file)
    with Checkpoints(run_dir, resolved.fingerprint) as checkpoints:
        like = abstract_state(resolved, make_mesh(one_device), one_device)
        state = checkpoints.restore(chosen, like, checked=step is None)
    if adapter and state.adapters is not None and resolved.run.low_rank is not None:
        write_adapters(folder, state.adapters, low_rank_of(resolved.run.low_rank), resolved.run.init.source or "")
        return folder
    export_model(folder, state.trained_model(resolved), resolved, step=chosen, data_root=data_root, datasets=datasets)
    return folder


def _train(
    trainer: Trainer,
    checkpoints: Checkpoints,
    point: CheckpointPath | None,
    out_dir: Path,
    trackers: Sequence[str],
    profile: tuple[int, int] | None,
    stop: StopRequest,
    compile_seconds: float,
    until: int | None,
    num_samples: int,
) -> RunResult:
    resolved, last_step = trainer.resolved, trainer.resolved.last_step
    state, taken = _start(trainer, checkpoints, point)
    best = _best_so_far(out_dir, checkpoints, taken)
    if is_first():
        record_launch(
            out_dir,
            step=taken,
            data_root=trainer.data_root,
            devices=trainer.devices,
            init=trainer.init.to_json() if trainer.init else None,
            quarantined=trainer.quarantined,
        )
        click.echo(
            f"{resolved.run.name}: {resolved.model.num_parameters:,} parameters, step {taken} of {last_step}, "
            f"compiled in {compile_seconds:.1f} s",
            err=True,
        )
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        history, metrics = _metrics(stack, out_dir, trackers, resolved, taken, checkpoints, point)
        progress = Progress(f"train {resolved.run.name}", total=last_step, unit="steps", done=taken)
        if is_first():
            stack.enter_context(progress)
        recorder = RunRecorder(
            trainer,
            out_dir,
            checkpoints,
            metrics,
            progress=progress if is_first() else None,
            losses_before=history,
            profile=Profile(*profile, out_dir / PROFILE_FOLDER) if profile else None,
            best=best,
            num_samples=num_samples,
        )
        state, taken = train(
            trainer, recorder, state, taken, stop, until=until, single_process=jax.process_count() == 1
        )
    seconds = time.monotonic() - began
    if taken == last_step:
        recorder.export(state, taken, out_dir / EXPORT_FOLDER)
    stopped_by = None if taken == last_step else "--until" if stop.signal is None else stop.signal.name
    return RunResult(out_dir, taken, last_step, resolved.first_step, stopped_by, compile_seconds, seconds)


def _metrics(
    stack: contextlib.ExitStack,
    out_dir: Path,
    trackers: Sequence[str],
    resolved: ResolvedRun,
    taken: int,
    checkpoints: Checkpoints,
    point: CheckpointPath | None,
) -> tuple[list[float | None], Tracker]:
    """Return the losses of earlier steps, and the tracker for the next; only the first process writes metrics."""
    if not is_first():
        return [], MultiTracker(())
    expected = checkpoints.metrics_at(taken) if point is not None and point[0] == out_dir else None
    lines = stack.enter_context(JsonLines(out_dir / METRICS_FILE, taken, expected))
    checkpoints.metrics = lines.state
    others = open_trackers(trackers, out_dir, resolved, taken)
    for tracker in others:
        stack.callback(tracker.close)
    return [line["loss"] for line in read_metrics(lines.path) if "loss" in line], MultiTracker((lines, *others))


def _best_so_far(out_dir: Path, checkpoints: Checkpoints, taken: int) -> Best | None:
    """Find the best checkpoint up to a step, in the metrics, and keep it; a killed run may have named a later one."""
    best = None
    if is_first() and (out_dir / METRICS_FILE).exists():
        steps = checkpoints.steps()
        lines = (
            (line["step"], line.get("evaluation", {}).get("loss")) for line in read_metrics(out_dir / METRICS_FILE)
        )
        found = [Best(step, loss) for step, loss in lines if loss is not None and step <= taken and step in steps]
        best = min(found, key=lambda one: (one.loss, one.step), default=None)
        write_best(out_dir, best)
    # Bit by bit: every process must decide the same at the next evaluation.
    bits = [0, 0] if best is None else np.array([best.loss]).view(np.int32).tolist()
    step, *bits = map(first_says, [0 if best is None else best.step, *bits])
    best = Best(step, float(np.array(bits, np.int32).view(np.float64)[0])) if step else None
    checkpoints.keep(None if best is None else best.step)
    return best


def _start(trainer: Trainer, checkpoints: Checkpoints, point: CheckpointPath | None) -> tuple[TrainState, int]:
    """Return the state to continue from, and its step."""
    if point is None:
        return trainer.initial_state(), trainer.resolved.first_step
    source, step = point
    with Checkpoints(source, checkpoints.fingerprint) as others:
        state = others.restore(step, trainer.abstract_state, checked=True)  # by `resume_point`
    checkpoints.discard_after(step)
    return state, step


def _is_exported(out_dir: Path, resolved: ResolvedRun) -> bool:
    """Whether the folder holds the intact export of the finished run.

    Raises:
        InputError: The export is damaged, and there is no checkpoint to export again.
    """
    folder = out_dir / EXPORT_FOLDER
    if not (folder / PROVENANCE_FILE).exists():
        return False
    exported = read_provenance(folder)
    if (exported.run_fingerprint, exported.step) != (resolved.fingerprint, resolved.last_step):
        return False
    damage = damage_of_export(folder)
    if damage is None:
        return True
    if not checkpoint_steps(out_dir, resolved):
        raise InputError(
            f"the finished model `{folder}` is damaged ({damage}), and there is no checkpoint to export it from; copy "
            f"it again, or remove it to train `{resolved.run.name}` again."
        )
    if is_first():
        click.echo(f"the finished model `{folder}` is damaged ({damage}); exporting it again", err=True)
    return False
