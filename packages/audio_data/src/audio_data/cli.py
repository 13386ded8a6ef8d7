"""The command `audio-data`."""

import json
from pathlib import Path
from typing import Any

import click

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
_DATA = click.argument("data", type=click.Path(path_type=Path))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="audio-data")
def main() -> None:
    """Token datasets: build, look into, count and check them."""


@main.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--vocabulary", required=True, type=click.Path(path_type=Path), help="vocabulary.json of the ids.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the new dataset.")
@click.option("--overwrite", is_flag=True, help="Replace a dataset that is there.")
def build(inputs: tuple[Path, ...], vocabulary: Path, out: Path, overwrite: bool) -> None:
    """Make one dataset of token ids: JSONL lines with `ids`, .npy rows, datasets, or folders of these."""
    from audio_data import DatasetWriter, Progress, Vocabulary
    from audio_data.sources import describe_input, read_documents

    meaning = Vocabulary.read(vocabulary)
    provenance = {"command": "audio-data build", "inputs": [describe_input(path) for path in inputs]}
    with (
        Progress("build", None, "documents") as progress,
        DatasetWriter(out, corpus=out.name, vocabulary=meaning, provenance=provenance, overwrite=overwrite) as writer,
    ):
        try:
            for path in inputs:
                for document in read_documents(path, meaning):
                    writer.write(document)
                    progress.advance()
        except KeyboardInterrupt:
            click.echo("\nstopped; the same command goes on from the last complete shard", err=True)
            raise
    click.echo(f"dataset {out}: {writer.manifest.num_documents:,} documents, {writer.manifest.num_tokens:,} tokens")


@main.command()
@_DATA
@click.option("--start", default=0, show_default=True, help="First document.")
@click.option("--count", default=5, show_default=True, help="How many documents.")
@_JSON
def inspect(data: Path, start: int, count: int, as_json: bool) -> None:
    """Show documents of a dataset, text and audio as marks."""
    from audio_data import InputError, TokenDataset
    from audio_data.describe import describe_document

    dataset = TokenDataset.open(data)
    if not 0 <= start < len(dataset):
        raise InputError(f"`--start`: expected 0..{len(dataset) - 1}, got {start!r}")
    indices = range(start, min(start + count, len(dataset)))
    documents = [{"document": i, **describe_document(dataset[i], dataset)} for i in indices]
    if as_json:
        _print_json({"dataset": str(data), "documents": documents})
        return
    for entry in documents:
        click.echo(f"document {entry['document']}: {entry['num_tokens']:,} tokens, {entry['num_targets']:,} targets")
        click.echo(f"  {entry['tokens']}")
        for key, value in entry["metadata"].items():
            click.echo(f"  {key}: {value}")


@main.command()
@_DATA
@_JSON
def verify(data: Path, as_json: bool) -> None:
    """Read every byte of every dataset below DATA and list what is damaged; exits 1 if anything is."""
    from audio_data import InputError, Progress
    from audio_data.manifest import MANIFEST_NAME
    from audio_data.verify import verify_dataset

    folders = sorted(file.parent for file in data.rglob(MANIFEST_NAME)) or [data]
    problems: dict[str, list[str]] = {}
    with Progress("verify", None, "bytes") as progress:
        for folder in folders:
            try:
                problems[str(folder)] = verify_dataset(folder, progress)
            except InputError as error:
                problems[str(folder)] = [error.message]
    sound = not any(problems.values())
    if as_json:
        _print_json({"sound": sound, "problems": problems})
    else:
        for folder, found in problems.items():
            click.echo(f"{folder}: {'sound' if not found else f'{len(found)} problems'}")
            for problem in found:
                click.echo(f"  {problem}")
    if not sound:
        raise SystemExit(1)


@main.command()
@_DATA
@click.option("--mixture", help="Show what this mixture of the study draws from each corpus.")
@click.option("--tokens", type=float, help="Tokens of a run, e.g. 500e9: show how often it reads each corpus.")
@_JSON
def stats(data: Path, mixture: str | None, tokens: float | None, as_json: bool) -> None:
    """Count documents, tokens by kind and hours of every dataset below DATA."""
    from audio_data import open_root
    from audio_data.describe import describe_datasets
    from audio_data.mixes import named_mixture

    chosen = None if mixture is None else named_mixture(mixture)
    datasets = open_root(data)
    if chosen is not None:
        chosen.check_corpora(datasets)
    report = describe_datasets(datasets, chosen, tokens)
    if as_json:
        _print_json(report)
        return
    for corpus, entry in report["corpora"].items():
        drawn = f", weight {entry['weight']:.4f}" if "weight" in entry else ""
        drawn += f", {entry['epochs']:.3g} epochs" if "epochs" in entry else ""
        hours = entry["audio_seconds"] / 3600
        click.echo(
            f"{corpus}: {entry['num_documents']:,} documents, {entry['num_tokens']:,} tokens, {hours:,.2f} h{drawn}"
        )
        for kind, count in entry["tokens_by_kind"].items():
            click.echo(f"  {kind:12} {count:>16,} {count / max(entry['num_tokens'], 1):7.2%}")


@main.command()
@click.argument("name", required=False)
@_JSON
def mixes(name: str | None, as_json: bool) -> None:
    """List the mixtures of the study, or the weights and places per block of one."""
    from audio_data.mixes import MIXES, named_mixture

    if name is None:
        listed = {mix.name: {"use": mix.use, "source": mix.source} for mix in MIXES.values()}
        if as_json:
            _print_json(listed)
        for key, value in {} if as_json else listed.items():
            click.echo(f"{key:20} {value['use']} ({value['source']})")
        return
    mixture = named_mixture(name)
    shares = dict(zip(mixture.corpora, mixture.shares(0), strict=True))
    if as_json:
        _print_json({"name": name, "weights": mixture.weights(0), "block": mixture.block, "places": shares})
        return
    for corpus, weight in mixture.weights(0).items():
        click.echo(f"{corpus:26} {weight:.5f} {shares[corpus]:5} of {mixture.block}")


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
