"""The command line: `audio-tokenize corpora | encode | vocabulary | build | decode | inspect | train-codec`."""

import json
from pathlib import Path

import click

_FOLDER = click.Path(file_okay=False, path_type=Path)
_EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_EXISTING = click.Path(exists=True, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
_index_option = click.option("--index", default=0, show_default=True, help="Which utterance or document.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="audio-tokenize")
def main() -> None:
    """Speech and transcripts to token datasets: encode a corpus once, build as many datasets from it as you like."""


@main.command()
@click.argument("corpus", required=False)
@_json_option
def corpora(corpus: str | None, as_json: bool) -> None:
    """List the corpora that come with this package, or describe CORPUS, one of them or your own."""
    from audio_tokenize.corpora import SHIPPED, open_corpus

    if corpus is None:
        found = [{"name": card.name, "description": card.description, "licence": card.licence} for card in SHIPPED]
    else:
        opened = open_corpus(corpus)
        found = {
            "name": opened.name,
            "licence": opened.licence,
            "num_utterances": len(opened),
            "hours": round(opened.seconds / 3600, 3),
            "splits": opened.splits,
            "speakers": opened.speakers,
            "languages": opened.languages,
            "skipped": [{"id": entry.id, "reason": entry.reason} for entry in opened.skipped],
        }
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    for entry in found if isinstance(found, list) else [found]:
        click.echo("\n  ".join(f"{name}: {value}" for name, value in entry.items()))


@main.command()
@click.argument("corpus")
@click.option("--out", type=_FOLDER, required=True, help="Folder of the codes; created.")
@click.option("--codec", default="embedded", show_default=True, help="Which codec encodes: a name or a weights file.")
@click.option(
    "--phases", default=1, show_default=True, help="Encode each train utterance that often, at shifted frames."
)
@click.option(
    "--speed-spread", default=0.0, show_default=True, help="Play later phases at speeds within 1 plus or minus this."
)
@click.option("--level", type=float, help="Bring each utterance to this RMS first, e.g. 0.07; as recorded by default.")
@click.option("--split", "splits", multiple=True, help="Encode this split only; may be given several times.")
def encode(
    corpus: str,
    out: Path,
    codec: str,
    phases: int,
    speed_spread: float,
    level: float | None,
    splits: tuple[str, ...],
) -> None:
    """Encode CORPUS, a name that `corpora` lists or your own folder or manifest, to codes on disk.

    Stopped or killed, the same command goes on where it was.
    """
    from audio_tokenize import encode_corpus, load_codec, open_corpus
    from audio_tokenize.encoded import MANIFEST_NAME

    state = "already encoded, nothing to do" if (out / MANIFEST_NAME).is_file() else "encoded"
    opened, loaded = open_corpus(corpus), load_codec(codec)
    try:
        manifest = encode_corpus(
            opened,
            loaded,
            out,
            codec_name=codec,
            num_phases=phases,
            speed_spread=speed_spread,
            level=level,
            splits=splits,
        )
    except KeyboardInterrupt as error:
        click.echo(f"stopped; run the same command again to go on in {out}", err=True)
        raise click.Abort from error
    click.echo(
        f"{out}: {state}: {manifest.num_records:,} records of {manifest.num_utterances:,} utterances, "
        f"{manifest.seconds / 3600:.2f} h, {manifest.num_frames:,} frames, {len(manifest.skipped)} skipped"
    )
    for entry in manifest.skipped[:5]:
        click.echo(f"  skipped {entry['id']}: {entry['reason']}")


@main.command()
@click.argument("codes", nargs=-1, required=True, type=_EXISTING_FOLDER)
@click.option("--out", type=_FOLDER, required=True, help="Folder of the vocabulary; usually DATA/vocabulary.")
@click.option("--pieces", default=128, show_default=True, help="Learned text pieces at most, beside 256 bytes.")
def vocabulary(codes: tuple[Path, ...], out: Path, pieces: int) -> None:
    """Make a vocabulary for CODES: text pieces learned from their transcripts, then the codec's codes."""
    from audio_tokenize import EncodedCorpus, VocabularyFolder, load_codec

    corpora = [EncodedCorpus.open(folder) for folder in codes]
    made = VocabularyFolder.train(corpora, load_codec(corpora[0].manifest.codec["name"]), num_pieces=pieces)
    made.save(out)
    size, num_text = made.vocabulary.size, made.vocabulary.num_text
    click.echo(f"{out}: {size:,} ids, {num_text} of them text; fingerprint {made.vocabulary.fingerprint[:12]}")


@main.command()
@click.argument("codes", type=_EXISTING_FOLDER)
@click.option(
    "--vocabulary", type=_EXISTING_FOLDER, required=True, help="Vocabulary folder; copied beside the dataset."
)
@click.option("--out", type=_FOLDER, required=True, help="Folder of the dataset, DATA/NAME.")
@click.option("--layout", default="audio_first", show_default=True, help="Document layout; the README lists them.")
@click.option("--codebooks", default=8, show_default=True, help="Leading codebooks to keep.")
@click.option("--split", "splits", multiple=True, help="Take this split only; may be given several times.")
@click.option("--speaker", "speakers", multiple=True, help="Take this speaker only; may be given several times.")
@click.option("--language", "languages", multiple=True, help="Take this language only; may be given several times.")
@click.option("--phase", "phases", multiple=True, type=int, help="Take this phase only; may be given several times.")
@click.option(
    "--grouping", default="utterance", show_default=True, help="A document is an utterance, recording or pair."
)
@click.option("--holdout", "holdout_fraction", default=0.0, help="Set this fraction of documents apart.")
@click.option("--heldout", is_flag=True, help="Take the documents set apart instead of the others.")
@click.option("--overwrite", is_flag=True, help="Replace another dataset that is there.")
def build(
    codes: Path, vocabulary: Path, out: Path, layout: str, codebooks: int, grouping, overwrite, **selected
) -> None:
    """Build a token dataset from CODES: choose, group, lay out, write."""
    from audio_tokenize import Selection, build_dataset

    selection = Selection(**selected)
    options = {"layout": layout, "num_codebooks": codebooks, "grouping": grouping, "overwrite": overwrite}
    manifest = build_dataset(codes, vocabulary, out, selection=selection, **options)
    hours = manifest.audio_seconds / 3600
    click.echo(f"{out}: {manifest.num_documents:,} documents, {manifest.num_tokens:,} tokens, {hours:.2f} h")


@main.command()
@click.argument("source", type=_EXISTING)
@click.option("--out", type=_FILE, required=True, help="The .wav file.")
@_index_option
def decode(source: Path, out: Path, index: int) -> None:
    """Decode an entry of SOURCE, a folder of codes, a token dataset or a .npy file of codes, to a .wav file."""
    from audio_tokenize import decode_excerpt, read_excerpt, write_wav

    samples, sample_rate_hz = decode_excerpt(read_excerpt(source, index))
    write_wav(out, samples, sample_rate_hz)
    click.echo(f"{out}: {len(samples) / sample_rate_hz:.2f} s at {sample_rate_hz} Hz")


@main.command()
@click.argument("source", type=_EXISTING)
@_index_option
@_json_option
def inspect(source: Path, index: int, as_json: bool) -> None:
    """Show an entry of SOURCE, a folder of codes, a token dataset or a .npy file of codes."""
    from audio_tokenize import describe_excerpt, read_excerpt

    description = describe_excerpt(read_excerpt(source, index))
    if as_json:
        click.echo(json.dumps(description, ensure_ascii=False))
        return
    segments = description.pop("segments")
    click.echo("  ".join(f"{name}={value}" for name, value in description.items()))
    for segment in segments:
        shape = f"{segment['num_frames']} frames x {segment['num_codebooks']} codes, {segment['seconds']:.2f} s"
        click.echo(f"  [{shape}, first {segment['first_frame']}] {segment['text']}")


@main.command("train-codec")
@click.argument("audio", type=_EXISTING_FOLDER)
@click.option("--out", type=_FILE, required=True, help="The weights file, .safetensors.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Change a field of the recipe.")
def train_codec(audio: Path, out: Path, settings: tuple[str, ...]) -> None:
    """Train the embedded codec anew on all audio below AUDIO. Its codes are others than the shipped ones."""
    from audio_tokenize.codecs.embedded import training
    from audio_tokenize.settings import with_settings

    codec = training.train_codec(with_settings(training.CodecRecipe(), settings), audio, out)
    click.echo(f"{out}: codec {codec.codec_id}; encode with --codec {out}")
