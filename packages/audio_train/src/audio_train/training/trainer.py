"""The data, devices and compiled step of a run."""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from audio_data import BatchLoader, Budget, InputError, Mixture, TokenBatch, TokenDataset, cut_documents, open_root
from audio_model import Qwen3x
from audio_train.config import EvaluationSpec
from audio_train.hardware import peak_flops
from audio_train.recipes.smoke_scale import HELDOUT_FOLDER
from audio_train.recipes.targets import rows_for
from audio_train.resolved import ResolvedRun, low_rank_of
from audio_train.sharding.mesh import (
    AXES,
    MeshConfig,
    batch_sharding,
    batch_share,
    make_mesh,
    model_sharding,
    replicated,
)
from audio_train.sharding.parallelism import on_mesh, parallelism_of
from audio_train.state import TrainState, abstract_state
from audio_train.training.initialization import InitialWeights, init_state
from audio_train.training.step import (
    Batch,
    LossSums,
    StepMetrics,
    evaluation_step,
    loss_and_gradient,
    objective,
    train_step,
)

T = TypeVar("T")

TIMED_STEPS = 5
_VALIDATIONS = 20
_VALIDATION_SHARE = 0.02
_MAX_VALIDATION_BATCHES = 64


class Trainer:
    """A run's data and compiled step on its devices.

    Args:
        resolved: The run.
        data_root: Folder of its datasets.
        mesh_config: Devices along each mesh axis.
        init: First weights, if they are not drawn from the seed.
        max_quarantined: The argument of `launch.run`.
        validate: Whether a run without `intervals.evaluation` is validated on the held-out datasets of its folder.

    Attributes:
        resolved: The run.
        data_root: Folder of its datasets.
        datasets: Every dataset of that folder, by name.
        loader: Batches of the run.
        abstract_state: Shapes and shardings of the state.

    Raises:
        InputError: The datasets are not those of the run, or batch or model do not divide among the devices.
    """

    def __init__(
        self,
        resolved: ResolvedRun,
        data_root: Path,
        mesh_config: MeshConfig,
        init: InitialWeights | None = None,
        max_quarantined: Budget | None = None,
        validate: bool = True,
    ):
        self.data_root = data_root
        self._validate = validate
        self.init = init
        self.datasets = open_root(data_root, max_quarantined=max_quarantined)
        check_datasets(resolved, self.datasets)
        check_heldout(resolved, self.datasets)  # before the step is compiled
        self._mesh = make_mesh(mesh_config)
        self.abstract_state = abstract_state(resolved, self._mesh, mesh_config)
        batch_size = resolved.run.data.batch_size
        self._batch_sharding = batch_sharding(self._mesh, batch_size, mesh_config.microbatches)
        self._share = batch_share(self._batch_sharding, batch_size, jax.process_index())
        self._functions = jit_functions(resolved, self._mesh, mesh_config, self.abstract_state)
        self._compiled_evaluation: Callable[..., LossSums] | None = None
        # Simulated devices share one thread pool, in which two steps that wait in collectives can deadlock.
        self._one_at_a_time = self._mesh.size > 1 and self._mesh.devices.flat[0].platform == "cpu"
        self._objective = place_everywhere(objective(resolved), self._mesh)
        self.set_run(resolved)

    def set_run(self, resolved: ResolvedRun) -> None:
        """Replace the run by one that differs only in its length, with the same compiled step."""
        self.resolved = resolved
        self.loader = self._loader(resolved.mixture)
        self._schedule = place_everywhere(resolved.learning_rate, self._mesh)
        self.evaluation_spec = resolved.run.intervals.evaluation
        if self.evaluation_spec is None and self._validate:
            self.evaluation_spec = default_evaluation(resolved, self.datasets)

    @property
    def devices(self) -> dict[str, Any]:
        """Kinds and number of devices, and the mesh."""
        kinds = sorted({device.device_kind for device in self._mesh.devices.flat})
        processes = {"processes": jax.process_count()} if jax.process_count() > 1 else {}
        return {"kinds": kinds, "count": self._mesh.size, "mesh": dict(self._mesh.shape), **processes}

    @property
    def quarantined(self) -> dict[str, int]:
        """Number of damaged documents left out, by dataset."""
        counts = {name: len(self.datasets[name].quarantined) for name in self.resolved.mixture.corpora}
        return {name: count for name, count in counts.items() if count}

    def utilisation(self, tokens_per_second: float) -> float | None:
        """MFU of a rate: three causal forward passes per token over the bfloat16 peak; None for unknown devices."""
        peak = peak_flops(self._mesh.devices.flat[0].device_kind)
        if peak is None:
            return None
        flops = 3 * self.resolved.model.causal_forward_flops_per_token(self.resolved.run.data.seq_len)
        return tokens_per_second * flops / (peak * self._mesh.size)

    def initial_state(self) -> TrainState:
        """Create the state before the first step, on its devices."""
        return init_state(self.resolved, self.abstract_state, self.init, self.data_root)

    def trained_model(self, state: TrainState) -> Qwen3x:
        """Return the weights that the run has trained, with its adapters merged, on the run's devices."""
        return state.model if state.adapters is None else self._functions.merge(state)

    def compile(self) -> float:
        """Compile step and evaluation for the shapes of the run; returns the time in seconds."""
        start = time.monotonic()
        batch = self._place(self.loader.batch(0))
        arguments = (self.abstract_state, batch, self._objective, self._schedule, self._requests(0))
        self._compiled = self._functions.train.lower(*arguments).compile()
        if self.evaluation_spec is not None:
            evaluate = self._functions.evaluate.lower(self.abstract_state.model, batch, self._objective)
            self._compiled_evaluation = evaluate.compile()
        return time.monotonic() - start

    def step(self, state: TrainState, batch: Batch, request: int = 0) -> tuple[TrainState, StepMetrics]:
        """Take a step; returns before the device has finished it. The state is donated.

        Args:
            state: State before the step.
            batch: Training rows.
            request: Request of this process to all others; the metrics return the largest one.
        """
        taken = self._compiled(state, batch, self._objective, self._schedule, self._requests(request))
        if self._one_at_a_time:
            jax.block_until_ready(taken)
        return taken

    def batches(self, start: int) -> Iterator[Batch]:
        """Batches from a step on, placed on their devices and prefetched."""
        return map(self._place, self.loader.iterate(start))

    def evaluation(self) -> Callable[[TrainState], LossSums] | None:
        """Return a function that computes the held-out loss by kind on fixed batches; None if the run has none."""
        spec = self.evaluation_spec
        if spec is None:
            return None
        loader = self._loader(held_out(spec))
        batches = [self._place(loader.batch(index)) for index in range(spec.num_batches)]
        one_batch = self._compiled_evaluation or self._functions.evaluate

        def evaluate(state: TrainState) -> LossSums:
            model = self.trained_model(state)
            sums = jax.device_get([one_batch(model, batch, self._objective) for batch in batches])
            return jax.tree.map(lambda *parts: np.sum(parts, axis=0), *sums)

        return evaluate

    def seconds_per_step(self) -> float:
        """Time the compiled step on batches of each mixture stage, weighted by the lengths of the stages."""
        state = self.initial_state()
        first, last = self.resolved.first_step, self.resolved.last_step
        bounds = [*(stage.start_step for stage in self.resolved.mixture.stages), last]
        seconds = 0.0
        for begin_step, end_step in itertools.pairwise(max(bound, first) for bound in bounds):
            if begin_step == end_step:
                continue
            times = []
            for batch in itertools.islice(self.batches(begin_step), TIMED_STEPS + 1):
                start = time.monotonic()
                state, metrics = self.step(state, batch)
                jax.block_until_ready(metrics)
                times.append(time.monotonic() - start)
            # The first step after a pause is slower: caches are cold.
            seconds += statistics.median(times[1:]) * (end_step - begin_step) / (last - first)
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
            host=self._share[0],
            num_hosts=self._share[1],
        )

    def _place(self, batch: TokenBatch) -> Batch:
        arrays = (batch.tokens, batch.segment_ids, batch.positions, batch.loss_mask)
        if jax.process_count() == 1:
            return Batch(*jax.device_put(arrays, self._batch_sharding))
        return Batch(*(jax.make_array_from_process_local_data(self._batch_sharding, array) for array in arrays))

    def _requests(self, request: int) -> jax.Array | None:
        """Return the request of this process, on each of its devices."""
        if jax.process_count() == 1:
            return None
        shape = (self._mesh.size,)
        sharding = NamedSharding(self._mesh, PartitionSpec(AXES))
        return jax.make_array_from_callback(shape, sharding, lambda _: np.full(1, request, np.int32))


