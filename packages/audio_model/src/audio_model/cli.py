"""`audio-model describe | generate | bench`."""

import json
from pathlib import Path
from typing import Any

import click

_STUDY_VOCABULARY = 144_644


@click.group()
def main() -> None:
    """The Qwen3x decoder: its sizes, its speed, and tokens out of trained weights."""


@main.command()
@click.argument("size", required=False)
@click.option("--vocab-size", default=_STUDY_VOCABULARY, show_default=True, help="Number of token ids.")
@click.option("--tied/--untied", default=False, show_default=True, help="Whether the embedding is also the head.")
@click.option("--seq-len", default=4096, show_default=True, help="Tokens of a row, for the operation counts.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def describe(size: str | None, vocab_size: int, tied: bool, seq_len: int, as_json: bool) -> None:
    """Shapes, parameters and operations of SIZE, a name such as 135m or a folder of weights.

    Without SIZE: the table of all named sizes.
    """
    from audio_model.description import describe as describe_config
    from audio_model.description import table_of_sizes

    if size is None:
        rows = table_of_sizes(vocab_size)
        click.echo(json.dumps(rows) if as_json else _table(rows))
        return
    document = describe_config(_config(size, vocab_size, tied), seq_len=seq_len)
    click.echo(json.dumps(document) if as_json else _description(document))


@main.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.argument("prompts", nargs=-1, required=True)
@click.option("--max-new-tokens", default=64, show_default=True, help="Most tokens to add to each prompt.")
@click.option("--stop", multiple=True, type=int, help="Token id that ends a sequence; may be repeated.")
@click.option("--temperature", default=0.0, show_default=True, help="0 takes the likeliest token.")
@click.option("--top-k", default=0, show_default=True, help="Keep the k likeliest tokens; 0 keeps all.")
@click.option("--top-p", default=1.0, show_default=True, help="Keep the likeliest tokens up to this probability.")
@click.option("--seed", default=0, show_default=True, help="Fixes every draw.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
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
@click.option("--tied/--untied", default=False, show_default=True, help="Whether the embedding is also the head.")
@click.option("--batch", default=1, show_default=True, help="Rows of a step.")
@click.option("--seq-len", default=512, show_default=True, help="Tokens of a row.")
@click.option(
    "--loss", type=click.Choice(["full", "grammar"]), default="full", show_default=True, help="Which softmax."
)
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
@click.option("--steps", default=5, show_default=True, help="Steps to time.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def bench(
    size: str, vocab_size: int, tied: bool, batch: int, seq_len: int, loss: str, dtype: str, steps: int, as_json: bool
) -> None:
    """Time forward, loss and backward of SIZE on random tokens, on this machine."""
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


def _config(size: str, vocab_size: int, tied: bool):
    from audio_model import named_config
    from audio_model.weights import load_config

    if Path(size).is_dir():
        return load_config(size)
    return named_config(size, vocab_size, tied=tied)


def _ids(prompt: str):
    import numpy as np

    from audio_model import InputError

    try:
        return np.array([int(word) for word in prompt.replace(",", " ").split()], np.int64)
    except ValueError as error:
        raise InputError(f"`PROMPTS` must be token ids such as '128000 5 17', got {prompt!r}") from error


def _table(rows: list[dict[str, Any]]) -> str:
    columns = list(rows[0])
    cells = [columns] + [[f"{row[c]:,}" if isinstance(row[c], int) else row[c] for c in columns] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)


def _description(document: dict[str, Any]) -> str:
    parameters, flops = document["parameters"], document["forward_flops_per_token"]
    lines = [f"{name:<28} {value}" for name, value in document["config"].items()]
    lines += [f"parameters, {name.replace('_', ' '):<16} {value:,}" for name, value in parameters.items()]
    for name in ("full_attention", "causal"):
        label = f"forward FLOPs a token, {name.replace('_', ' ')}"
        lines.append(f"{label:<38} {flops[name]:,.0f} (rows of {flops['seq_len']:,})")
    for name, array in document["arrays"].items():
        shape = " x ".join(f"{axis} {size:,}" for axis, size in zip(array["axes"], array["shape"], strict=True))
        lines.append(f"{name:<28} {shape}")
    return "\n".join(lines)
