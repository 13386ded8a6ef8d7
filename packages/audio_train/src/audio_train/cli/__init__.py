"""The command line: `audio-train quickstart | adapt | new | recipes | show | plan | run | resume | export | ...`.

An installed package adds commands through the entry-point group `audio_train.commands`: each is a click command.
"""

import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click

from audio_train.cli.isoflop import isoflop
from audio_train.cli.options import JSON_OPTION, SET_OPTION
from audio_train.cli.recipes import RECIPE_COMMANDS
from audio_train.cli.training import TRAINING_COMMANDS

COMMAND_GROUP = "audio_train.commands"


class _Commands(click.Group):
    """Commands of this package, then those of entry points, which are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *sorted(entry_points(group=COMMAND_GROUP).names - set(self.commands))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        if command is None and (found := tuple(entry_points(group=COMMAND_GROUP, name=cmd_name))):
            return found[0].load()
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="audio-train")
def main() -> None:
    """Train decoders on token datasets, from a recipe to an exported model."""


for command in (*RECIPE_COMMANDS, isoflop, *TRAINING_COMMANDS):
    main.add_command(command)


@main.command()
@click.option(
    "--from",
    "model",
    type=click.Path(path_type=Path),
    required=True,
    help="Model to adapt: a run, an export or a model folder.",
)
@click.option("--audio", type=click.Path(path_type=Path), required=True, help="Folder or manifest of your recordings.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of everything that is made.")
@click.option(
    "--task",
    type=click.Choice(["asr", "tts", "both", "continuation", "translation"]),
    default="both",
    show_default=True,
    help="What to learn from the recordings.",
)
@click.option(
    "--steps", type=click.IntRange(min=1), default=600, show_default=True, help="Maximum number of training steps."
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Evaluations during training, which stops after two without improvement; the best step is kept.",
)
@click.option("--language", help="Language of recordings that do not state it.")
@click.option(
    "--transcriber",
    default="auto",
    show_default=True,
    help="Transcriber of generated speech, in any form that audio-eval run takes.",
)
@click.option(
    "--rehearse",
    type=click.Path(path_type=Path),
    metavar="DATA",
    help="Folder of the datasets that the model was trained on: they are mixed in, and forgetting is measured on them.",
)
@click.option(
    "--rehearsal-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Share of the rows that come from --rehearse.",
)
@SET_OPTION
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of data order and sampling.")
@JSON_OPTION
def adapt(assignments: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Adapt a model to your recordings, compare it with the model before, and print every command on the way.

    Some utterances are held out: on one part of them the best step is chosen, on the others the scores are measured.
    """
    from audio_train.adapt import Adaptation, closing, main

    outcome = main(Adaptation(settings=assignments, **options), as_json=as_json)
    click.echo(json.dumps(outcome) if as_json else closing(outcome))


@main.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("quickstart"),
    show_default=True,
    help="Folder of everything that is made.",
)
@click.option(
    "--audio", type=click.Path(path_type=Path), help="Folder of your own speech, instead of the sample corpus."
)
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Minutes of training. [default: about 6]")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of weights and data order.")
@JSON_OPTION
def quickstart(out: Path, audio: Path | None, minutes: float | None, seed: int, as_json: bool) -> None:
    """Train and evaluate a model from a folder of speech, and print every command on the way."""
    from audio_train import quickstart as chain

    chain.main(out=out, audio=audio, minutes=minutes, seed=seed, as_json=as_json)
