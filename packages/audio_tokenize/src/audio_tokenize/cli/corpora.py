"""Which corpora there are, and what one comes to."""

import json

import click

from audio_tokenize.cli.options import json_option, root_option


@click.command()
@click.argument("corpus", required=False)
@click.option("--kind", type=click.Choice(["speech", "text", "documents"]), help="List corpora of this kind only.")
@json_option
def corpora(corpus: str | None, kind: str | None, as_json: bool) -> None:
    """List the shipped and the published corpora, or describe CORPUS, one of them or your own."""
    from audio_tokenize.corpora.listing import describe, list_corpora, one_line

    found = describe(corpus) if corpus is not None else list_corpora(kind)
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
    elif isinstance(found, list):
        click.echo("\n".join(one_line(entry) for entry in found))
    else:
        click.echo("\n  ".join(f"{name}: {value}" for name, value in found.items()))


@click.command()
@click.argument("corpus")
@root_option
@click.option("--language", help="Count this language only.")
@click.option("--split", help="This split only.")
@click.option("--hours", type=float, help="Hours of audio, where neither files nor publisher say.")
@click.option("--codebooks", default=8, show_default=True, help="Codebooks of a frame.")
@click.option("--words-per-second", type=float, help="Of the transcripts; counted where there are any.")
@click.option("--codec", default="embedded", show_default=True, help="Codec to measure; forms as of encode.")
@click.option("--weights", metavar="DIR", help="Weights of Mimi: folder, .safetensors file or hub id.")
@click.option("--speed", type=float, help="Times real time that a worker encodes at.")
@click.option("--measure", is_flag=True, help="Measure that speed here, on half a minute of the sample corpus.")
@click.option("--workers", default=1, show_default=True, help="Workers that encode side by side.")
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
    """Price CORPUS, a name that `corpora` lists or your own, before it is encoded; every figure says where it is from.

    A name without --root is priced by published figures, without any network.
    """
    from audio_tokenize import price_corpus
    from audio_tokenize.inspection.codec_speed import worker_speed
    from audio_tokenize.inspection.pricing import find_corpus, show_price

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
