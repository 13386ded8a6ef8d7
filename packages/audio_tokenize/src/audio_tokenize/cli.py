"""The command line: `audio-tokenize corpora | plan | encode | vocabulary | build | inspect | decode | statistics`."""

import json
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from audio_data import complete_names

_PATH = click.Path()
_CODEC = complete_names("embedded", "mimi")
_CORPUS = complete_names(
    "audio_tokenize.corpora.registry:SHIPPED",
    "audio_tokenize.corpora.cards:CARDS",
    "audio_tokenize.corpora.registry:FORMS",
)
_RULE = complete_names("audio_tokenize.corpora.entries:TRANSCRIPT_RULES")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
vocabulary_option = click.option(
    "--vocabulary", metavar="DIR", type=_PATH, help="Vocabulary folder, for ids that come without one."
)
root_option = click.option(
    "--root", metavar="DIR", type=_PATH, help="Folder with the files of a corpus that is given by name."
)
index_option = click.option("--index", default=0, show_default=True, help="Index of the utterance or document, from 0.")


@click.command()
@click.argument("corpus", required=False, shell_complete=_CORPUS)
@click.option("--kind", type=click.Choice(["speech", "text", "documents"]), help="List corpora of this kind only.")
@json_option
def corpora(corpus: str | None, kind: str | None, as_json: bool) -> None:
    """List the shipped and the published corpora, or describe CORPUS: one of them, or your own."""
    from audio_tokenize.corpora.registry import describe, list_corpora, one_line

    found = describe(corpus) if corpus is not None else list_corpora(kind)
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
    elif isinstance(found, list):
        click.echo("\n".join(one_line(entry) for entry in found))
    else:
        click.echo("\n  ".join(f"{name}: {value}" for name, value in found.items()))


@click.command()
@click.argument("corpus", shell_complete=_CORPUS)
@root_option
@click.option("--language", help="Count this language only.")
@click.option("--split", help="Count this split only.")
@click.option("--hours", type=float, help="Hours of audio, if neither the files nor the publisher state them.")
@click.option("--codebooks", default=8, show_default=True, help="Number of codebooks that each frame has.")
@click.option(
    "--words-per-second",
    type=float,
    help="Speaking rate, to estimate text tokens. [default: counted in the transcripts, if there are any]",
)
@click.option(
    "--codec",
    default="embedded",
    show_default=True,
    help="Codec to measure, in any form that `encode` takes.",
    shell_complete=_CODEC,
)
@click.option(
    "--weights",
    type=_PATH,
    help="Weights of mimi: a folder, a .safetensors file or a hub id. [default: kyutai/mimi]",
)
@click.option("--speed", type=float, help="Encoding speed of a worker, as a multiple of real time.")
@click.option(
    "--measure", is_flag=True, help="Measure that speed on this machine, with half a minute of the sample corpus."
)
@click.option("--workers", default=1, show_default=True, help="Number of workers.")
@json_option
def plan(
    corpus: str,
    root: str | None,
    language: str | None,
    split: str | None,
    hours: float | None,
    codebooks: int,
    words_per_second: float | None,
    codec: str,
    weights: str | None,
    speed: float | None,
    measure: bool,
    workers: int,
    as_json: bool,
) -> None:
    """Estimate tokens, storage and encoding time of CORPUS, a name that `corpora` lists or your own, before encoding.

    Each figure is printed with its source. A name without --root is estimated from published figures, offline.
    """
    from audio_tokenize import price_corpus
    from audio_tokenize.inspection.pricing import find_corpus, show_price, worker_speed

    spec = None
    if measure:
        from audio_tokenize import CodecSpec

        spec = CodecSpec(codec, weights=weights)
    price = price_corpus(
        find_corpus(corpus, root=root, language=language, split=split),
        hours=hours,
        language=language,
        num_codebooks=codebooks,
        words_per_second=words_per_second,
        speed=worker_speed(speed, spec),
        num_workers=workers,
    )
    click.echo(json.dumps(price.to_json(), ensure_ascii=False) if as_json else show_price(price))


_EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("corpus", shell_complete=_CORPUS)
@click.option(
    "--out", metavar="FOLDER", type=_PATH, required=True, help="Folder of the codes: a path, gs:// or s3://; created."
)
@root_option
@click.option("--language", help="Encode this language only; it is also that of your own files that state none.")
@click.option("--split", "splits", multiple=True, help="Encode this split only, repeatable.")
@click.option(
    "--transcripts",
    metavar="RULE",
    help="Rule for transcripts, such as verbatim. [default: the corpus's own]",
    shell_complete=_RULE,
)
@click.option("--strict", is_flag=True, help="Fail on the first malformed utterance instead of skipping it.")
@click.option(
    "--corpus-revision", help="Revision of a corpus on the hub. [default: the one that `corpora CORPUS` shows]"
)
@click.option(
    "--codec",
    shell_complete=_CODEC,
    default="embedded",
    show_default=True,
    help="Codec: embedded, mimi or another registered name, a weights file, FILE.py:NAME or MODULE:NAME.",
)
@click.option(
    "--weights",
    metavar="DIR",
    type=_PATH,
    help="Weights of mimi: a folder, a .safetensors file or a hub id. [default: kyutai/mimi]",
)
@click.option("--revision", help="Branch, tag or commit of the weights on the hub.")
@click.option("--codebooks", type=int, help="Number of leading codebooks to encode, with mimi. [default: 8]")
@click.option(
    "--attention-window",
    default="10",
    show_default=True,
    help="Seconds of past audio that mimi attends to, or none for all of it.",
)
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
    help="Change the speed of the shifted copies by up to this fraction: 0.1 is 0.9 to 1.1 times.",
)
@click.option(
    "--target-rms",
    type=float,
    help="Scale each utterance to this RMS, full scale being 1, such as 0.07. [default: as recorded]",
)
@click.option(
    "--max-clip-seconds", type=float, help="Encode longer utterances in pieces of this length. [default: whole]"
)
@click.option(
    "--cut-at-pauses",
    "max_segment_seconds",
    type=float,
    metavar="SECONDS",
    help="Cut audio without transcript into utterances of at most SECONDS by voice activity, and leave silence out.",
)
@click.option(
    "--shard",
    metavar="I/N",
    help="Encode shards I, I+N, I+2N, ... of the corpus (I from 0), for N jobs that share one --out.",
)
@click.option(
    "--engine",
    default="local",
    show_default=True,
    help="Engine that runs the workers: local or ray.",
    shell_complete=complete_names("local", "ray"),
)
@click.option(
    "--workers",
    "num_workers",
    type=int,
    help="Number of processes, or of Ray tasks. [default: local 1, ray as many as fit]",
)
@click.option(
    "--gpus-per-worker", default=0.0, show_default=True, help="GPUs that each Ray task reserves; may be a fraction."
)
@click.option(
    "--max-quarantined",
    metavar="N|P%",
    default="5%",
    show_default=True,
    help="Maximum utterances that may be skipped, as a number or a share.",
)
@click.option(
    "--verify-inputs",
    is_flag=True,
    help="Compare every recording with the one encoded before (reads up to 256 KiB of each). [default: only those "
    "with a new time stamp]",
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
    num_frame_offsets: int,
    speed_perturbation: float,
    target_rms: float | None,
    max_clip_seconds: float | None,
    engine: str,
    num_workers: int | None,
    gpus_per_worker: float,
    max_quarantined: str,
    max_segment_seconds: float | None,
    verify_inputs: bool,
) -> None:
    """Encode CORPUS, a name that `corpora` lists or your own folder or manifest, to codes on disk.

    Your own audio may lie in a folder, with or without transcripts, in a manifest (JSONL, CSV, lhotse, NeMo), a data
    folder of Kaldi, tar archives or parquet tables. CORPUS is its path, or its form (folder, jsonl, ljspeech, kaldi,
    lhotse, parquet, tar) with the path as --root. Run the same command again to continue after a stop.
    """
    from audio_data import Interrupted, disk_errors, parse_budget, storage_path
    from audio_tokenize import CodecSpec, encode_corpus, open_corpus
    from audio_tokenize.corpora.voice_activity import SpeechSegments
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
    if max_segment_seconds is not None:
        opened = SpeechSegments(opened, max_segment_seconds)
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
            num_frame_offsets=num_frame_offsets,
            speed_perturbation=speed_perturbation,
            target_rms=target_rms,
            max_clip_seconds=max_clip_seconds,
            engine=engine,
            num_workers=num_workers,
            gpus_per_worker=gpus_per_worker,
            verify_inputs=verify_inputs,
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
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change a setting of the training, such as seed=1; repeatable.",
)
def train_codec(audio: Path, out: Path, settings: tuple[str, ...]) -> None:
    """Train the embedded codec again, on all audio below AUDIO. Codes of the shipped codec do not fit the new one."""
    from audio_data import check_output, with_settings
    from audio_tokenize.codecs.embedded import training
    from audio_tokenize.codecs.embedded.weights import MARK

    check_output(out, MARK)
    codec = training.train_codec(with_settings(training.CodecRecipe(), settings, "recipe"), audio, out)
    click.echo(f"{out}: codec {codec.codec_id}; encode with --codec {out}")


