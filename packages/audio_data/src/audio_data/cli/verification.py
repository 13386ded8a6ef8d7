"""The command `verify`: datasets compared with their manifests."""

from typing import TYPE_CHECKING

import click

from audio_data.cli.options import budget_option, data_argument, json_option, print_json

if TYPE_CHECKING:
    from audio_data.storage import StoragePath


@click.command()
@data_argument
@budget_option
@json_option
def verify(data: "StoragePath", max_quarantined: str | None, as_json: bool) -> None:
    """Read every byte of every dataset below DATA and list what is damaged; exits 1 if anything is.

    With a budget, damaged documents are listed in the dataset's damaged.json instead, for readers that leave them out.
    """
    from audio_data import InputError, Progress
    from audio_data.quarantine import parse_budget
    from audio_data.roots import look_below
    from audio_data.suggestions import nearest_paths
    from audio_data.verify import quarantine_damage, unchecked_files, verify_dataset

    budget = None if max_quarantined is None else parse_budget(max_quarantined)
    folders, broken = look_below(data)
    if not folders and not broken:
        raise InputError(f"`{data}`: expected a dataset, or a folder of datasets, got none{nearest_paths(data)}")
    problems = {str(folder): [reason] for folder, reason in broken.items()}
    quarantined: dict[str, dict[int, str]] = {}
    unchecked: dict[str, list[str]] = {}
    with Progress("verify", None, "bytes") as progress:
        for folder in folders:
            name = str(folder)
            try:
                if found := unchecked_files(folder):
                    unchecked[name] = found
                if budget is None:
                    problems[name] = verify_dataset(folder, progress)
                else:
                    damaged, problems[name] = quarantine_damage(folder, budget, progress)
                    quarantined[name] = dict(damaged.documents)
            except InputError as error:
                problems[name] = [error.message]
    sound = not any(problems.values())
    if as_json:
        more = {"quarantined": quarantined, "unchecked": unchecked}
        print_json({"sound": sound, "problems": problems, **{key: value for key, value in more.items() if value}})
    else:
        for name, found in problems.items():
            left_out = quarantined.get(name, {})
            verdict = f"{len(found)} problems" if found else f"sound but for {len(left_out)} documents, listed"
            click.echo(f"{name}: {verdict if found or left_out else 'sound'}")
            click.echo("".join(f"  {problem}\n" for problem in [*found, *left_out.values()]), nl=False)
            if files := unchecked.get(name):
                click.echo(f"  an older version wrote {len(files)} files without a checksum, such as {files[0]}")
    if not sound:
        raise SystemExit(1)
