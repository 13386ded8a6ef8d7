"""From a resolved run to a trained model: data, devices, start or resume, the loop, the export."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import jax
import numpy as np

from audio_data import BatchLoader, InputError, Mixture, Progress, TokenBatch, TokenDataset, open_root
from audio_train.checkpoint import FOLDER as CHECKPOINTS_FOLDER
from audio_train.checkpoint import Checkpoints
from audio_train.folder import (
    EXPORT_FOLDER,
    METRICS_FILE,
    check_claim,
    claim,
    last_data_root,
    locked,
    record_launch,
    require_run,
    saved_run,
)
from audio_train.loop import Loop, StopRequest
from audio_train.mesh import Placement, batch_sharding, make_mesh, replicated
from audio_train.model_folder import VOCABULARY_FOLDER, export_model
from audio_train.resolved import ResolvedRun
from audio_train.state import TrainState, initial_state, place_state, read_codebooks, state_sharding
from audio_train.step import Batch, LossSums, StepMetrics, evaluation_step, objective, train_step
from audio_train.tracking import JsonLines

TIMED_STEPS = 5


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        folder: the run's folder.
        step: steps taken in all.
        num_steps: steps of the whole run.
        stopped_by: name of the signal that stopped it, or None.
        compile_seconds: time to compile the step.
        training_seconds: time in the loop, this start only.
    """

    folder: Path
    step: int
    num_steps: int
    stopped_by: str | None
    compile_seconds: float
    training_seconds: float

    @property
    def finished(self) -> bool:
        """Whether every step was taken, after which the model is exported."""
        return self.step == self.num_steps


class Trainer:
    """A run's data and compiled step on its devices.

    Args:
        resolved: the run.
        data_root: folder of its datasets.
        placement: devices along each mesh axis.

    Raises:
        InputError: the datasets are not those of the run, or batch or model do not divide among the devices.
    """

    def __init__(self, resolved: ResolvedRun, data_root: Path, placement: Placement):
        self.data_root = data_root
        self.datasets = open_root(data_root)
        check_datasets(resolved, self.datasets)
        self._placement = placement
        self._mesh = make_mesh(placement)
        self._batch_sharding = batch_sharding(self._mesh, resolved.run.data.batch_size)
        self._objective = jax.device_put(objective(resolved), replicated(self._mesh))
        self.set_run(resolved)

    def set_run(self, resolved: ResolvedRun) -> None:
        """Take up a run that differs from the one before in its length only; the compiled step serves both."""
        self.resolved = resolved
        self.loader = self._loader(resolved.mixture)
        self._schedule = jax.device_put(resolved.learning_rate, replicated(self._mesh))

    @property
    def devices(self) -> dict[str, Any]:
        """What the run runs on."""
        kinds = sorted({device.device_kind for device in self._mesh.devices.flat})
        return {"kinds": kinds, "count": self._mesh.size, "mesh": dict(self._mesh.shape)}

    def initial_state(self) -> TrainState:
        """The state before the first step, on its devices."""
        from_codebooks = self.resolved.run.start.audio_rows == "codebooks"
        codebooks = read_codebooks(self.data_root / VOCABULARY_FOLDER) if from_codebooks else None
        return place_state(initial_state(self.resolved, codebooks), self.resolved, self._mesh, self._placement)

    def compile(self, state: TrainState) -> float:
        """Compile the step for the shapes of the run; returns the seconds it took."""
        start = time.monotonic()
        step = jax.jit(partial(train_step, spec=self.resolved.run.optimizer), donate_argnums=0)
        self._compiled = step.lower(state, self._place(self.loader.batch(0)), self._objective, self._schedule).compile()
        return time.monotonic() - start

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, StepMetrics]:
        """Take a step; returns before the device has finished it. The state is donated."""
        return self._compiled(state, batch, self._objective, self._schedule)

    def batches(self, start: int) -> Iterator[Batch]:
        """The run's batches from a step on, on their devices, read ahead of their use."""
        return map(self._place, self.loader.iterate(start))

    def evaluation(self) -> Callable[[TrainState], LossSums] | None:
        """Held-out loss by kind, on the same batches each time; None where the run evaluates nothing."""
        spec = self.resolved.run.cadence.evaluation
        if spec is None:
            return None
        loader = self._loader(Mixture.constant("evaluation", dict.fromkeys(spec.corpora, 1.0)))
        batches = [self._place(loader.batch(index)) for index in range(spec.num_batches)]
        one_batch = jax.jit(evaluation_step)

        def evaluate(state: TrainState) -> LossSums:
            sums = jax.device_get([one_batch(state.model, batch, self._objective) for batch in batches])
            return jax.tree.map(lambda *parts: np.sum(parts, axis=0), *sums)

        return evaluate

    def seconds_per_step(self, state: TrainState) -> float:
        """Time the step on batches of each stage, and weight by the stages' lengths; the state is donated."""
        stages, num_steps = self.resolved.mixture.stages, self.resolved.num_steps
        ends = [*(stage.start_step for stage in stages[1:]), num_steps]
        seconds = 0.0
        for stage, end in zip(stages, ends, strict=True):
            times = []
            for batch in itertools.islice(self.batches(stage.start_step), TIMED_STEPS + 1):
                start = time.monotonic()
                state, metrics = self.step(state, batch)
                jax.block_until_ready(metrics)
                times.append(time.monotonic() - start)
            # The first step after a pause pays for cold caches.
            seconds += statistics.median(times[1:]) * (end - stage.start_step) / num_steps
        return seconds

    def _loader(self, mixture: Mixture) -> BatchLoader:
        run = self.resolved.run
        return BatchLoader(
            self.datasets,
            mixture,
            seq_len=run.data.seq_len,
            batch_size=run.data.batch_size,
            seed=run.seed,
            packing=self.resolved.packing,
        )

    def _place(self, batch: TokenBatch) -> Batch:
        arrays = (batch.tokens, batch.segment_ids, batch.positions, batch.loss_mask)
        return Batch(*jax.device_put(arrays, self._batch_sharding))