@click.command()
@click.argument("codes", nargs=-1, type=_PATH)
@click.option(
    "--out", metavar="FOLDER", type=_PATH, required=True, help="Folder of the vocabulary; usually DATA/vocabulary."
)
@click.option(
    "--kind",
    default="compact",
    show_default=True,
    help="compact (learned here), or a published one: marin-mimi or qwen3x-mimi.",
)
@click.option(
    "--pieces", default=128, show_default=True, help="Maximum number of learned text pieces, besides the 256 bytes."
)
@click.option(
    "--tokenizer",
    metavar="SOURCE",
    type=_PATH,
    help="Tokenizer of a published kind: a file, a Python package or a hub id.",
)
@click.option("--revision", help="Branch, tag or commit of the tokenizer on the hub.")
@click.option(
    "--codec",
    help="Codec whose codebook vectors are stored with it. [default: that of CODES; none for a published kind]",
    shell_complete=_CODEC,
)
@click.option("--weights", metavar="DIR", type=_PATH, help="Weights of the codec, where they do not come with it.")
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


_SELECTED = {"splits", "speakers", "languages", "frame_offsets", "holdout_fraction", "heldout", "holdout_after"}
_OF_UTTERANCES = {
    *("preset", "grouping", "transcript", "holdout_after"),
    *("splits", "speakers", "languages", "frame_offsets"),
}
_OF_TEXTS = {"root"}


