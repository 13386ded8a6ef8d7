"""The command line: `audio-tokenize corpora | plan | encode | vocabulary | build | inspect | decode | statistics`."""

import click

from audio_tokenize.cli.build import build
from audio_tokenize.cli.corpora import corpora, plan
from audio_tokenize.cli.encode import encode, train_codec
from audio_tokenize.cli.inspection import decode, inspect, statistics
from audio_tokenize.cli.vocabulary import vocabulary


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="audio-tokenize")
def main() -> None:
    """Speech and transcripts to token datasets: encode a corpus once, build as many datasets from it as you like."""


for _command in (corpora, plan, encode, vocabulary, build, inspect, decode, statistics, train_codec):
    main.add_command(_command)