def run(
    resolved: ResolvedRun,
    data_root: Path,
    out_dir: Path,
    *,
    resume: str = "auto",
    minutes: float | None = None,
    placement: Placement | None = None,
) -> Outcome:
    """Train a run to its end and export it, or until SIGTERM or Ctrl-C asks to stop; the state reached is saved.

    Args:
        resolved: the run.
        data_root: folder of its datasets.
        out_dir: folder of the run; created where it is not there.
        resume: `"auto"` goes on from the newest checkpoint of the same run; `"never"` refuses a folder in which the run
            has got anywhere; a path is a checkpoint of this run (`RUN/checkpoints/STEP`) to go on from, and gives up
            the later ones of `out_dir`.
        minutes: choose the number of steps so that they take about this long on this machine. It is measured once, at
            the first start, and becomes the run's `steps`, so that a resumed run keeps it.
        placement: devices along each mesh axis; None for all devices on `data`.

    Returns:
        How it ended.

    Raises:
        InputError: data, folder or devices do not fit the run; the message says which and what to do.
        DivergenceError: loss or gradient were not finite for too many steps in a row.
    """
    with locked(out_dir), StopRequest() as stop:
        saved = saved_run(out_dir)
        if saved is not None and minutes is not None:
            resolved, minutes = resolved.with_steps(saved.num_steps), None
        check_claim(out_dir, resolved, saved)
        trainer = Trainer(resolved, data_root, placement or Placement())
        state = trainer.initial_state()
        compile_seconds = trainer.compile(state)
        if minutes is not None:
            num_steps = max(1, int(60 * minutes / trainer.seconds_per_step(state)))
            trainer.set_run(resolved.with_steps(num_steps))
            state = trainer.initial_state()
        claim(out_dir, trainer.resolved)
        return _train(trainer, state, out_dir, resume, stop, compile_seconds)


def export(
    run_dir: Path, data_root: Path | None = None, *, step: int | None = None, out_dir: Path | None = None
) -> Path:
    """Export a checkpoint of a run as a model folder.

    Args:
        run_dir: the run's folder.
        data_root: folder of its datasets; None for the one it was last started with.
        step: which checkpoint; None for the newest.
        out_dir: where to; None for `RUN/export`.

    Returns:
        The folder written.

    Raises:
        InputError: the folder holds no run, or no such checkpoint.
    """
    resolved, data_root = require_run(run_dir), data_root or last_data_root(run_dir)
    with Checkpoints(run_dir, resolved.fingerprint) as checkpoints:
        chosen = checkpoints.latest() if step is None else step
        if chosen is None or chosen not in checkpoints.steps():
            raise InputError(f"`{run_dir}` has checkpoints at steps {checkpoints.steps()!r}, got {step!r}.")
        mesh = make_mesh(Placement(data=1))
        shapes = jax.eval_shape(partial(initial_state, resolved, None))
        places = state_sharding(shapes, resolved, mesh, Placement(data=1))
        state = checkpoints.restore(chosen, jax.tree.map(lambda s, p: s.update(sharding=p), shapes, places))
    folder = out_dir or run_dir / EXPORT_FOLDER
    _export(folder, state, resolved, chosen, data_root, open_root(data_root))
    return folder