@click.command()
@click.argument("source", type=_PATH)
@click.option(
    "--vocabulary", metavar="FOLDER", type=_PATH, required=True, help="Vocabulary folder; copied beside the dataset."
)
@click.option("--out", metavar="FOLDER", type=_PATH, required=True, help="Folder of the dataset, DATA/NAME.")
@click.option(
    "--preset",
    metavar="NAME",
    help="Use the layouts, grouping, transcript rule and codebooks of a published dataset.",
    shell_complete=complete_names("audio_tokenize.datasets.presets:DATASET_PRESETS"),
)
@click.option(
    "--layout",
    multiple=True,
    help="Document layout, repeatable: every document in each. [default: audio_first]",
    shell_complete=complete_names("audio_tokenize.documents.layouts:LAYOUTS"),
)
@click.option(
    "--grouping",
    help="Utterances of a document: utterance (one), recording, pair, ... [default: utterance]",
    shell_complete=complete_names("audio_tokenize.datasets.groupings:GROUPINGS"),
)
@click.option(
    "--transcript", help="Rule for transcripts: verbatim, lower-case, ... [default: verbatim]", shell_complete=_RULE
)
@click.option("--codebooks", "num_codebooks", type=int, help="Number of leading codebooks to keep. [default: 8]")
@click.option("--split", "splits", multiple=True, help="Take this split only, repeatable.")
@click.option("--speaker", "speakers", multiple=True, help="Take this speaker only, repeatable.")
@click.option("--language", "languages", multiple=True, help="Take this language only, repeatable.")
@click.option(
    "--frame-offset",
    "frame_offsets",
    multiple=True,
    type=int,
    help="Take this frame offset only, 0 to N-1 for N of `encode --frame-offsets`; repeatable.",
)
@click.option(
    "--holdout", "holdout_fraction", default=0.0, show_default=True, help="Share of documents to hold out, 0 to 1."
)
@click.option("--heldout", is_flag=True, help="Take the held-out documents instead of the others.")
@click.option(
    "--holdout-after",
    default=0.0,
    help="With --heldout, leave out what --holdout of this smaller share would hold out.",
)
@click.option("--lenient", is_flag=True, help="Skip and count unusable utterances or texts. [default: stop]")
@root_option
@click.option(
    "--begin-of-text",
    type=click.Choice(["single", "double"]),
    help="Begin-of-text tokens of a document: one, or two as the Marin tokenizer adds. [default: single]",
)
@click.option(
    "--text-spaces",
    type=click.Choice(["none", "after", "around"]),
    help="Spaces encoded around each text of --layout text. [default: none]",
)
@click.option("--overwrite", is_flag=True, help="Replace a dataset that is there.")
def build(source: str, vocabulary: str, out: str, layout: tuple[str, ...], **options: Any) -> None:
    """Build a token dataset from SOURCE, a folder of codes.

    With --layout text or document, SOURCE may be a corpus of texts or of published document strings instead. Run the
    same command again to continue after a stop.
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
    if count := manifest.provenance.get("counts", {}).get("without_transcript"):
        click.echo(f"  left out: {count:,} utterances without transcript, which the layout needs")


@click.command()
@click.argument("source", type=_PATH)
@index_option
@vocabulary_option
@json_option
def inspect(source: str, index: int, vocabulary: str | None, as_json: bool) -> None:
    """Show an entry of SOURCE, of any kind that `decode` takes: its specials, texts and audio.

    A broken document is shown up to its first wrong token, and what is wrong there is said.
    """
    from audio_tokenize import describe_excerpt, read_excerpt, show_excerpt

    excerpt = read_excerpt(source, index, vocabulary=vocabulary)
    click.echo(json.dumps(describe_excerpt(excerpt), ensure_ascii=False) if as_json else show_excerpt(excerpt))


@click.command()
@click.argument("source", type=_PATH)
@click.option("--out", metavar="FILE", type=_PATH, required=True, help="The .wav file.")
@index_option
@click.option("--segment", type=int, help="Decode this span of audio of the document only, counted from 0.")
@vocabulary_option
@click.option(
    "--codec",
    help="Codec of the codes, if SOURCE does not record it, in any form that `encode` takes.",
    shell_complete=_CODEC,
)
@click.option(
    "--weights",
    type=_PATH,
    help="Weights of mimi: a folder, a .safetensors file or a hub id. [default: those of the codes]",
)
def decode(
    source: str,
    out: str,
    index: int,
    segment: int | None,
    vocabulary: str | None,
    codec: str | None,
    weights: str | None,
) -> None:
    """Decode an entry of SOURCE to a .wav file, its spans of audio one after another.

    SOURCE is a folder of codes; a token dataset; a .npy or .json file of codes, or of ids; a .txt, .parquet or .jsonl
    file of document strings.
    """
    from audio_tokenize import decode_excerpt, read_excerpt, write_wav
    from audio_tokenize.inspection.playback import check_wav

    check_wav(out)
    excerpt = read_excerpt(source, index, vocabulary=vocabulary)
    samples, sample_rate_hz = decode_excerpt(excerpt, codec, weights=weights, segment=segment)
    write_wav(out, samples, sample_rate_hz)
    click.echo(f"{out}: {len(samples) / sample_rate_hz:.2f} s at {sample_rate_hz} Hz")


@click.command()
@click.argument("source", type=_PATH)
@click.option(
    "--out", "outs", metavar="FILE", type=_PATH, multiple=True, help="Card to write: .html, .md or .json; repeatable."
)
@json_option
def statistics(source: str, outs: tuple[str, ...], as_json: bool) -> None:
    """Count SOURCE, a folder of codes or a token dataset: hours, tokens by kind, use of every codebook."""
    from audio_tokenize import count_source, write_card
    from audio_tokenize.inspection.dataset_cards import card_text

    counted = count_source(source)
    for out in outs:
        write_card(counted, out)
    click.echo(json.dumps(counted.to_json(), ensure_ascii=False) if as_json else card_text(counted))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="audio-tokenize")
def main() -> None:
    """Speech and transcripts to token datasets: encode a corpus once, build as many datasets from it as you like."""


for _command in (corpora, plan, encode, vocabulary, build, inspect, decode, statistics, train_codec):
    main.add_command(_command)
