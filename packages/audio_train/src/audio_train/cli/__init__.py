"""The command line: `audio-train quickstart | recipes | show | plan | run | resume | export | study | ...`."""

from pathlib import Path

import click

from audio_train.cli.isoflop import isoflop
from audio_train.cli.options import JSON_OPTION
from audio_train.cli.studies import STUDY_COMMANDS
from audio_train.cli.training import TRAINING_COMMANDS


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Train decoders on token records, from a recipe to an exported model."""


for command in (*STUDY_COMMANDS, isoflop, *TRAINING_COMMANDS):
    main.add_command(command)


@main.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("quickstart"), show_default=True, help="Work folder."
)
@click.option("--audio", type=click.Path(path_type=Path), help="Your own speech instead of the sample corpus.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Minutes of training.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of weights and data order.")
@JSON_OPTION
def quickstart(out: Path, audio: Path | None, minutes: float | None, seed: int, as_json: bool) -> None:
    """From a folder of speech to a trained, evaluated model, by the very commands you would type."""
    from audio_train import quickstart as chain

    chain.main(out=out, audio=audio, minutes=minutes, seed=seed, as_json=as_json)
