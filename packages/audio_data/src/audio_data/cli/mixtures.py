"""The mixtures of the study."""

import click

from audio_data.cli.options import json_option, print_json


@click.command()
@click.argument("name", required=False)
@json_option
def mixes(name: str | None, as_json: bool) -> None:
    """List the mixtures of the study, or the weights and places per block of one."""
    from audio_data.mixes import MIXES, named_mixture

    if name is None:
        listed = {mix.name: {"use": mix.use, "source": mix.source} for mix in MIXES.values()}
        if as_json:
            print_json(listed)
        for key, value in {} if as_json else listed.items():
            click.echo(f"{key:20} {value['use']} ({value['source']})")
        return
    mixture = named_mixture(name)
    shares = dict(zip(mixture.corpora, mixture.shares(0), strict=True))
    if as_json:
        print_json({"name": name, "weights": mixture.weights(0), "block": mixture.block, "places": shares})
        return
    for corpus, weight in mixture.weights(0).items():
        click.echo(f"{corpus:26} {weight:.5f} {shares[corpus]:5} of {mixture.block}")
