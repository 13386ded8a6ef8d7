"""Training the embedded codec."""

from pathlib import Path

import click

_EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("train-codec")
@click.argument("audio", type=_EXISTING_FOLDER)
@click.option("--out", type=_FILE, required=True, help="The weights file, .safetensors.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Change a field of the recipe.")
def train_codec(audio: Path, out: Path, settings: tuple[str, ...]) -> None:
    """Train the embedded codec anew on all audio below AUDIO. Its codes are others than the shipped ones."""
    from audio_data import check_output
    from audio_tokenize.codecs.embedded import training
    from audio_tokenize.codecs.embedded.weights import MARK
    from audio_tokenize.settings import with_settings

    check_output(out, MARK)
    codec = training.train_codec(with_settings(training.CodecRecipe(), settings), audio, out)
    click.echo(f"{out}: codec {codec.codec_id}; encode with --codec {out}")