def check_datasets(resolved: ResolvedRun, datasets: Mapping[str, TokenDataset]) -> None:
    """Check that datasets are those a run was resolved with.

    Raises:
        InputError: another vocabulary, or another content under the same name; both fingerprints are named.
    """
    resolved.mixture.check_corpora(datasets)
    for name, fingerprint in resolved.datasets.items():
        found = datasets[name].fingerprint if name in datasets else None
        if found != fingerprint:
            raise InputError(
                f"corpus `{name}` has fingerprint {fingerprint[:12]} in run `{resolved.run.name}`, got "
                f"{found[:12] if found else 'no such corpus'!r}; use the data the run began with, or start a new run."
            )
    for name in resolved.mixture.corpora:
        vocabulary = datasets[name].manifest.vocabulary
        if vocabulary.fingerprint != resolved.vocabulary.fingerprint:
            raise InputError(
                f"corpus `{name}` has vocabulary `{vocabulary.name}` ({vocabulary.size} ids, fingerprint "
                f"{vocabulary.fingerprint[:12]}), not the run's `{resolved.vocabulary.name}` "
                f"({resolved.vocabulary.size} ids, {resolved.vocabulary.fingerprint[:12]}); build the data with that."
            )


def _train(
    trainer: Trainer, state: TrainState, out_dir: Path, resume: str, stop: StopRequest, compile_seconds: float
) -> Outcome:
    resolved = trainer.resolved
    cadence, num_steps = resolved.run.cadence, resolved.num_steps
    with Checkpoints(out_dir, resolved.fingerprint, cadence.keep_last) as checkpoints:
        state, taken = _start(checkpoints, state, resume)
        record_launch(out_dir, step=taken, data_root=trainer.data_root, devices=trainer.devices)
        click.echo(
            f"{resolved.run.name}: {resolved.model.num_parameters:,} parameters, step {taken} of {num_steps}, "
            f"compiled in {compile_seconds:.1f} s",
            err=True,
        )
        began = time.monotonic()
        with (
            JsonLines(out_dir / METRICS_FILE, taken) as metrics,
            Progress(f"train {resolved.run.name}", total=num_steps - taken, unit="steps") as progress,
        ):
            loop = Loop(
                step=trainer.step,
                batches=trainer.batches(taken),
                evaluate=trainer.evaluation(),
                describe=trainer.loader.describe,
                checkpoints=checkpoints,
                metrics=metrics,
                progress=progress,
                cadence=cadence,
                kinds=resolved.vocabulary.kinds,
                num_steps=num_steps,
                tokens_per_step=resolved.run.data.tokens_per_step,
                stop=stop,
            )
            state, taken = loop.run(state, taken)
        seconds = time.monotonic() - began
    if taken == num_steps:
        _export(out_dir / EXPORT_FOLDER, state, resolved, taken, trainer.data_root, trainer.datasets)
    stopped_by = stop.signal.name if stop.signal is not None and taken < num_steps else None
    return Outcome(out_dir, taken, num_steps, stopped_by, compile_seconds, seconds)


def _start(checkpoints: Checkpoints, state: TrainState, resume: str) -> tuple[TrainState, int]:
    """The state to go on from, and its steps; the fresh `state` gives the shapes and where they lie."""
    latest = checkpoints.latest()
    if resume == "never":
        if latest is not None:
            raise InputError(
                f"`{checkpoints.folder.parent}` holds step {latest} of this run and `resume` is 'never'; give another "
                "folder with --out, or remove it."
            )
        return state, 0
    if resume == "auto":
        return (state, 0) if latest is None else (checkpoints.restore(latest, state), latest)
    source, step = checkpoint_path(Path(resume))
    with Checkpoints(source, checkpoints.fingerprint) as others:
        if step not in others.steps():
            raise InputError(f"`{source}` has checkpoints at steps {others.steps()!r}, got {step!r}.")
        state = others.restore(step, state)
    checkpoints.discard_after(step)
    return state, step


def checkpoint_path(path: Path) -> tuple[Path, int]:
    """Run folder and step of a path such as `RUN/checkpoints/400`.

    Raises:
        InputError: the path is not of that form, or not there.
    """
    if not (path.is_dir() and path.name.isdigit() and path.parent.name == CHECKPOINTS_FOLDER):
        raise InputError(f"`resume` is 'auto', 'never' or a checkpoint such as RUN/checkpoints/400, got {str(path)!r}.")
    return path.parent.parent, int(path.name)


def _export(
    folder: Path,
    state: TrainState,
    resolved: ResolvedRun,
    step: int,
    data_root: Path,
    datasets: Mapping[str, TokenDataset],
) -> None:
    codec = datasets[resolved.mixture.corpora[0]].manifest.codec
    export_model(folder, state.model, resolved, step=step, vocabulary_folder=data_root / VOCABULARY_FOLDER, codec=codec)