class CompiledFunctions(NamedTuple):
    """A run's step and evaluation as jitted functions of global arrays on a mesh.

    Attributes:
        train: `(state, batch, objective, schedule, requests) -> (state, metrics)`; the state is donated.
        evaluate: `(model, batch, objective) -> sums`.
        merge: `(state) -> model`, `TrainState.trained_model`.
    """

    train: Any
    evaluate: Any
    merge: Any


def jit_functions(resolved: ResolvedRun, mesh: Mesh, mesh_config: MeshConfig, state: TrainState) -> CompiledFunctions:
    """Build the step and the evaluation of a run, for a mesh of devices that may be on another machine.

    Args:
        resolved: The run.
        mesh: The devices.
        mesh_config: Configuration of the mesh.
        state: Shapes and shardings of the state, from `abstract_state`.
    """
    parallelism = parallelism_of(resolved.model, mesh, mesh_config.rules)
    model = model_sharding(resolved.model, mesh, mesh_config.rules)
    whole = replicated(mesh)
    arguments = (model, batch_sharding(mesh, resolved.run.data.batch_size, mesh_config.microbatches), whole)
    gradient = partial(loss_and_gradient, microbatches=mesh_config.microbatches, parallelism=parallelism)
    differentiate = on_mesh(gradient, parallelism, mesh, arguments, (whole, whole, model, whole))
    low_rank = None if resolved.run.low_rank is None else low_rank_of(resolved.run.low_rank)
    step = partial(train_step, spec=resolved.run.optimizer, low_rank=low_rank, differentiate=differentiate)
    places = jax.tree.map(lambda leaf: leaf.sharding, state)
    return CompiledFunctions(
        train=jax.jit(step, donate_argnums=0, out_shardings=(places, whole)),
        evaluate=jax.jit(
            on_mesh(partial(evaluation_step, parallelism=parallelism), parallelism, mesh, arguments, whole)
        ),
        merge=jax.jit(lambda state: state.trained_model(resolved), out_shardings=model),
    )


