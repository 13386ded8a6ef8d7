"""The commands of `audio-train` about the study: what there is, where its numbers come from, its miniature."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from audio_train.cli.options import DATA_OPTION, JSON_OPTION, SCALE_OPTION, SET_OPTION

if TYPE_CHECKING:
    from audio_train.studies.scale import Scale


@click.command()
@JSON_OPTION
def recipes(as_json: bool) -> None:
    """List every recipe with its size, tokens and FLOPs; with --json also tokenizations and checkpoints."""
    from audio_train.studies import recipe_table

    if as_json:
        click.echo(json.dumps(recipe_table.document()))
        return
    for line in recipe_table.lines():
        click.echo(line)


@click.command()
@click.argument("recipe")
@DATA_OPTION
@SCALE_OPTION
@SET_OPTION
@JSON_OPTION
def show(recipe: str, data_root: Path | None, scale: "Scale", assignments: tuple[str, ...], as_json: bool) -> None:
    """Print RECIPE with every derived number and where each comes from; --data resolves it against your datasets."""
    from audio_train import provenance
    from audio_train.studies.named_run import named_run

    named = named_run(recipe, data_root, assignments, scale)
    study, resolved = named.study, named.resolved.to_json()
    known = provenance.origins(named.resolved, named.recipe, study, scale=scale, assignments=assignments)
    about = {"question": study.question, "source": study.source_of(recipe), "reported": study.reported_of(recipe)}
    if as_json:
        click.echo(json.dumps({**resolved, "study": {"name": study.name, **about}, "origins": known}))
        return
    for name, text in about.items():
        click.echo(f"# {name}: {text}")
    for section in ("run", "derived", "datasets"):
        for path, value in provenance.leaves(resolved[section], section):
            origin = provenance.origin_of(path, known)
            click.echo(f"{path} = {json.dumps(value)}" + (f"  # {origin}" if origin else ""))
    click.echo(f"fingerprint = {resolved['fingerprint']}")


@click.command()
@click.argument("name", required=False)
@JSON_OPTION
def tokenization(name: str | None, as_json: bool) -> None:
    """List the tokenizations of the study, or print the command lines of the one called NAME, and its choices."""
    from dataclasses import asdict

    from audio_train.recipes.tokenization import CHOICES, TOKENIZATIONS, find_tokenization

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


@click.command("smoke-data")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to put everything in.")
@click.option("--for", "names", multiple=True, metavar="NAME", help="Recipe or study; all of them if not given.")
def smoke_data(out: Path, names: tuple[str, ...]) -> None:
    """Make what recipes need at --scale smoke: a small corpus for each of their mixtures' names, weights to begin with.

    The corpora come from the sample recordings of audio-tokenize, by its commands. What is there is not made again.
    """
    from audio_train.recipes import STUDIES
    from audio_train.studies import smoke_data as making

    published = [study.name for study in STUDIES if study.vocabulary is not None]
    num_commands = making.generate(out, names or published)
    click.echo(f"{num_commands} commands run; the data are in {out}")


@click.command()
@click.argument("family")
@click.option("--data", "data_root", type=click.Path(path_type=Path), required=True, help="Folder of the datasets.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the runs and the report.")
@SCALE_OPTION
@click.option("--only", multiple=True, metavar="RUN", help="Take this run only; may be given several times.")
@JSON_OPTION
def study(family: str, data_root: Path, out: Path, scale: "Scale", only: tuple[str, ...], as_json: bool) -> None:
    """Run every recipe of the study FAMILY and write OUT/report.md; finished runs are kept, stopped ones go on.

    At --scale smoke, DATA is made where it is missing.
    """
    from audio_train.studies import study_run

    report = study_run.run_study(family, data_root, out, scale=scale, only=only, to_stderr=as_json)
    if as_json:
        click.echo(json.dumps(report))
        return
    for line in [*study_run.lines(report), f"the report is {out / 'report.md'}"]:
        click.echo(line)


@click.command()
@click.option("--data", "data_root", type=click.Path(path_type=Path), required=True, help="Folder of the datasets.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the runs and their scores.")
@click.option("--docs", type=click.Path(path_type=Path), required=True, help="Folder to write miniature.md in.")
@click.option("--only", multiple=True, metavar="NAME", help="Train this comparison only, and keep the others of DOCS.")
@click.option(
    "--seeds",
    "num_seeds",
    type=click.IntRange(min=1),
    help="Number of seeds of each run. [2 or 3, as a comparison says]",
)
@JSON_OPTION
def miniature(
    data_root: Path, out: Path, docs: Path, only: tuple[str, ...], num_seeds: int | None, as_json: bool
) -> None:
    """Train the study's comparisons in miniature and write what they show: DOCS/miniature.md, tables and figures.

    About two hours on two cores. Finished runs are kept, stopped ones go on; DATA is made where it is missing.
    """
    from audio_train.studies.comparisons import find_comparisons
    from audio_train.studies.miniature import run_miniature
    from audio_train.studies.miniature_page import write_page

    results = run_miniature(
        find_comparisons(only), data_root, out, sweep=not only, num_seeds=num_seeds, to_stderr=as_json
    )
    page = write_page(results, docs)
    click.echo(json.dumps(results) if as_json else f"the page is {page}")


STUDY_COMMANDS = (recipes, show, tokenization, smoke_data, study, miniature)
