"""What training costs beside the compiled step: the loop, checkpoints, collectives.

    .venv/bin/python benchmarks/trainer.py loop [--steps 60] [--rounds 5]
    .venv/bin/python benchmarks/trainer.py checkpoint [--saves 5]
    .venv/bin/python benchmarks/trainer.py checksums [--saves 5]
    .venv/bin/python benchmarks/trainer.py collectives
    .venv/bin/python benchmarks/trainer.py peers [--steps 4] [--rounds 3] [--cpu 0]

`loop`: the quickstart's model and batch on made-up data; what the whole loop (batches read ahead, metrics, progress)
takes beyond the bare compiled step on one batch, loop and bare step by turns, as a share of the step: by the clock, and
in CPU time, which the work of others on this machine changes less. `checkpoint`: how long the loop stands still for a
save, as a share of the save's whole duration. `checksums`: time for
the checksums of a checkpoint of random numbers, as a share of the rest of the save, and of the restore that follows;
saves and restores by turns. `collectives`: bytes that each of 2, 4 and 8 simulated devices receives in a step of the
quickstart's model under the study's update rule, read off the compiled module, over what cut weights have to move.
`peers`: steps of the whole loop against `transformers` + torch, on the model and batch of
`training_step.py`: one process a variant and round, pinned to one core, one thread, variants by turns, processor
seconds a step and peak memory. Ours reads its batches from a dataset, clips, keeps losses by kind and writes metrics;
torch's loop steps on one fixed batch, does none of that, and is spared its first step.
"""

import os
import sys

os.environ["JAX_PLATFORMS"] = "cpu"
if "collectives" in sys.argv:
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import argparse
import json
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import training_step

from audio_data import DatasetWriter, Document, Progress, Vocabulary, open_root
from audio_train import (
    Checkpoints,
    DataSpec,
    LossSpec,
    MeshConfig,
    MixtureStage,
    ModelShape,
    OptimizerSpec,
    ResolvedRun,
    Trainer,
    TrainRun,
    find_experiment,
    find_recipe,
    override,
    resolve,
)
from audio_train.sharding.collectives import fsdp_bytes, moved_bytes
from audio_train.sharding.mesh import batch_sharding, make_mesh, replicated
from audio_train.state import TrainState, abstract_state
from audio_train.tracking.metrics import JsonLines
from audio_train.training.loop import train
from audio_train.training.recorder import RunRecorder
from audio_train.training.signals import StopRequest
from audio_train.training.step import Batch, StepMetrics, objective
from audio_train.training.trainer import jit_functions

ALONE = MeshConfig(data=1)
VOCABULARY = Vocabulary.compact("drawn", 512, "drawn", num_codebooks=8, codebook_size=256, text_tokenizer="drawn")


def quickstart_run(root: Path, steps: int) -> ResolvedRun:
    """The quickstart's model, batch and update rule on random frames."""
    rng = np.random.default_rng(0)
    with DatasetWriter(root / "drawn", corpus="drawn", vocabulary=VOCABULARY, provenance={}) as writer:
        for number in range(400):
            frames = VOCABULARY.audio_ids(rng.integers(0, 256, (rng.integers(10, 40), 8)))
            ids = np.concatenate([[VOCABULARY.begin_of_text, VOCABULARY.audio_start], frames, [VOCABULARY.audio_end]])
            writer.write(Document(ids.astype(np.int32), None, {"id": str(number)}))
    _, recipe = find_recipe("quickstart")
    settings = ('data.mixture=[{"start_fraction":0.0,"weights":{"drawn":1.0}}]', f"steps={steps}")
    recipe = override(recipe, *settings, "init.audio_embedding_init=random", "intervals.checkpoint_seconds=null")
    manifests = {name: dataset.manifest for name, dataset in open_root(root).items()}
    return resolve(recipe, VOCABULARY, manifests)


