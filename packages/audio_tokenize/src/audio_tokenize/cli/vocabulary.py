"""Which ids mean what."""

import json
from typing import Any

import click

from audio_tokenize.cli.options import json_option


@click.command()
@click.argument("codes", nargs=-1)
@click.option("--out", metavar="FOLDER", required=True, help="Folder of the vocabulary; usually DATA/vocabulary.")
@click.option(
    "--kind", default="compact", show_default=True, help="compact, or as published: marin-mimi or qwen3x-mimi."
)
@click.option("--pieces", default=128, show_default=True, help="Learned text pieces at most, beside 256 bytes.")
@click.option("--tokenizer", metavar="SOURCE", help="Text tokens of a published kind: a file, a package or a hub id.")
@click.option("--revision", help="Of the tokenizer, if it is a hub id.")
@click.option("--codec", help="Codec whose codebooks go into the folder; that of CODES, or none if published.")
@click.option("--weights", help="Weights of the codec, where they do not come with it.")
@click.option("--merges", metavar="N", type=int, help="Learn byte-pair merges of codes, and count the tokens.")
@json_option
def vocabulary(codes: tuple[str, ...], out: str, as_json: bool, **options: Any) -> None:
    """Make a vocabulary: text pieces learned from the transcripts of CODES, or those of a published model, then codes.

    A published kind needs CODES for --merges only.
    """
    from audio_tokenize.vocabularies.building import describe_merges, describe_vocabulary, make_vocabulary

    made = make_vocabulary(codes, **options)
    made.save(out)
    described = describe_vocabulary(made)
    if made.merges is not None:
        described["merges"] = describe_merges(made.merges, codes)
    if as_json:
        click.echo(json.dumps(described))
        return
    num_text, fingerprint = made.vocabulary.num_text, made.vocabulary.fingerprint[:12]
    click.echo(f"{out}: {made.vocabulary.size:,} ids, {num_text:,} of them text; fingerprint {fingerprint}")
    for split, count in described.get("merges", {}).items():
        plain, merged, fraction = count.values()
        click.echo(f"  merges, split {split}: {plain:,} audio tokens become {merged:,}, {fraction:.1%} fewer")
