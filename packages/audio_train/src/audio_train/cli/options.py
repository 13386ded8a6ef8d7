"""Options that several commands of `audio-train` take."""

from pathlib import Path

import click

DATA_OPTION = click.option(
    "--data", "data_root", type=click.Path(path_type=Path), help="Folder of the datasets: DATA/<corpus>/manifest.json."
)
SET_OPTION = click.option(
    "--set", "assignments", multiple=True, metavar="PATH=VALUE", help="Change a field, such as optimizer.beta2=0.98."
)
SCALE_OPTION = click.option(
    "--scale",
    type=click.Choice(["published", "smoke"]),
    default="published",
    show_default=True,
    help="As published, or a miniature that two CPU cores train in minutes.",
)
JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