class Unsaved(Checkpoints):
    """Checkpoints that are not written, as their cost is measured apart."""

    def __init__(self) -> None:
        """Hold nothing."""

    def save(self, state: TrainState, step: int) -> None:
        """Write nothing."""

    def wait(self) -> None:
        """Return at once."""


def loop(steps: int, rounds: int) -> dict[str, float]:
    """Share of the step that the loop adds to it, by the clock and in CPU time."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        trainer = Trainer(quickstart_run(root / "data", steps), root / "data", ALONE)
        trainer.compile()
        pairs = [(_bare_step(trainer, steps), _loop_step(trainer, root, steps)) for _ in range(rounds)]
    wall, cpu = ([loop_[i] / bare[i] - 1 for bare, loop_ in pairs] for i in range(2))
    return {
        "bare_step_ms": 1000 * statistics.median(bare[0] for bare, _ in pairs),
        "loop_step_ms": 1000 * statistics.median(loop_[0] for _, loop_ in pairs),
        "overhead_fraction_wall": statistics.median(wall),
        "overhead_fraction_cpu": statistics.median(cpu),
    }


def _loop_step(trainer: Trainer, root: Path, steps: int) -> tuple[float, float]:
    state = trainer.initial_state()
    with JsonLines(root / "metrics.jsonl", 0) as metrics, StopRequest() as stop:
        progress = Progress("train", total=steps, unit="steps")
        recorder = RunRecorder(trainer, root, Unsaved(), metrics, progress)
        wall, cpu = time.monotonic(), time.process_time()
        train(trainer, recorder, state, 0, stop)
        return (time.monotonic() - wall) / steps, (time.process_time() - cpu) / steps


def _bare_step(trainer: Trainer, steps: int) -> tuple[float, float]:
    state, batch = trainer.initial_state(), next(trainer.batches(0))
    state, metrics = trainer.step(state, batch)
    jax.block_until_ready(metrics)
    wall, cpu = time.monotonic(), time.process_time()
    for _ in range(steps):
        state, metrics = trainer.step(state, batch)
        jax.block_until_ready(metrics)
    return (time.monotonic() - wall) / steps, (time.process_time() - cpu) / steps


def checkpoint(saves: int) -> dict[str, float]:
    """Share of a save during which the loop waits."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        trainer = Trainer(quickstart_run(root / "data", 10), root / "data", ALONE)
        # Ten copies of the embedding make the state large enough for a save to take a while.
        state = trainer.initial_state()
        large = replace(state, optimizer=(state.optimizer, [jnp.tile(state.model.embedding, (20, 1))] * 8))
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(large))
        stalls, durations = [], []
        with Checkpoints(root, "f", keep_last=1) as checkpoints:
            for step in range(saves + 1):
                start = time.monotonic()
                checkpoints.save(large, step)
                stalls.append(time.monotonic() - start)
                checkpoints.wait()
                durations.append(time.monotonic() - start)
        shares = [stall / duration for stall, duration in zip(stalls[1:], durations[1:], strict=True)]
        return {
            "state_mib": size / 2**20,
            "stall_seconds": statistics.median(stalls[1:]),
            "save_seconds": statistics.median(durations[1:]),
            "stall_fraction": statistics.median(shares),
        }


