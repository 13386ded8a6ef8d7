"""The command `audio-data`."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from audio_data.storage import StoragePath
    from audio_data.text_decoders import TextDecoder


class _PathType(click.ParamType):
    """A local path, or the URL of an object store."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "StoragePath":
        from audio_data.storage import storage_path

        return storage_path(value)


_PATH = _PathType()
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
_DATA = click.argument("data", type=_PATH)
_BUDGET = click.option("--max-quarantined", metavar="N|P%", help="Leave out at most so many unusable documents.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="audio-data")
def main() -> None:
    """Token datasets: build, look into, count and check them. Paths are local, gs:// or s3://."""


@main.command()
@click.argument("inputs", nargs=-1, required=True, type=_PATH)
@click.option("--vocabulary", required=True, type=_PATH, help="vocabulary.json of the ids, or a manifest.json.")
@click.option("--out", required=True, type=_PATH, help="Folder of the new dataset.")
@click.option("--codec", type=_PATH, help="JSON of what is known of the codec: id, frame_rate_hz and so on.")
@click.option("--ids-column", default="ids", show_default=True, help="Column, key or array that holds the ids.")
@_BUDGET
@click.option("--overwrite", is_flag=True, help="Replace a dataset that is there.")
def build(
    inputs: "tuple[StoragePath, ...]",
    vocabulary: "StoragePath",
    out: "StoragePath",
    codec: "StoragePath | None",
    ids_column: str,
    max_quarantined: str | None,
    overwrite: bool,
) -> None:
    """Make one dataset of token ids: parquet, JSONL, .npz and .npy files, datasets, or folders of these."""
    from audio_data import Vocabulary, build_dataset
    from audio_data.quarantine import parse_budget

    budget = None if max_quarantined is None else parse_budget(max_quarantined)
    stated = None if codec is None else _read_json(codec)
    meaning = Vocabulary.read(vocabulary)
    options = {"codec": stated, "ids_column": ids_column, "max_quarantined": budget, "overwrite": overwrite}
    try:
        manifest = build_dataset(inputs, meaning, out, **options)
    except KeyboardInterrupt:
        click.echo("\nstopped; the same command goes on from the last complete shard", err=True)
        raise
    left_out = "" if budget is None else f", {manifest.num_quarantined:,} left out"
    click.echo(f"dataset {out}: {manifest.num_documents:,} documents, {manifest.num_tokens:,} tokens{left_out}")


@main.command()
@_DATA
@click.option("--start", default=0, show_default=True, help="First document, or window.")
@click.option("--count", default=5, show_default=True, help="How many.")
@click.option("--windows", "seq_len", type=int, metavar="SEQ_LEN", help="Show windows of so many tokens instead.")
@click.option("--packing", type=click.Choice(["windows", "best_fit"]), default="windows", show_default=True)
@click.option("--positions", type=click.Choice(["continue", "reset"]), default="continue", show_default=True)
@click.option("--tokenizer", type=_PATH, help="tokenizer.json or .model; else from the vocabulary folder beside DATA.")
@_JSON
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
    """Show documents of a dataset, or the windows that a model sees: text as text, audio as marks."""
    from audio_data import InputError, Packing, TokenDataset
    from audio_data.describe import describe_document, describe_row, document_lines, row_lines
    from audio_data.windows import make_rows

    dataset = TokenDataset.open(data)
    rows = None if seq_len is None else make_rows(dataset, Packing(packing, positions), seq_len, seed=0)
    total = len(dataset if rows is None else rows)
    if not 0 <= start < total:
        raise InputError(f"`--start`: expected 0..{total - 1}, got {start!r}")
    text = _text_decoder(data, tokenizer)
    shown = range(start, min(start + count, total))
    if rows is None:
        entries = [{"document": i, **describe_document(dataset[i], dataset, text)} for i in shown]
    else:
        entries = [{"window": i, **describe_row(rows, i, dataset, text)} for i in shown]
    if as_json:
        _print_json({"dataset": str(data), "documents" if rows is None else "windows": entries})
        return
    for entry in entries:
        click.echo("\n".join(document_lines(entry) if rows is None else row_lines(entry)))


@main.command()
@_DATA
@_BUDGET
@_JSON
def verify(data: "StoragePath", max_quarantined: str | None, as_json: bool) -> None:
    """Read every byte of every dataset below DATA and list what is damaged; exits 1 if anything is.

    With a budget, damaged documents are listed in the dataset's damaged.json instead, for readers that leave them out.
    """
    from audio_data import InputError, Progress
    from audio_data.dataset import find_datasets
    from audio_data.quarantine import parse_budget
    from audio_data.verify import quarantine_damage, verify_dataset

    budget = None if max_quarantined is None else parse_budget(max_quarantined)
    problems: dict[str, list[str]] = {}
    quarantined: dict[str, dict[int, str]] = {}
    with Progress("verify", None, "bytes") as progress:
        for folder in find_datasets(data) or [data]:
            name = str(folder)
            try:
                if budget is None:
                    problems[name] = verify_dataset(folder, progress)
                else:
                    damaged, problems[name] = quarantine_damage(folder, budget, progress)
                    quarantined[name] = dict(damaged.documents)
            except InputError as error:
                problems[name] = [error.message]
    sound = not any(problems.values())
    if as_json:
        _print_json({"sound": sound, "problems": problems, **({"quarantined": quarantined} if quarantined else {})})
    else:
        for name, found in problems.items():
            left_out = quarantined.get(name, {})
            verdict = f"{len(found)} problems" if found else f"sound but for {len(left_out)} documents, listed"
            click.echo(f"{name}: {verdict if found or left_out else 'sound'}")
            click.echo("".join(f"  {problem}\n" for problem in [*found, *left_out.values()]), nl=False)
    if not sound:
        raise SystemExit(1)


@main.command()
@_DATA
@click.option("--mixture", help="Show what this mixture of the study draws from each corpus.")
@click.option("--tokens", type=float, help="Tokens of a run, e.g. 500e9: show how often it reads each corpus.")
@click.option("--html", "page", type=_PATH, help="Also write a page with a figure to this file.")
@_JSON
def stats(
    data: "StoragePath", mixture: str | None, tokens: float | None, page: "StoragePath | None", as_json: bool
) -> None:
    """Count documents, tokens by kind and hours of every dataset below DATA."""
    from audio_data import open_root, write_bytes
    from audio_data.describe import dataset_lines, describe_datasets
    from audio_data.figures import statistics_page
    from audio_data.mixes import named_mixture

    chosen = None if mixture is None else named_mixture(mixture)
    datasets = open_root(data)
    if chosen is not None:
        chosen.check_corpora(datasets)
    report = describe_datasets(datasets, chosen, tokens)
    if page is not None:
        write_bytes(page, statistics_page(report, f"Datasets in {data.name}").encode())
    if as_json:
        _print_json(report)
    else:
        click.echo("\n".join(dataset_lines(report)))


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


def _text_decoder(data: "StoragePath", tokenizer: "StoragePath | None") -> "TextDecoder | None":
    """What makes text of ids; one that is found but not asked for may lack its library, and is then only mentioned."""
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


def _read_json(path: "StoragePath") -> dict[str, Any]:
    from audio_data import InputError, read_bytes

    try:
        value = json.loads(read_bytes(path))
    except ValueError as error:
        raise InputError(f"`{path}` cannot be read ({error}); expected a JSON object") from error
    if not isinstance(value, dict):
        raise InputError(f"`{path}`: expected a JSON object, got {value!r}")
    return value


def _print_json(value: Mapping[str, Any]) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
