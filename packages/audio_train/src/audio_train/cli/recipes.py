"""The commands of `audio-train` about recipes: list them, print one, write a new one."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from audio_train.cli.options import (
    DATA_OPTION,
    JSON_OPTION,
    MIXTURE_OPTION,
    SCALE_OPTION,
    SET_OPTION,
    TARGET_ARGUMENT,
    complete_experiments,
)

if TYPE_CHECKING:
    from audio_train.recipes.smoke_scale import Scale


@click.command()
@click.argument("words", metavar="[WORD]...", nargs=-1, shell_complete=complete_experiments)
@click.option("--all", "every", is_flag=True, help="List every recipe, not only the experiments.")
@JSON_OPTION
def recipes(words: tuple[str, ...], every: bool, as_json: bool) -> None:
    """List the experiments, or the recipes that have each WORD in a name, with size, tokens, FLOPs and reported result.

    A WORD is a part of the name of a recipe, an experiment, a model size or a mixture, such as exp1.2 or 600m. On a
    terminal lines are cut to its width; `show` prints everything about one recipe. With --json, recipes are listed even
    without a WORD.
    """
    import shutil
    from dataclasses import asdict

    from audio_data import InputError, nearest
    from audio_train.recipes import experiments, table

    known = experiments()
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    if not (words or every or as_json):
        for line in table.overview(known.values(), width):
            click.echo(line)
        num_recipes = sum(len(experiment.runs) for experiment in known.values())
        click.echo(f"{num_recipes} recipes; list some with `audio-train recipes WORD...`, or all with --all")
        return
    rows = list(table.rows(known.values(), words))
    if not rows:
        raise InputError(f"no recipe has the words {' '.join(words)}; {nearest(words[0], known)}")
    if as_json:
        click.echo(json.dumps({"recipes": [asdict(row) for row in rows]}))
        return
    for line in table.lines(rows, width):
        click.echo(line)


@click.command()
@TARGET_ARGUMENT
@DATA_OPTION
@MIXTURE_OPTION
@SCALE_OPTION
@SET_OPTION
@JSON_OPTION
def show(
    target: str,
    data_root: Path | None,
    mixture: str | None,
    scale: "Scale",
    assignments: tuple[str, ...],
    as_json: bool,
) -> None:
    """Print a recipe with every derived number and the origin of each.

    TARGET is a registered name, FILE.py:NAME, MODULE:NAME or a resolved.json. --data resolves it for your datasets.
    """
    from audio_data import parse_weights
    from audio_train.recipes import provenance
    from audio_train.recipes.targets import named_run

    weights = None if mixture is None else parse_weights(mixture)
    named = named_run(target, data_root, assignments, scale, mixture=weights)
    experiment, resolved = named.target.experiment, named.resolved.to_json()
    known = provenance.origins(named, scale=scale, assignments=assignments)
    about = {
        "question": experiment.question,
        "source": experiment.source_of(target),
        "reported": experiment.reported_of(target),
    }
    if as_json:
        click.echo(json.dumps({**resolved, "experiment": {"name": experiment.name, **about}, "origins": known}))
        return
    for name, text in about.items():
        if text:
            click.echo(f"# {name}: {text}")
    for section in ("run", "derived", "datasets"):
        for path, value in provenance.leaves(resolved[section], section):
            origin = provenance.origin_of(path, known)
            click.echo(f"{path} = {json.dumps(value)}" + (f"  # {origin}" if origin else ""))
    click.echo(f"fingerprint = {resolved['fingerprint']}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def new(file: Path) -> None:
    """Write a commented recipe to FILE. It trains without changes on any folder of datasets."""
    from audio_train.recipes.starter import write_starter

    name = write_starter(file)
    click.echo(f"`{file}` defines {name}; train it with: audio-train run {file}:{name} --data DATA --out RUN")


RECIPE_COMMANDS = (recipes, show, new)