def cut_document_lines(resolved: ResolvedRun, datasets: Mapping[str, TokenDataset]) -> list[str]:
    """Report the documents that are longer than a row: a line for each dataset that has any, and how to keep them.

    Args:
        resolved: The run.
        datasets: Its datasets, by name.
    """
    data, lines, longest = resolved.run.data, [], 0
    dropped = resolved.packing.kind == "next_fit"
    fate = "dropped" if dropped else "trained on without the beginning of their document"
    for name in resolved.mixture.corpora:
        cut = cut_documents(datasets[name], data.seq_len)
        longest = max(longest, cut.longest)
        if cut.num_documents:
            audio = f", about {cut.audio_seconds:,.0f} s of audio," if cut.audio_seconds else ""
            lines.append(
                f"dataset `{name}`: {cut.num_documents:,} of {len(datasets[name]):,} documents are longer than a row "
                f"of {data.seq_len:,} tokens and are cut; {cut.num_tokens:,} tokens{audio} are {fate}"
            )
    if not lines:
        return [f"no document is longer than a row of {data.seq_len:,} tokens; the longest has {longest:,}"]
    seq_len, batch_size = rows_for(longest, data)
    context = resolved.model.max_seq_len
    beyond, why = "", ""
    if seq_len > context:
        beyond, why = f" --set model.max_seq_len={seq_len}", f", beyond the model's context of {context:,}"
    lines.append(
        f"the longest document has {longest:,} tokens{why}; whole documents with as many tokens in a step: "
        f"--set data.seq_len={seq_len} --set data.batch_size={batch_size}{beyond}"
    )
    return lines


