"""From codes or texts to datasets."""

from typing import Any

import click
from click.core import ParameterSource

from audio_tokenize.cli.options import root_option

_SELECTED = {"splits", "speakers", "languages", "frame_offsets", "holdout_fraction", "heldout"}
_OF_UTTERANCES = {"preset", "grouping", "transcript", "splits", "speakers", "languages", "frame_offsets"}
_OF_TEXTS = {"root"}


@click.command()
@click.argument("source")
@click.option("--vocabulary", metavar="FOLDER", required=True, help="Vocabulary folder; copied beside the dataset.")
@click.option("--out", metavar="FOLDER", required=True, help="Folder of the dataset, DATA/NAME.")
@click.option("--preset", metavar="NAME", help="Use layouts, grouping and transcripts of a published dataset.")
@click.option(
    "--layout", multiple=True, help="Document layout; give several to have each document in each. [audio_first]"
)
@click.option("--grouping", help="Which utterances form a document: utterance, recording, pair, ... [utterance]")
@click.option("--transcript", help="What is done to transcripts: verbatim, lower-case, ... [verbatim]")
@click.option("--codebooks", "num_codebooks", type=int, help="Leading codebooks to keep. [8]")
@click.option("--split", "splits", multiple=True, help="Take this split only; may be given several times.")
@click.option("--speaker", "speakers", multiple=True, help="Take this speaker only; may be given several times.")
@click.option("--language", "languages", multiple=True, help="Take this language only; may be given several times.")
@click.option(
    "--frame-offset",
    "frame_offsets",
    multiple=True,
    type=int,
    help="Take this frame offset only; may be given several times.",
)
@click.option("--holdout", "holdout_fraction", default=0.0, help="Set this fraction of documents apart.")
@click.option("--heldout", is_flag=True, help="Take the documents set apart instead of the others.")
@click.option("--lenient", is_flag=True, help="Skip and count unusable utterances or texts. [default: stop]")
@root_option
@click.option(
    "--begin-of-text",
    type=click.Choice(["single", "double"]),
    help="Begin-of-text ids of a document: as its layout has them, or one more. [single]",
)
@click.option(
    "--text-spaces",
    type=click.Choice(["none", "after", "around"]),
    help="Spaces encoded with each text of --layout text. [none]",
)
@click.option("--overwrite", is_flag=True, help="Replace another dataset that is there.")
def build(source: str, vocabulary: str, out: str, layout: tuple[str, ...], **options: Any) -> None:
    """Build a token dataset from SOURCE, a folder of codes: choose, group, lay out, write.

    With --layout text or document SOURCE may be a corpus of texts, or of documents as published, instead of codes.
    Stopped or killed, the same command goes on where it was.
    """
    from audio_data import InputError, disk_errors, storage_path
    from audio_tokenize import Selection, build_dataset
    from audio_tokenize.encoding.encoded import MANIFEST_NAME

    stated = click.get_current_context().get_parameter_source
    given = {name: value for name, value in options.items() if stated(name) is ParameterSource.COMMANDLINE}
    with disk_errors(storage_path(source), "read"):
        of_text = layout in (("text",), ("document",)) and not (storage_path(source) / MANIFEST_NAME).is_file()
    if useless := given.keys() & (_OF_UTTERANCES if of_text else _OF_TEXTS):
        kind = "text" if of_text else "codes"
        raise InputError(
            f"`{source}` is read as {kind}, to which {', '.join(sorted(useless))!r} does not apply: drop it"
        )
    if of_text:
        from audio_tokenize.datasets.text_building import build_text_dataset

        given["form"] = layout[0]
        manifest = build_text_dataset(source, vocabulary, out, **given)
    else:
        selection = Selection(**{name: given.pop(name) for name in _SELECTED & given.keys()})
        manifest = build_dataset(source, vocabulary, out, layout=layout or None, selection=selection, **given)
    hours = manifest.audio_seconds / 3600
    click.echo(f"{out}: {manifest.num_documents:,} documents, {manifest.num_tokens:,} tokens, {hours:.2f} h")
