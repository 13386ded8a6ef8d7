"""Looking, listening, counting."""

import json

import click

from audio_tokenize.cli.options import index_option, json_option, vocabulary_option


@click.command()
@click.argument("source")
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
@click.argument("source")
@click.option("--out", metavar="FILE", required=True, help="The .wav file.")
@index_option
@click.option("--segment", type=int, help="Decode this span of audio of the document only, counted from 0.")
@vocabulary_option
@click.option("--codec", help="Codec of the codes, where SOURCE does not say; forms as of encode.")
@click.option("--weights", metavar="DIR", help="Weights of Mimi: folder, .safetensors file or hub id.")
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
@click.argument("source")
@click.option("--out", "outs", metavar="FILE", multiple=True, help="Card to write: .html, .md or .json; several times.")
@json_option
def statistics(source: str, outs: tuple[str, ...], as_json: bool) -> None:
    """Count SOURCE, a folder of codes or a token dataset: hours, tokens by kind, use of every codebook."""
    from audio_tokenize import count_source, write_card
    from audio_tokenize.inspection.dataset_cards import card_text

    counted = count_source(source)
    for out in outs:
        write_card(counted, out)
    click.echo(json.dumps(counted.to_json(), ensure_ascii=False) if as_json else card_text(counted))
