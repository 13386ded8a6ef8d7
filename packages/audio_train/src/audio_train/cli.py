"""The `audio-train` command line."""

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from audio_train.launch import Outcome
    from audio_train.resolved import ResolvedRun

DATA_OPTION = click.option(
    "--data", "data_root", type=click.Path(path_type=Path), help="Folder of the datasets: DATA/<corpus>/manifest.json."
)
SET_OPTION = click.option(
    "--set", "assignments", multiple=True, metavar="PATH=VALUE", help="Change a field, such as optimizer.beta2=0.98."
)
JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Train decoders on token records, from a recipe to an exported model."""


@main.command()
@JSON_OPTION
def recipes(as_json: bool) -> None:
    """List every recipe."""
    from audio_train.recipes import STUDIES

    rows = [
        {"name": name, "study": study.name, "question": study.question, "reported": study.reported.get(name, "unknown")}
        for study in STUDIES
        for name in study.runs
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    for study in STUDIES:
        click.echo(f"{study.name}: {study.question}")
        for name in study.runs:
            click.echo(f"  {name:<16} reported: {study.reported.get(name, 'unknown')}")


@main.command()
@click.argument("recipe")
@DATA_OPTION
@SET_OPTION
@JSON_OPTION
def show(recipe: str, data_root: Path | None, assignments: tuple[str, ...], as_json: bool) -> None:
    """Print RECIPE with every derived number; --data resolves it against datasets of your own."""
    resolved = _resolved(recipe, data_root, assignments).to_json()
    if as_json:
        click.echo(json.dumps(resolved))
        return
    for section in ("run", "derived", "datasets"):
        for path, value in _leaves(resolved[section], section):
            click.echo(f"{path} = {json.dumps(value)}")
    click.echo(f"fingerprint = {resolved['fingerprint']}")


@main.command()
@click.argument("recipe")
@click.option("--data", "data_root", type=click.Path(path_type=Path), required=True, help="Folder of the datasets.")
@click.option("--out", "out_dir", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@SET_OPTION
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True), help="Choose the steps that fit this time here."
)
@click.option("--resume", default="auto", show_default=True, metavar="auto|never|PATH", help="Where to go on from.")
def run(
    recipe: str, data_root: Path, out_dir: Path, assignments: tuple[str, ...], minutes: float | None, resume: str
) -> None:
    """Train RECIPE, or go on with it where it stopped, and export the model to OUT/export."""
    from audio_train import launch

    resolved = _resolved(recipe, data_root, assignments)
    _report(launch.run(resolved, data_root, out_dir, resume=resume, minutes=minutes))


@main.command()
@click.argument("run_dir", metavar="RUN", type=click.Path(path_type=Path))
@DATA_OPTION
def resume(run_dir: Path, data_root: Path | None) -> None:
    """Go on with the run in the folder RUN where its newest checkpoint left it."""
    from audio_train import folder, launch

    resolved = folder.require_run(run_dir)
    _report(launch.run(resolved, data_root or folder.last_data_root(run_dir), run_dir))


@main.command()
@click.argument("run_dir", metavar="RUN", type=click.Path(path_type=Path))
@DATA_OPTION
@click.option(
    "--out", "out_dir", type=click.Path(path_type=Path), help="Model folder to write; RUN/export if not given."
)
@click.option("--step", type=int, help="Checkpoint to export; the newest if not given.")
def export(run_dir: Path, data_root: Path | None, out_dir: Path | None, step: int | None) -> None:
    """Write a checkpoint of RUN as a model folder in Hugging Face's Qwen3 format."""
    from audio_train import launch

    click.echo(launch.export(run_dir, data_root, step=step, out_dir=out_dir))


@main.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("quickstart"), show_default=True, help="Work folder."
)
@click.option("--audio", type=click.Path(path_type=Path), help="Your own speech instead of the sample corpus.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Minutes of training.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of weights and data order.")
@JSON_OPTION
def quickstart(out: Path, audio: Path | None, minutes: float | None, seed: int, as_json: bool) -> None:
    """From a folder of speech to a trained, evaluated model, by the very commands you would type."""
    from audio_train import quickstart as chain

    chain.main(out=out, audio=audio, minutes=minutes, seed=seed, as_json=as_json)


def _resolved(recipe: str, data_root: Path | None, assignments: tuple[str, ...]) -> "ResolvedRun":
    """A recipe with its overrides, against the vocabulary and datasets of DATA, or the study's own vocabulary."""
    from audio_data import InputError, open_root
    from audio_train.overrides import override
    from audio_train.recipes import find_recipe
    from audio_train.resolved import resolve

    study, value = find_recipe(recipe)
    value = override(value, *assignments) if assignments else value
    if data_root is not None:
        manifests = {name: dataset.manifest for name, dataset in open_root(data_root).items()}
        return resolve(value, next(iter(manifests.values())).vocabulary, manifests)
    if study.vocabulary is None:
        raise InputError(f"recipe `{recipe}` takes its vocabulary from the data; give --data DATA.")
    return resolve(value, study.vocabulary)


def _report(outcome: "Outcome") -> None:
    """Say how a run ended; a run stopped by Ctrl-C exits 130, by SIGTERM 0."""
    if outcome.finished:
        click.echo(f"finished step {outcome.step}; the model is in {outcome.folder / 'export'}")
        return
    click.echo(
        f"{outcome.stopped_by}: saved step {outcome.step} of {outcome.num_steps}; "
        f"go on with: audio-train resume {outcome.folder}"
    )
    sys.exit(128 + signal.SIGINT if outcome.stopped_by == "SIGINT" else 0)


def _leaves(value: Any, path: str) -> list[tuple[str, Any]]:
    """Every number, string and empty container below a JSON value, with its path."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    pairs = [pair for key, child in children for pair in _leaves(child, f"{path}.{key}")]
    return pairs or [(path, value)]