def checksums(saves: int) -> dict[str, float]:
    """Cost of a checkpoint's checksums at save and at restore, as shares of the time without them."""
    from audio_train.run_folder import checkpoint as checkpoint_module

    spent = []
    write = checkpoint_module.write_checksums

    def timed(folder: Path) -> None:
        start = time.monotonic()
        write(folder)
        spent.append(time.monotonic() - start)

    checkpoint_module.write_checksums = timed
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        trainer = Trainer(quickstart_run(root / "data", 10), root / "data", ALONE)
        keys = jax.random.split(jax.random.key(0), 12)
        large = replace(trainer.initial_state(), optimizer=[jax.random.normal(key, (2048, 4096)) for key in keys])
        whole, restores, checks = [], [], []
        with Checkpoints(root, "f", keep_last=1) as checkpoints:
            for step in range(saves + 1):
                start = time.monotonic()
                checkpoints.save(replace(large, step=jnp.int32(step)), step)
                checkpoints.wait()
                whole.append(time.monotonic() - start)
                start = time.monotonic()
                checkpoints.check(step)
                checks.append(time.monotonic() - start)
                start = time.monotonic()
                jax.block_until_ready(checkpoints.restore(step, large, checked=True))
                restores.append(time.monotonic() - start)
    rest = [whole - part for whole, part in zip(whole, spent, strict=True)]
    return {
        "state_mib": sum(leaf.nbytes for leaf in jax.tree.leaves(large)) / 2**20,
        "save_seconds": statistics.median(rest[1:]),
        "write_checksums_seconds": statistics.median(spent[1:]),
        "save_fraction": statistics.median(part / full for part, full in zip(spent[1:], rest[1:], strict=True)),
        "restore_seconds": statistics.median(restores[1:]),
        "check_seconds": statistics.median(checks[1:]),
        "restore_fraction": statistics.median(part / full for part, full in zip(checks[1:], restores[1:], strict=True)),
    }


def collectives() -> list[dict[str, float]]:
    """Bytes moved over bytes necessary, for the quickstart's model in float32."""
    with tempfile.TemporaryDirectory() as folder:
        resolved = quickstart_run(Path(folder), 10)
    run = override(resolved.run, "optimizer.name=cautious_adamc", "data.batch_size=8")
    resolved = resolve(run, VOCABULARY)
    rows = []
    for devices in (2, 4, 8):
        module = _compiled(resolved, MeshConfig(data=1, fsdp=devices))
        moved, necessary = moved_bytes(module), fsdp_bytes(resolved.model, 4, devices)
        rows.append({"devices": devices, **moved, "necessary": necessary, "ratio": sum(moved.values()) / necessary})
    return rows


def _compiled(resolved: ResolvedRun, mesh_config: MeshConfig) -> str:
    mesh = make_mesh(mesh_config)
    state = abstract_state(resolved, mesh, mesh_config)
    rows, data = batch_sharding(mesh, resolved.run.data.batch_size), resolved.run.data
    shape = (data.batch_size, data.seq_len)
    kinds = (jnp.int32, jnp.int32, jnp.int32, jnp.bool_)
    batch = Batch(*(jax.ShapeDtypeStruct(shape, kind, sharding=rows) for kind in kinds))
    constants = jax.device_put((objective(resolved), resolved.learning_rate), replicated(mesh))
    return jit_functions(resolved, mesh, mesh_config, state).train.lower(state, batch, *constants).compile().as_text()


PEER_VARIANTS = ("hf-f32", "hf-bf16", "full-f32", "full-bf16", "grammar-f32", "grammar-bf16")
PEER_RATIOS = (
    ("full-f32", "hf-f32"),
    ("full-bf16", "hf-bf16"),
    ("grammar-f32", "hf-f32"),
    ("grammar-bf16", "hf-bf16"),
)


