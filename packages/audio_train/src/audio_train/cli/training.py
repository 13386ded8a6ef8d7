"""The commands `audio-train run`, `resume`, `export` and `plan`."""

import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audio_data import complete_names
from audio_train.cli.options import DATA_OPTION, JSON_OPTION, MIXTURE_OPTION, SCALE_OPTION, SET_OPTION, TARGET_ARGUMENT

if TYPE_CHECKING:
    from audio_train.recipes.smoke_scale import Scale
    from audio_train.training.launch import RunResult

MESH_OPTION = click.option(
    "--mesh",
    metavar="AXIS=N,...",
    help="Devices along fsdp, tensor, data and replica, such as fsdp=8. [default: fsdp, as many as share the batch]",
)
MICROBATCHES_OPTION = click.option(
    "--microbatches", type=click.IntRange(min=1), default=1, show_default=True, help="Gradient-accumulation steps."
)


def launched(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a launch, which do not change what a run computes."""
    options = (
        MESH_OPTION,
        MICROBATCHES_OPTION,
        click.option(
            "--processes",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            help="Processes to start on this machine.",
        ),
        click.option(
            "--distributed",
            metavar="auto|HOST:PORT,NUM,INDEX",
            help="Join a multi-host run: auto on a cluster, or address of the first process, number of processes and "
            "index of this one.",
        ),
        click.option(
            "--max-quarantined",
            metavar="N|P%",
            help="Maximum damaged documents of a dataset to leave out. [default: none]",
        ),
        click.option(
            "--track",
            "trackers",
            multiple=True,
            metavar="NAME",
            help="Also log to tensorboard, wandb or trackio; repeatable.",
            shell_complete=complete_names("tensorboard", "wandb", "trackio"),
        ),
        click.option(
            "--track-audio",
            "num_samples",
            type=click.IntRange(min=0),
            default=0,
            metavar="N",
            help="Generate N audio samples at each validation, and log them to the trackers. [default: 0]",
        ),
        click.option(
            "--validation/--no-validation",
            "validate",
            default=True,
            show_default=True,
            help="Validate on the datasets whose names begin with heldout, if the recipe states no evaluation.",
        ),
        click.option(
            "--profile", metavar="FIRST:LAST", help="Trace steps FIRST to LAST with JAX's profiler to RUN/profile."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@TARGET_ARGUMENT
@click.option("--data", "data_root", type=click.Path(path_type=Path), required=True, help="Folder of the datasets.")
@click.option("--out", "out_dir", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@MIXTURE_OPTION
@SCALE_OPTION
@SET_OPTION
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="Set the number of steps so that training takes about this long on this machine.",
)
@click.option(
    "--until",
    type=click.IntRange(min=1),
    metavar="STEP",
    help="Save and stop at this step; the same command without it continues the run.",
)
@click.option(
    "--resume",
    default="auto",
    show_default=True,
    metavar="auto|never|PATH",
    help="Continue from the newest checkpoint in OUT, from none, or from this one.",
)
@click.option(
    "--start",
    "--init",
    "init",
    type=click.Path(path_type=Path),
    help="Initial weights: a model folder, the folder of a run or one of its checkpoints. A recipe from scratch takes "
    "the shape of that model.",
)
@launched
def run(
    target: str,
    data_root: Path,
    out_dir: Path,
    mixture: str | None,
    scale: "Scale",
    assignments: tuple[str, ...],
    minutes: float | None,
    resume: str,
    init: Path | None,
    until: int | None,
    **how: Any,
) -> None:
    """Train a recipe, or resume it, and export the model to OUT/export.

    TARGET is a registered name, FILE.py:NAME, MODULE:NAME or a resolved.json.
    """
    options = _options(**how)
    from audio_data import parse_weights
    from audio_train.recipes.smoke_scale import init_folder
    from audio_train.recipes.targets import named_run
    from audio_train.training import launch
    from audio_train.training.start import started_from

    weights = None if mixture is None else parse_weights(mixture)
    starting = None if init is None else partial(started_from, path=init)
    named = named_run(target, data_root, assignments, scale, options["max_quarantined"], weights, starting)
    if init is None and scale == "smoke":
        init = init_folder(named.resolved.run, named.target.experiment, data_root)
    _report(
        launch.run(
            named.resolved, data_root, out_dir, resume=resume, minutes=minutes, init=init, until=until, **options
        )
    )


@click.command()
@click.argument("run_dir", metavar="RUN", type=click.Path(path_type=Path))
@DATA_OPTION
@launched
def resume(run_dir: Path, data_root: Path | None, **how: Any) -> None:
    """Resume the run in the folder RUN from its newest checkpoint."""
    options = _options(**how)
    from audio_train.run_folder import folder
    from audio_train.training import launch

    resolved = folder.require_run(run_dir)
    _report(launch.run(resolved, data_root or folder.last_data_root(run_dir), run_dir, **options))


@click.command()
@click.argument("run_dir", metavar="RUN", type=click.Path(path_type=Path))
@DATA_OPTION
@click.option("--out", "out_dir", type=click.Path(path_type=Path), help="Model folder to write. [default: RUN/export]")
@click.option("--step", type=int, help="Step of the checkpoint to export. [default: the newest]")
@click.option("--best", is_flag=True, help="Export the checkpoint with the lowest validation loss.")
@click.option("--adapter", is_flag=True, help="Write only the adapters of a low-rank run, in PEFT's format, to --out.")
@click.option(
    "--push",
    "repository",
    metavar="OWNER/NAME",
    help="Also upload the folder to this repository of the Hugging Face hub; a new repository is private.",
)
def export(
    run_dir: Path,
    data_root: Path | None,
    out_dir: Path | None,
    step: int | None,
    best: bool,
    adapter: bool,
    repository: str | None,
) -> None:
    """Write a checkpoint of RUN as a model folder in Hugging Face's Qwen3 format, with tokenizer and model card."""
    from audio_train.training import launch

    if best and step is not None:
        raise click.UsageError("--best and --step name two checkpoints; give one of them")
    folder = launch.export(run_dir, data_root, step="best" if best else step, out_dir=out_dir, adapter=adapter)
    click.echo(folder)
    if repository is not None:
        from audio_data import HubRepository

        target = HubRepository(repository, f"upload of `{folder}`", "")
        click.echo(target.upload_folder(folder, f"Model of {run_dir.resolve().name}"))


@click.command()
@TARGET_ARGUMENT
@click.option("--slice", "slice_name", required=True, metavar="NAME", help="Devices, such as v5p-128 or h100-8.")
@DATA_OPTION
@MIXTURE_OPTION
@SET_OPTION
@MESH_OPTION
@MICROBATCHES_OPTION
@click.option(
    "--mfu",
    type=click.FloatRange(0, 1, min_open=True),
    help="MFU to assume (causal attention).  [default: estimated from the compiled block, else 0.4]",
)
@click.option(
    "--compile/--no-compile", "compiles", default=True, help="Compile the step for the slice, if libtpu is installed."
)
@click.option(
    "--timeout", type=click.FloatRange(min=1), default=900.0, show_default=True, help="Maximum seconds to compile."
)
@JSON_OPTION
def plan(
    target: str,
    slice_name: str,
    data_root: Path | None,
    mixture: str | None,
    assignments: tuple[str, ...],
    mesh: str | None,
    microbatches: int,
    mfu: float | None,
    compiles: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Estimate FLOPs, memory and time of a recipe on a TPU or GPU slice; exits 2 if it does not fit.

    TARGET is a registered name, FILE.py:NAME, MODULE:NAME or a resolved.json. With --data it also counts the documents
    that are longer than a row.
    """
    from audio_train.hardware import COMPILER_ENVIRONMENT

    os.environ.update(COMPILER_ENVIRONMENT)  # nothing is computed, so no device is needed
    from audio_data import parse_weights
    from audio_train.planning import plan as planning
    from audio_train.recipes.targets import named_run

    weights = None if mixture is None else parse_weights(mixture)
    named = named_run(target, data_root, assignments, mixture=weights)
    estimate = planning.plan_run(named.resolved, slice_name, mesh=mesh, microbatches=microbatches, mfu=mfu)
    if data_root is not None:
        from audio_data import open_root
        from audio_train.training.trainer import cut_document_lines

        for line in cut_document_lines(named.resolved, open_root(data_root)):
            click.echo(line, err=True)
    if compiles:
        estimate = planning.with_compiled(estimate, timeout_seconds=timeout)
    click.echo(json.dumps(estimate.to_json()) if as_json else "\n".join(estimate.lines()))
    estimate.require_fit()


def _options(
    mesh: str | None,
    microbatches: int,
    processes: int,
    distributed: str | None,
    max_quarantined: str | None,
    trackers: tuple[str, ...],
    profile: str | None,
    validate: bool,
    num_samples: int,
) -> dict[str, Any]:
    """Convert launch options to arguments of `launch.run`. With --processes, run the processes and exit instead."""
    if processes > 1:
        from audio_train.command_lines import start_here, without_option

        sys.exit(start_here(without_option(sys.argv[1:], "--processes"), processes))
    from audio_train.command_lines import limit_arenas

    limit_arenas()
    if distributed is not None:
        from audio_train.sharding.processes import join

        join(distributed)
    from audio_data import parse_budget
    from audio_train.sharding.mesh import MeshConfig
    from audio_train.training.recorder import parse_profile

    return {
        "mesh_config": MeshConfig.parse(mesh, microbatches=microbatches) if mesh else None,
        "microbatches": microbatches,
        "max_quarantined": parse_budget(max_quarantined) if max_quarantined else None,
        "trackers": trackers,
        "profile": parse_profile(profile) if profile else None,
        "validate": validate,
        "num_samples": num_samples,
    }


def _report(result: "RunResult") -> None:
    """Print how a run ended, in the first process. A run stopped by Ctrl-C exits with status 130, by SIGTERM with 0."""
    from audio_train.run_folder.folder import read_best
    from audio_train.sharding.processes import is_first

    if not is_first():
        return
    if result.finished:
        click.echo(f"finished step {result.step}; the model is in {result.folder / 'export'}")
        best = read_best(result.folder)
        if best is not None and best.step < result.step:
            click.echo(
                f"the validation loss was lowest at step {best.step} ({best.loss:.4g}); that model: audio-train export "
                f"{result.folder} --best --out {result.folder / 'best'}",
                err=True,
            )
        return
    saved = result.step > result.first_step
    kept = f"saved step {result.step} of {result.last_step}" if saved else "stopped before the first step"
    click.echo(f"{result.stopped_by}: {kept}; continue with: audio-train resume {result.folder}")
    sys.exit(128 + signal.SIGINT if result.stopped_by == "SIGINT" else 0)


TRAINING_COMMANDS = (run, resume, export, plan)
