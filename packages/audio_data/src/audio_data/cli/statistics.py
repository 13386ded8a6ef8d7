"""The command `stats`: counts of datasets."""

import math
from typing import TYPE_CHECKING

import click

from audio_data.cli.options import PATH, data_argument, json_option, print_json

if TYPE_CHECKING:
    from audio_data.storage import StoragePath


@click.command()
@data_argument
@click.option("--mixture", metavar="NAME=WEIGHT,...", help="Show what this mixture draws from each dataset.")
@click.option(
    "--tokens", type=float, help="Tokens of a training run, such as 500e9: show how often it reads each dataset."
)
@click.option("--html", "page", type=PATH, help="Also write an HTML page with a figure to this file.")
@json_option
def stats(
    data: "StoragePath", mixture: str | None, tokens: float | None, page: "StoragePath | None", as_json: bool
) -> None:
    """Count documents, tokens by kind and hours of every dataset below DATA."""
    from audio_data import InputError, Mixture, check_output, open_root, parse_weights, write_output
    from audio_data.describe import dataset_lines, describe_datasets
    from audio_data.statistics_page import GENERATOR, statistics_page

    if tokens is not None and mixture is None:
        raise InputError("`--tokens` says how often a mixture reads each corpus: give `--mixture` too, or leave it out")
    if tokens is not None and not (math.isfinite(tokens) and tokens > 0):
        raise InputError(f"`--tokens`: expected a number above 0, such as 500e9, got {tokens!r}")
    chosen = None if mixture is None else Mixture.constant("mixture", parse_weights(mixture))
    if page is not None:
        check_output(page, GENERATOR.encode())
    datasets = open_root(data)
    if chosen is not None:
        chosen.check_corpora(datasets)
    report = describe_datasets(datasets, chosen, tokens)
    if page is not None:
        write_output(page, statistics_page(report, f"Datasets in {data.name}").encode(), GENERATOR.encode())
    if as_json:
        print_json(report)
    else:
        click.echo("\n".join(dataset_lines(report)))
