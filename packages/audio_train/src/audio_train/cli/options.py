"""Options of several `audio-train` commands."""

from pathlib import Path

import click

from audio_data import complete_names

complete_recipes = complete_names("audio_train.recipes:recipe_names")
complete_experiments = complete_names("audio_train.recipes:experiments")
DATA_OPTION = click.option(
    "--data", "data_root", type=click.Path(path_type=Path), help="Folder of the datasets: DATA/<corpus>/manifest.json."
)
SET_OPTION = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="PATH=VALUE",
    help="Change a field of the recipe, such as optimizer.beta2=0.98; repeatable.",
)
TARGET_ARGUMENT = click.argument("target", metavar="TARGET", shell_complete=complete_recipes)
MIXTURE_OPTION = click.option(
    "--mixture",
    metavar="NAME=WEIGHT,...",
    help="Training datasets with weights, such as asr=1,tts=1, instead of the recipe's.",
)
SCALE_OPTION = click.option(
    "--scale",
    type=click.Choice(["published", "smoke"]),
    default="published",
    show_default=True,
    help="The recipe as published, or reduced to train in minutes on two CPU cores.",
)
JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
