"""The command `build`: token ids of any producer to a dataset."""

from typing import TYPE_CHECKING, Any

import click

from audio_data.cli.options import PATH, budget_option

if TYPE_CHECKING:
    from audio_data.storage import StoragePath


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=PATH)
@click.option("--vocabulary", required=True, type=PATH, help="vocabulary.json of the ids, or a manifest.json.")
@click.option("--out", required=True, type=PATH, help="Folder of the new dataset.")
@click.option("--codec", type=PATH, help="JSON of what is known of the codec (id, frame_rate_hz ...), or a manifest.")
@click.option("--ids-column", default="ids", show_default=True, help="Column, key or array that holds the ids.")
@click.option(
    "--holdout", "fraction", type=float, metavar="FRACTION", help="Hold out this share of the utterances, such as 0.01."
)
@click.option("--heldout", is_flag=True, help="Take the held-out utterances instead of the others.")
@budget_option
@click.option("--overwrite", is_flag=True, help="Replace a dataset that is there.")
def build(
    inputs: "tuple[StoragePath, ...]",
    vocabulary: "StoragePath",
    out: "StoragePath",
    codec: "StoragePath | None",
    ids_column: str,
    fraction: float | None,
    heldout: bool,
    max_quarantined: str | None,
    overwrite: bool,
) -> None:
    """Make one dataset of token ids: parquet, JSONL, .npz and .npy files, datasets, or folders of these.

    With --holdout, utterances are held out by a hash of their `base_id`, or else of their `id`. Run the command twice,
    the second time with --heldout and another --out: one dataset to train on, and one that shares no utterance with it.
    """
    from audio_data import Holdout, InputError, Interrupted, Vocabulary, build_dataset
    from audio_data.quarantine import parse_budget

    if heldout and fraction is None:
        raise InputError("`--heldout` takes what `--holdout` sets apart: give `--holdout` a share, such as 0.002")
    known = None if codec is None else _read_codec(codec)
    holdout = None if fraction is None else Holdout(fraction, heldout)
    budget = None if max_quarantined is None else parse_budget(max_quarantined)
    try:
        manifest = build_dataset(
            inputs,
            Vocabulary.read(vocabulary),
            out,
            codec=known,
            ids_column=ids_column,
            holdout=holdout,
            max_quarantined=budget,
            overwrite=overwrite,
        )
    except KeyboardInterrupt as error:
        raise Interrupted(f"stopped; {_how_to_go_on(out, overwrite)}") from error
    left_out = "" if max_quarantined is None else f", {manifest.num_quarantined:,} left out"
    click.echo(f"dataset {out}: {manifest.num_documents:,} documents, {manifest.num_tokens:,} tokens{left_out}")


def _how_to_go_on(out: "StoragePath", overwrite: bool) -> str:
    """Return what a stopped build left, as the writer of datasets will treat it."""
    from audio_data.manifest import MANIFEST_NAME

    if not overwrite:
        return "the same command goes on from the last complete shard"
    if (out / MANIFEST_NAME).exists():
        return f"the dataset in {out} is still the old one; the same command begins the new one again"
    return "without --overwrite the command goes on from the last complete shard, with it it begins again"


def _read_codec(path: "StoragePath") -> dict[str, Any]:
    """Return what a file states of a codec: itself, or the manifest of a dataset."""
    from audio_data import InputError, file_errors, read_json

    remedy = "give a JSON object of what is known of the codec, or a manifest"
    value = read_json(path, remedy=remedy)
    codec = value.get("codec") if "schema_version" in value else value
    with file_errors(path, remedy):
        if not isinstance(codec, dict):
            raise InputError(f"expected a JSON object, got {codec!r:.80}")
    return codec
