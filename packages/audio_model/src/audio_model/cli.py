"""`audio-model describe | convert | extend | generate | bench`."""

import json
import sys
from pathlib import Path
from typing import Any

import click

_STUDY_VOCABULARY = 144_644

_FOLDER = click.Path(file_okay=False, path_type=Path)
_DTYPES = click.Choice(["float32", "bfloat16"])
_REMATS = click.Choice(["none", "dots", "full", "offload"])
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
_OUT = click.option("--out", required=True, type=_FOLDER, help="Model folder to write.")


def _folder_options(command: Any) -> Any:
    for option in (
        click.option(
            "--max-shard-bytes",
            default=50_000_000_000,
            show_default=True,
            help="Maximum size of a weights file, in bytes.",
        ),
        click.option("--vocabulary", type=_FOLDER, help="Vocabulary folder to copy beside the weights."),
        click.option(
            "--dtype", type=_DTYPES, help="Stored type. [default: bfloat16 stays bfloat16, all else becomes float32]"
        ),
        click.option("--download", is_flag=True, help="Download from the hub what is not in the local cache."),
        click.option("--revision", help="Branch, tag or commit of a hub id."),
    ):
        command = option(command)
    return command


def _complete_sizes(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    """Offer the named sizes, or files where none begins as typed."""
    from click.shell_completion import CompletionItem

    from audio_model.config import SIZES

    found = [CompletionItem(name) for name in SIZES if name.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="audio-model")
def main() -> None:
    """Describe, time, convert and extend Qwen3x decoders, and generate tokens."""


@main.command()
@click.argument("size", required=False, shell_complete=_complete_sizes)
@click.option("--vocab-size", default=_STUDY_VOCABULARY, show_default=True, help="Number of token ids.")
@click.option(
    "--tied/--untied", default=False, show_default=True, help="Use the embedding matrix as the output head too."
)
@click.option("--batch", default=1, show_default=True, help="Sequences of a batch, for the memory.")
@click.option("--seq-len", default=4096, show_default=True, help="Tokens of a sequence, for FLOPs and memory.")
@click.option(
    "--dtype", type=_DTYPES, default="bfloat16", show_default=True, help="Type of activations, for the memory."
)
@click.option(
    "--remat",
    type=_REMATS,
    default="dots",
    show_default=True,
    help="Activations that the backward pass recomputes; offload keeps the inputs of blocks in host memory.",
)
@_JSON
def describe(
    size: str | None, vocab_size: int, tied: bool, batch: int, seq_len: int, dtype: str, remat: str, as_json: bool
) -> None:
    """Print shapes, parameters, FLOPs and memory of SIZE, a name such as 135m or a folder of weights.

    Without SIZE: the table of all named sizes.
    """
    import dataclasses

    from audio_model import description

    if size is None:
        rows = description.table_of_sizes(vocab_size)
        click.echo(json.dumps(rows) if as_json else description.format_table(rows))
        return
    config = dataclasses.replace(_config(size, vocab_size, tied), remat=remat)  # pyright: ignore[reportArgumentType] click.Choice is a str
    document = description.describe(config, seq_len=seq_len, batch=batch, dtype=dtype)
    click.echo(json.dumps(document) if as_json else description.format_description(document))


@main.command()
@click.argument("source")
@_OUT
@_folder_options
@_JSON
def convert(source: str, out: Path, as_json: bool, **options: Any) -> None:
    """Check the Qwen3 model SOURCE, a folder or a hub id OWNER/NAME, and write it as a complete model folder."""
    from audio_model import conversion

    with _Bar(f"convert {source}") as progress:
        document = conversion.convert(source, out, progress=progress, **options)
    click.echo(json.dumps(document) if as_json else _made(document))


@main.command()
@click.argument("source")
@_OUT
@click.option("--vocabulary-size", "vocab_size", type=int, help="Number of ids. [default: that of --vocabulary]")
@click.option("--num-copied", type=int, help="Rows to keep. [default: as many as SOURCE's tokenizer has tokens]")
@click.option(
    "--deviation",
    default=0.02,
    show_default=True,
    help="Standard deviation of new rows around the mean of the kept ones.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the new rows.")
@_folder_options
@_JSON
def extend(source: str, out: Path, as_json: bool, **options: Any) -> None:
    """Add rows for audio tokens to the embedding and head of the text model SOURCE, a folder or a hub id OWNER/NAME."""
    from audio_model import conversion

    with _Bar(f"extend {source}") as progress:
        document = conversion.extend(source, out, progress=progress, **options)
    kept = "" if as_json else f", {document['num_copied']:,} rows kept, {document['num_new']:,} new"
    click.echo(json.dumps(document) if as_json else _made(document) + kept)


@main.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.argument("prompts", nargs=-1, required=True)
@click.option("--max-new-tokens", default=64, show_default=True, help="Maximum tokens to add to each prompt.")
@click.option("--stop", multiple=True, type=int, help="Token id that ends a sequence, repeatable.")
@click.option(
    "--temperature", default=0.0, show_default=True, help="Sampling temperature; 0 takes the most likely token."
)
@click.option("--top-k", default=0, show_default=True, help="Sample from the k most likely tokens only; 0 for all.")
@click.option(
    "--top-p",
    default=1.0,
    show_default=True,
    help="Sample from the most likely tokens that reach this probability together.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the sampling.")
@_JSON
def generate(
    folder: Path,
    prompts: tuple[str, ...],
    max_new_tokens: int,
    stop: tuple[int, ...],
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int,
    as_json: bool,
) -> None:
    """Continue PROMPTS with the weights in FOLDER.

    A prompt is a list of token ids in quotes, "128000 128258 130000". New ids are printed, one line a prompt.
    """
    from audio_model import Sampling, load_model
    from audio_model import generate as generate_tokens

    ids = [_ids(prompt) for prompt in prompts]
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    new = generate_tokens(
        load_model(folder),
        ids,
        max_new_tokens=max_new_tokens,
        stop_ids=stop,
        sampling=sampling,
        batch_size=len(ids),
    )
    if as_json:
        click.echo(json.dumps([tokens.tolist() for tokens in new]))
        return
    for tokens in new:
        click.echo(" ".join(str(token) for token in tokens))


@main.command()
@click.argument("size")
@click.option("--vocab-size", default=_STUDY_VOCABULARY, show_default=True, help="Number of token ids.")
@click.option(
    "--tied/--untied", default=False, show_default=True, help="Use the embedding matrix as the output head too."
)
@click.option("--batch", default=1, show_default=True, help="Sequences of a batch.")
@click.option("--seq-len", default=512, show_default=True, help="Tokens of a sequence.")
@click.option(
    "--loss",
    type=click.Choice(["full", "grammar"]),
    default="full",
    show_default=True,
    help="Softmax over all ids, or over the 2,048 of the target's codebook.",
)
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
@click.option("--steps", default=5, show_default=True, help="Number of timed steps, after one that compiles.")
@_JSON
def bench(
    size: str, vocab_size: int, tied: bool, batch: int, seq_len: int, loss: str, dtype: str, steps: int, as_json: bool
) -> None:
    """Time the loss and gradients of a model of SIZE, a name such as 135m, on random tokens on this machine."""
    from audio_model.bench import measure_step

    config = _config(size, vocab_size, tied)
    result = measure_step(config, batch=batch, seq_len=seq_len, loss=loss, steps=steps, dtype=dtype)  # pyright: ignore[reportArgumentType] click.Choice is a str
    if as_json:
        click.echo(json.dumps(result))
        return
    click.echo(f"compile      {result['compile_seconds']:.1f} s")
    click.echo(f"step         {result['step_seconds']:.3f} s, {result['step_processor_seconds']:.3f} s of processors")
    click.echo(f"tokens/s     {result['tokens_per_second']:,.0f}")
    if result["temporary_bytes"] is not None:
        click.echo(f"temporaries  {result['temporary_bytes'] / 1e6:,.0f} MB")


class _Bar:
    """A bar on a terminal, nothing elsewhere: made when the number of bytes is known."""

    def __init__(self, label: str):
        self.label, self.bar = label, None

    def __enter__(self) -> Any:
        return self.advance

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.render_finish()

    def advance(self, num_bytes: int, total: int) -> None:
        self.bar = self.bar or click.progressbar(length=total, label=self.label, file=sys.stderr)
        self.bar.update(num_bytes)


def _made(document: dict[str, Any]) -> str:
    shape = f"{document['num_parameters']:,} parameters, {document['vocab_size']:,} ids, {document['dtype']}"
    return f"{document['folder']}: {shape}"


def _config(size: str, vocab_size: int, tied: bool):
    from audio_model import InputError, named_config
    from audio_model.weights import load_config

    if Path(size).is_dir():
        return load_config(size)
    if "/" in size:
        raise InputError(f"`SIZE` must be a name such as 135m or a folder of weights; there is no folder {size!r}")
    return named_config(size, vocab_size, tied=tied)


def _ids(prompt: str):
    import numpy as np

    from audio_model import InputError

    try:
        return np.array([int(word) for word in prompt.replace(",", " ").split()], np.int64)
    except ValueError as error:
        raise InputError(f"`PROMPTS` must be token ids such as '128000 5 17', got {prompt!r}") from error
