"""The command `inspect`: documents and windows in words."""

from typing import TYPE_CHECKING, Any

import click

from audio_data.cli.options import PATH, data_argument, json_option, print_json

if TYPE_CHECKING:
    from audio_data.storage import StoragePath
    from audio_data.text_decoders import TextDecoder


@click.command()
@data_argument
@click.option("--start", default=0, show_default=True, help="Index of the first document or window.")
@click.option("--count", default=5, show_default=True, help="Number of documents or windows.")
@click.option(
    "--windows", "seq_len", type=int, metavar="SEQ_LEN", help="Show windows of this many tokens instead of documents."
)
@click.option(
    "--packing",
    type=click.Choice(["windows", "best_fit", "next_fit"]),
    default="windows",
    show_default=True,
    help="How --windows are filled: a cut of the stream of documents, or whole documents.",
)
@click.option(
    "--positions",
    type=click.Choice(["continue", "reset"]),
    default="continue",
    show_default=True,
    help="Whether positions restart at each document of a window.",
)
@click.option(
    "--tokenizer",
    type=PATH,
    help="tokenizer.json or SentencePiece .model. [default: from the vocabulary folder beside DATA]",
)
@json_option
def inspect(
    data: "StoragePath",
    start: int,
    count: int,
    seq_len: int | None,
    packing: Any,
    positions: Any,
    tokenizer: "StoragePath | None",
    as_json: bool,
) -> None:
    """Show documents of a dataset, or the windows that a model trains on; audio tokens are shown as their length."""
    from audio_data import InputError, Packing, TokenDataset
    from audio_data.describe import describe_document, describe_row, document_lines, row_lines
    from audio_data.windows import make_rows

    dataset = TokenDataset.open(data)
    rows = None if seq_len is None else make_rows(dataset, Packing(packing, positions), seq_len, seed=0)
    total = len(dataset if rows is None else rows)
    if not 0 <= start < total:
        raise InputError(f"`--start`: expected 0..{total - 1}, got {start!r}")
    if count < 1:
        raise InputError(f"`--count`: expected at least 1, got {count!r}")
    text = _text_decoder(data, tokenizer)
    shown = range(start, min(start + count, total))
    if rows is None:
        entries = [{"document": i, **describe_document(dataset[i], dataset, text)} for i in shown]
    else:
        entries = [{"window": i, **describe_row(rows, i, dataset, text)} for i in shown]
    if as_json:
        print_json({"dataset": str(data), "documents" if rows is None else "windows": entries})
        return
    for entry in entries:
        click.echo("\n".join(document_lines(entry) if rows is None else row_lines(entry)))


def _text_decoder(data: "StoragePath", tokenizer: "StoragePath | None") -> "TextDecoder | None":
    """Return the text decoder; one that is found, not asked for, and lacks its library is only mentioned."""
    from audio_data import InputError
    from audio_data.text_decoders import find_tokenizer, open_text_decoder

    found = tokenizer or find_tokenizer(data)
    if found is None:
        return None
    try:
        return open_text_decoder(found)
    except InputError as error:
        if tokenizer is not None:
            raise
        click.echo(f"text is shown as marks: {error.message}", err=True)
        return None
