"""The commands of `audio-train isoflop`."""

import json
from pathlib import Path

import click

from audio_train.cli.options import JSON_OPTION


@click.group()
def isoflop() -> None:
    """Scaling laws from losses at equal compute."""


@isoflop.command()
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="CSV file to write.")
def losses(runs: tuple[Path, ...], out: Path) -> None:
    """Write the held-out losses of finished RUNS (folders) to a CSV file for `isoflop fit`."""
    from audio_train.isoflop import report as report

    report.write_measurements(out, {run.name: report.measurement_of(run) for run in runs})
    click.echo(f"{len(runs)} losses are in {out}")


@isoflop.command()
@click.argument("losses", type=click.Path(path_type=Path))
@click.option("--figures", type=click.Path(path_type=Path), help="Folder for the figures curves.svg and laws.svg.")
@click.option(
    "--predict",
    "budgets",
    type=float,
    multiple=True,
    help="Budget in FLOPs for which to predict the best model; repeatable.",
)
@click.option("--vocab-size", type=click.IntRange(min=1), help="Vocabulary size of the predicted models.")
@click.option("--parametric/--no-parametric", default=True, help="Also fit L(N, D) to all runs.  [default: on]")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the bootstrap.")
@JSON_OPTION
def fit(
    losses: Path,
    figures: Path | None,
    budgets: tuple[float, ...],
    vocab_size: int | None,
    parametric: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Fit power laws to LOSSES, a CSV file with the columns budget_flops, num_parameters, num_tokens and loss."""
    from audio_train.isoflop import report as report
    from audio_train.isoflop.fit import fit_isoflop
    from audio_train.isoflop.parametric import fit_parametric

    if budgets and vocab_size is None:
        raise click.UsageError("--predict needs --vocab-size N, on which the number of parameters of a width depends")
    measurements = report.read_measurements(losses)
    found = fit_isoflop(measurements, seed=seed)
    formula = fit_parametric(measurements, seed=seed) if parametric else None
    predictions = [found.predict(budget, vocab_size or 0) for budget in budgets]
    drawn = report.write_figures(found, figures) if figures else []
    if as_json:
        click.echo(json.dumps({**report.fit_json(found, formula, predictions), "figures": list(map(str, drawn))}))
        return
    for line in [*report.lines(found, formula, predictions), *(f"drawn: {path}" for path in drawn)]:
        click.echo(line)
