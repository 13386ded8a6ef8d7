"""The commands of `audio-train soda`: tokenizations, mixtures, isoFLOP grid and experiments of the study."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from audio_data import complete_names
from audio_train.cli.options import JSON_OPTION, SCALE_OPTION, complete_experiments

if TYPE_CHECKING:
    from audio_train.recipes.smoke_scale import Scale


@click.group()
def soda() -> None:
    """Work with the SODA study: its tokenizations, mixtures and experiments."""


@soda.command()
@JSON_OPTION
def checkpoints(as_json: bool) -> None:
    """List the published weights that runs start from, and the checkpoints that the study exported."""
    from audio_train.soda.page import checkpoint_rows

    found = checkpoint_rows()
    if as_json:
        click.echo(json.dumps(found))
        return
    for row in found["checkpoints"]:
        click.echo(f"{row['name']:<16} {row['repository']}@{row['revision']}: {row['note']}")
    for row in found["exports"]:
        click.echo(row["command"])


@soda.command()
@click.argument("name", required=False, shell_complete=complete_names("audio_train.soda.mixtures:MIXTURES"))
@JSON_OPTION
def mixtures(name: str | None, as_json: bool) -> None:
    """List the mixtures of the study, or the weights of the one called NAME and its rows in each block of rows."""
    from audio_train.soda.mixtures import MIXTURES, named_mixture

    if name is None:
        listed = {mix.name: {"use": mix.use, "source": mix.source} for mix in MIXTURES.values()}
        if as_json:
            click.echo(json.dumps(listed))
        for key, value in {} if as_json else listed.items():
            click.echo(f"{key:20} {value['use']} ({value['source']})")
        return
    mixture = named_mixture(name)
    shares = dict(zip(mixture.corpora, mixture.shares(0), strict=True))
    if as_json:
        weights = mixture.weights(0)
        click.echo(json.dumps({"name": name, "weights": weights, "block": mixture.block_size, "rows_of_block": shares}))
        return
    for corpus, weight in mixture.weights(0).items():
        click.echo(f"{corpus:26} {weight:.5f} {shares[corpus]:5} of {mixture.block_size}")


@soda.command()
@click.argument("name", required=False, shell_complete=complete_names("audio_train.soda.tokenization:TOKENIZATIONS"))
@JSON_OPTION
def tokenization(name: str | None, as_json: bool) -> None:
    """List the tokenizations of the study, or print the commands and choices of the one called NAME."""
    from dataclasses import asdict

    from audio_train.soda.tokenization import CHOICES, TOKENIZATIONS, find_tokenization

    chosen = [find_tokenization(name)] if name else list(TOKENIZATIONS.values())
    if as_json:
        click.echo(
            json.dumps([{**asdict(recipe), "commands": recipe.commands, "choices": CHOICES} for recipe in chosen])
        )
        return
    for recipe in chosen:
        click.echo(f"{recipe.name}: {recipe.corpus} to {', '.join(recipe.produces)} ({recipe.vocabulary})")
        if name:
            for field, why in CHOICES.items():
                click.echo(f"# {field} = {getattr(recipe, field)}: {why}")
            for command in recipe.commands:
                click.echo(f"  {command}")


@soda.command()
@JSON_OPTION
def grid(as_json: bool) -> None:
    """List the models of the isoFLOP sweep at every budget, and the target models."""
    from audio_train.soda.catalogue import MARIN_MIMI
    from audio_train.soda.isoflop import grid_rows

    rows = grid_rows(MARIN_MIMI.size)
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        click.echo(
            f"{row['recipe']:<22} {row['kind']:<6} {row['budget_forward_flops']:.0e} forward, "
            f"{row['budget_training_flops']:.2g} in all: {row['layers']:>2} layers, batch {row['batch_size']:>3}, "
            f"{row['steps']:>6} steps, learning rate {row['learning_rate']:.6f}, beta2 {row['beta2']:.5f}, "
            f"{row['num_parameters'] / 1e6:>6.1f}M, {row['num_tokens'] / 1e9:>7.3f}B tokens, {row['tpu']}"
        )


@soda.command("make-smoke-data")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@click.option(
    "--for",
    "names",
    multiple=True,
    metavar="NAME",
    help="Recipe or experiment, repeatable. [default: all]",
    shell_complete=complete_experiments,
)
def make_smoke_data(out: Path, names: tuple[str, ...]) -> None:
    """Make the data for --scale smoke: a small stand-in for every dataset of the mixtures, and initial weights.

    The stand-ins are made from the sample recordings of audio-tokenize. Finished ones are kept.
    """
    from audio_train.soda.experiments import EXPERIMENTS
    from audio_train.soda.smoke_data import generate

    num_commands = generate(out, names or [experiment.name for experiment in EXPERIMENTS])
    click.echo(f"{num_commands} commands run; the data are in {out}")


@soda.command("run")
@click.argument("experiment", shell_complete=complete_experiments)
@click.option("--data", "data_root", type=click.Path(path_type=Path), required=True, help="Folder of the datasets.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the runs and the report.")
@SCALE_OPTION
@click.option("--only", multiple=True, metavar="RUN", help="Train this run only, repeatable.")
@JSON_OPTION
def run_all(experiment: str, data_root: Path, out: Path, scale: "Scale", only: tuple[str, ...], as_json: bool) -> None:
    """Train every run of EXPERIMENT and write OUT/report.md. Finished runs are kept, stopped ones are resumed.

    At --scale smoke, DATA is made where it is missing.
    """
    from audio_train.soda import experiment_run

    report = experiment_run.run_experiment(experiment, data_root, out, scale=scale, only=only, to_stderr=as_json)
    if as_json:
        click.echo(json.dumps(report))
        return
    for line in [*experiment_run.lines(report), f"the report is {out / 'report.md'}"]:
        click.echo(line)


@soda.command()
@click.option("--data", "data_root", type=click.Path(path_type=Path), required=True, help="Folder of the datasets.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the runs and their scores.")
@click.option("--docs", type=click.Path(path_type=Path), required=True, help="Folder to write miniature.md in.")
@click.option(
    "--only",
    multiple=True,
    metavar="NAME",
    help="Train this comparison only, repeatable; the others of DOCS are kept.",
    shell_complete=complete_names("audio_train.soda.comparisons:COMPARISONS"),
)
@click.option(
    "--seeds",
    "num_seeds",
    type=click.IntRange(min=1),
    help="Number of seeds of each run.  [default: 2 or 3, set by the comparison]",
)
@JSON_OPTION
def miniature(
    data_root: Path, out: Path, docs: Path, only: tuple[str, ...], num_seeds: int | None, as_json: bool
) -> None:
    """Replicate the study's comparisons at smoke scale and write DOCS/miniature.md: tables and figures.

    Takes about two hours on two cores. Finished runs are kept, stopped ones are resumed; DATA is made where it is
    missing.
    """
    from audio_train.soda.comparisons import find_comparisons
    from audio_train.soda.miniature import run_miniature
    from audio_train.soda.miniature_page import write_page

    results = run_miniature(
        find_comparisons(only), data_root, out, sweep=not only, num_seeds=num_seeds, to_stderr=as_json
    )
    page = write_page(results, docs)
    click.echo(json.dumps(results) if as_json else f"the page is {page}")
