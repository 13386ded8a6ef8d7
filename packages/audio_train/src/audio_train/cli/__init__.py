"""The command line: `audio-train quickstart | new | recipes | show | plan | run | resume | export | isoflop | ...`.

An installed package adds commands through the entry-point group `audio_train.commands`: each is a click command.
"""

from importlib.metadata import entry_points
from pathlib import Path

import click

from audio_train.cli.isoflop import isoflop
from audio_train.cli.options import JSON_OPTION
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
    """Train decoders on token records, from a recipe to an exported model."""


for command in (*RECIPE_COMMANDS, isoflop, *TRAINING_COMMANDS):
    main.add_command(command)


@main.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("quickstart"), show_default=True, help="Work folder."
)
@click.option(
    "--audio", type=click.Path(path_type=Path), help="Folder of your own speech, instead of the sample corpus."
)
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Minutes of training.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of weights and data order.")
@JSON_OPTION
def quickstart(out: Path, audio: Path | None, minutes: float | None, seed: int, as_json: bool) -> None:
    """Train and evaluate a model from a folder of speech, and print every command on the way."""
    from audio_train import quickstart as chain

    chain.main(out=out, audio=audio, minutes=minutes, seed=seed, as_json=as_json)