def peer_run(root: Path, loss: str, precision: str, steps: int) -> ResolvedRun:
    """The model, batch and constants of `training_step.py` as a run, on windows of which 95 % are audio."""
    vocabulary = find_experiment("exp2.1").vocabulary
    assert vocabulary is not None
    assert vocabulary.size == training_step.VOCABULARY
    rng = np.random.default_rng(0)
    with DatasetWriter(root / "drawn", corpus="drawn", vocabulary=vocabulary, provenance={}) as writer:
        for number in range(100):
            text, codes = rng.integers(0, 128_000, 25), rng.integers(0, 2048, (60, 8))
            ids = [[vocabulary.begin_of_text], text, vocabulary.audio_ids(codes), [vocabulary.end_of_text]]
            writer.write(Document(np.concatenate(ids).astype(np.int32), None, {"id": str(number)}))
    rate, betas = training_step.LEARNING_RATE, training_step.BETAS
    run = TrainRun(
        name="peer",
        model=ModelShape(**training_step.SHAPE, tied=False),
        data=DataSpec((MixtureStage(0.0, {"drawn": 1.0}),), training_step.SEQ, training_step.BATCH),
        optimizer=OptimizerSpec("adamw", rate, *betas, training_step.EPSILON, training_step.DECAY),
        loss=LossSpec("grammar" if loss == "grammar" else "full"),
        steps=steps,
        precision="bfloat16" if precision == "bf16" else "float32",
    )
    return resolve(run, vocabulary, {name: dataset.manifest for name, dataset in open_root(root).items()})


class TimedTrainer(Trainer):
    """A trainer that notes the processor time at which each step begins."""

    def step(self, state: TrainState, batch: Batch, request: int = 0) -> tuple[TrainState, StepMetrics]:
        """Take a step."""
        self.begun = [*getattr(self, "begun", []), time.process_time()]
        return super().step(state, batch, request)


def peer(variant: str, steps: int) -> dict[str, object]:
    """One variant, in this process."""
    kind, precision = variant.split("-")
    if kind == "hf":
        step, _ = training_step.hf_step(precision, fused=True)
        begun = []
        for _ in range(steps + 2):
            begun.append(time.process_time())
            step()
    else:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            trainer = TimedTrainer(peer_run(root / "data", kind, precision, steps), root / "data", ALONE)
            trainer.compile()
            _loop_step(trainer, root, steps + 2)
            begun = trainer.begun
    # From a step's begin to the next one's. The first, in fresh memory, is counted for neither side.
    cpu = statistics.median(np.diff(begun)[1:])
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {"variant": variant, "cpu_seconds": round(cpu, 4), "peak_rss_mb": round(peak_mb)}


def peers(steps: int, rounds: int, cpu: int) -> list[dict[str, object]]:
    """Processor seconds a step and peak memory of each variant, and the medians of the rounds' ratios."""
    rows: list[dict[str, dict[str, float]]] = []
    for _ in range(rounds):
        row = {}
        for variant in PEER_VARIANTS:
            words = ["taskset", "-c", str(cpu), sys.executable, __file__, "peers", "--one", variant]
            environment = os.environ | training_step.ONE_THREAD
            command = [*words, "--steps", str(steps)]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            row[variant] = json.loads(done.stdout.splitlines()[-1])
            print(json.dumps(row[variant]), flush=True)
        rows.append(row)
    return [
        {
            "ratio": f"{ours} / {theirs}",
            **{
                name: round(statistics.median(row[ours][name] / row[theirs][name] for row in rows), 3)
                for name in ("cpu_seconds", "peak_rss_mb")
            },
        }
        for ours, theirs in PEER_RATIOS
    ]


def main() -> None:
    """Run one measurement and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["loop", "checkpoint", "checksums", "collectives", "peers"])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--saves", type=int, default=5)
    parser.add_argument("--cpu", type=int, default=0, help="core that processes of `peers` are pinned to")
    parser.add_argument("--one", metavar="VARIANT", help="measure a variant of `peers` in this process")
    options = parser.parse_args()
    measured: dict[str, Callable[[], object]] = {
        "loop": lambda: loop(options.steps, options.rounds),
        "checkpoint": lambda: checkpoint(options.saves),
        "checksums": lambda: checksums(options.saves),
        "collectives": collectives,
        "peers": lambda: (
            peer(options.one, options.steps) if options.one else peers(options.steps, options.rounds, options.cpu)
        ),
    }
    result = measured[options.what]()
    for row in result if isinstance(result, list) else [result]:
        print(json.dumps({"load": os.getloadavg()[0], **row}))


if __name__ == "__main__":
    main()
