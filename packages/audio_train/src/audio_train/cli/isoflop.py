"""The commands of `audio-train isoflop`."""

import json
from pathlib import Path

import click

from audio_train.cli.options import JSON_OPTION


@click.group()
def isoflop() -> None:
    """The isoFLOP grid, and scaling laws from losses at equal compute."""


@isoflop.command()
@JSON_OPTION
def grid(as_json: bool) -> None:
    """List the models of every budget: the sweep and the targets."""
    from audio_train.isoflop.report import grid_rows

    rows = grid_rows()
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


@isoflop.command()
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="CSV file to write.")
def losses(runs: tuple[Path, ...], out: Path) -> None:
    """Write the held-out losses of finished RUNS, folders, as `isoflop fit` takes them."""
    from audio_train.isoflop import report as report

    report.write_measurements(out, {run.name: report.measurement_of(run) for run in runs})
    click.echo(f"{len(runs)} losses are in {out}")


@isoflop.command()
@click.argument("losses", type=click.Path(path_type=Path))
@click.option("--figures", type=click.Path(path_type=Path), help="Folder to draw curves.svg and laws.svg in.")
@click.option(
    "--predict", "budgets", type=float, multiple=True, help="Predict the best model of this budget, in FLOPs."
)
@click.option("--parametric/--no-parametric", default=True, help="Fit L(N, D) to all runs too.  [default: on]")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the bootstrap.")
@JSON_OPTION
def fit(
    losses: Path, figures: Path | None, budgets: tuple[float, ...], parametric: bool, seed: int, as_json: bool
) -> None:
    """Fit power laws to LOSSES, a CSV file with the columns budget_flops, num_parameters, num_tokens and loss."""
    from audio_train.isoflop import report as report
    from audio_train.isoflop.fit import fit_isoflop
    from audio_train.isoflop.parametric import fit_parametric
    from audio_train.recipes.catalogue import MARIN_MIMI

    measurements = report.read_measurements(losses)
    found = fit_isoflop(measurements, seed=seed)
    formula = fit_parametric(measurements, seed=seed) if parametric else None
    predictions = [found.predict(budget, MARIN_MIMI.size) for budget in budgets]
    drawn = report.write_figures(found, figures) if figures else []
    if as_json:
        click.echo(json.dumps({**report.fit_json(found, formula, predictions), "figures": list(map(str, drawn))}))
        return
    for line in [*report.lines(found, formula, predictions), *(f"drawn: {path}" for path in drawn)]:
        click.echo(line)