def default_evaluation(resolved: ResolvedRun, datasets: Mapping[str, TokenDataset]) -> EvaluationSpec | None:
    """Return the validation of a run that states none: on held-out datasets, about 20 times, for 2 % of its time.

    Held out are the datasets whose names begin with `heldout`, on which the run does not train and whose vocabulary is
    the run's. An evaluated batch costs a third of a training step.

    Args:
        resolved: The run.
        datasets: All datasets of its folder, by name.

    Returns:
        The evaluation; None if there is no held-out dataset.
    """
    held = {
        name: dataset.num_tokens
        for name, dataset in sorted(datasets.items())
        if name.startswith(HELDOUT_FOLDER)
        and name not in resolved.mixture.corpora
        and dataset.num_tokens
        and dataset.manifest.vocabulary.fingerprint == resolved.vocabulary.fingerprint
    }
    if not held:
        return None
    every_steps = max(math.ceil(resolved.num_steps / _VALIDATIONS), math.ceil(1 / (3 * _VALIDATION_SHARE)))
    affordable = int(3 * _VALIDATION_SHARE * every_steps)
    available = math.ceil(sum(held.values()) / resolved.run.data.tokens_per_step)
    return EvaluationSpec(tuple(held), every_steps, max(1, min(affordable, available, _MAX_VALIDATION_BATCHES)))


def held_out(evaluation: EvaluationSpec) -> Mixture:
    """Mixture whose rows an evaluation reads."""
    return Mixture.constant("evaluation", dict.fromkeys(evaluation.corpora, 1.0))


def check_heldout(resolved: ResolvedRun, datasets: Mapping[str, TokenDataset]) -> None:
    """Check that the held-out datasets of a run exist.

    Raises:
        InputError: A held-out dataset is missing.
    """
    evaluation = resolved.run.intervals.evaluation
    missing = [] if evaluation is None else [name for name in evaluation.corpora if name not in datasets]
    if missing:
        raise InputError(
            f"`intervals.evaluation` of run `{resolved.run.name}` must name datasets of the data folder, of "
            f"{', '.join(sorted(datasets))}, got `{missing[0]}`; build it, or turn evaluation off with "
            "--set intervals.evaluation=null."
        )


def place_everywhere(tree: T, mesh: Mesh) -> T:
    """Replicate small arrays, which every process has, on every device."""
    return jax.device_put(jax.tree.map(np.asarray, tree), replicated(mesh))


def check_datasets(resolved: ResolvedRun, datasets: Mapping[str, TokenDataset]) -> None:
    """Check that datasets are those with which a run was resolved.

    Raises:
        InputError: A dataset has another vocabulary or another content; the message has both fingerprints.
    """
    resolved.mixture.check_corpora(datasets)
    for name, fingerprint in resolved.datasets.items():
        found = datasets[name].fingerprint if name in datasets else None
        if found != fingerprint:
            raise InputError(
                f"dataset `{name}` must have the fingerprint {fingerprint[:12]} of run `{resolved.run.name}`, got "
                f"{found[:12] if found else 'no such dataset'!r}; use the data of the first launch, or start a new run."
            )
    for name in resolved.mixture.corpora:
        vocabulary = datasets[name].manifest.vocabulary
        if vocabulary.fingerprint != resolved.vocabulary.fingerprint:
            raise InputError(
                f"dataset `{name}` must have the run's vocabulary `{resolved.vocabulary.name}` "
                f"({resolved.vocabulary.size} ids, fingerprint {resolved.vocabulary.fingerprint[:12]}), got "
                f"`{vocabulary.name}` ({vocabulary.size} ids, {vocabulary.fingerprint[:12]}); build the data with that."
            )
