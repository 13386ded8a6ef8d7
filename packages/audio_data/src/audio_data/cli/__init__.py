"""The command line: `audio-data build | inspect | verify | stats`."""

import click

from audio_data.cli.building import build
from audio_data.cli.inspection import inspect
from audio_data.cli.statistics import stats
from audio_data.cli.verification import verify


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="audio-data")
def main() -> None:
    """Build, inspect, count and check token datasets. Paths are local, gs:// or s3://."""


for _command in (build, inspect, verify, stats):
    main.add_command(_command)
