"""From recordings to codes, and the training of the codec that makes them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from audio_tokenize.cli.options import root_option

T = TypeVar("T")

_EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("corpus")
@click.option("--out", metavar="FOLDER", required=True, help="Folder of the codes: a path, gs:// or s3://; created.")
@root_option
@click.option("--language", help="Encode this language only.")
@click.option("--split", "splits", multiple=True, help="Encode this split only; may be given several times.")
@click.option("--transcripts", metavar="RULE", help="What is done to transcripts, e.g. verbatim. [the corpus' own]")
@click.option("--strict", is_flag=True, help="Fail on the first malformed utterance instead of skipping it.")
@click.option("--corpus-revision", help="Revision of a corpus on the hub. [the card's]")
@click.option(
    "--codec",
    default="embedded",
    show_default=True,
    help="Codec: embedded, mimi or another registered name, a weights file, FILE.py:NAME or MODULE:NAME.",
)
@click.option("--weights", help="Weights of mimi: a folder, a .safetensors file or a hub id. [kyutai/mimi]")
@click.option("--revision", help="Revision of the weights on the hub.")
@click.option("--codebooks", type=int, help="Leading codebooks to make. [mimi: 8]")
@click.option("--attention-window", default="10", show_default=True, help="Seconds that mimi looks back, or none.")
@click.option(
    "--frame-offsets",
    "num_frame_offsets",
    default=1,
    show_default=True,
    metavar="N",
    help="Encode each training utterance N times, shifted by 1/N frame each (augmentation).",
)
@click.option(
    "--speed-perturbation",
    default=0.0,
    show_default=True,
    help="Play the shifted copies at speeds within 1 plus or minus this.",
)
@click.option("--target-rms", type=float, help="Scale each utterance to this RMS, e.g. 0.07. [default: as recorded]")
@click.option("--max-clip-seconds", type=float, help="Encode longer utterances in pieces of this length.")
@click.option(
    "--shard", metavar="I/N", help="Do every N-th shard from the I-th on, and leave the others to other jobs."
)
@click.option("--engine", default="local", show_default=True, help="What runs the work: local or ray.")
@click.option("--workers", "num_workers", type=int, help="Processes, or Ray tasks at a time. [local: 1; ray: all]")
@click.option("--gpus-per-worker", default=0.0, help="What each Ray task asks for. [0]")
@click.option(
    "--max-quarantined",
    metavar="N|P%",
    default="5%",
    show_default=True,
    help="Most utterances that may be skipped, as a number or a share.",
)
@click.option(
    "--verify-inputs",
    is_flag=True,
    help="Compare recordings with a finished run's (reads up to 256 KiB of each). [where a time stamp differs]",
)
def encode(
    corpus: str,
    out: str,
    root: str | None,
    language: str | None,
    splits: tuple[str, ...],
    transcripts: str | None,
    strict: bool,
    corpus_revision: str | None,
    codec: str,
    weights: str | None,
    revision: str | None,
    codebooks: int | None,
    attention_window: str,
    shard: str | None,
    max_quarantined: str,
    **options,
) -> None:
    """Encode CORPUS, a name that `corpora` lists or your own folder or manifest, to codes on disk.

    CORPUS may also be the form of your own files below --root: folder, jsonl, parquet or tar. Stopped or killed, the
    same command goes on where it was.
    """
    from audio_data import Interrupted, disk_errors, parse_budget, storage_path
    from audio_tokenize import CodecSpec, encode_corpus, open_corpus
    from audio_tokenize.encoding.encoded import MANIFEST_NAME
    from audio_tokenize.encoding.jobs import seconds_or_none, shard_of_jobs, summary

    opened = open_corpus(
        corpus,
        root=root,
        language=language,
        # So that a published corpus does not even fetch what it holds of others.
        split=splits or None,
        transcripts=transcripts,
        strict=strict,
        revision=corpus_revision,
    )
    with disk_errors(storage_path(out), "read"):
        state = "already encoded, nothing to do" if (storage_path(out) / MANIFEST_NAME).is_file() else "encoded"
    try:
        manifest = encode_corpus(
            opened,
            CodecSpec(codec, weights, revision, codebooks, seconds_or_none(attention_window)),
            out,
            splits=splits,
            shard=shard_of_jobs(shard),
            max_quarantined=parse_budget(max_quarantined),
            **options,
        )
    except KeyboardInterrupt as error:
        raise Interrupted(f"stopped; run the same command again to go on in {out}") from error
    if manifest is None:
        click.echo(f"{out}: this job's shards are done; the manifest is written by the job that ends last")
        return
    first, *reasons = summary(manifest)
    click.echo("\n".join([f"{out}: {state}: {first}", *reasons]))


@click.command("train-codec")
@click.argument("audio", type=_EXISTING_FOLDER)
@click.option("--out", type=_FILE, required=True, help="The weights file, .safetensors.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Change a field of the recipe.")
def train_codec(audio: Path, out: Path, settings: tuple[str, ...]) -> None:
    """Train the embedded codec anew on all audio below AUDIO. Its codes are others than the shipped ones."""
    from audio_data import check_output
    from audio_tokenize.codecs.embedded import training
    from audio_tokenize.codecs.embedded.weights import MARK

    check_output(out, MARK)
    codec = training.train_codec(with_settings(training.CodecRecipe(), settings), audio, out)
    click.echo(f"{out}: codec {codec.codec_id}; encode with --codec {out}")


def with_settings(recipe: T, settings: Sequence[str]) -> T:
    """Return a copy of a dataclass value with some fields changed.

    Args:
        recipe: A value of strings, numbers or tuples of them.
        settings: `NAME=VALUE` each; a value is text for a text field and JSON for any other.

    Raises:
        InputError: No such field, or a value of another type.
    """
    from audio_data import InputError, decode_json, from_json, to_json

    fields: dict[str, Any] = to_json(recipe)
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"`--set` must be NAME=VALUE, got {setting!r}")
        try:
            fields[name] = value if isinstance(fields.get(name), str) else decode_json(value)
        except InputError:
            fields[name] = value
    return from_json(type(recipe), fields, "recipe")
