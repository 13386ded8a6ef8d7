"""Options and arguments that several commands take, and what they all print."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from audio_data.storage import StoragePath

    PathBase: TypeAlias = click.ParamType["StoragePath"]
else:
    PathBase = click.ParamType  # older versions of click have no parameter of the type


class PathType(PathBase):
    """A local path, or the URL of an object store."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "StoragePath":
        """Return the path that a string means; nothing is opened."""
        from audio_data.storage import storage_path

        return storage_path(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Let the shell complete files."""
        return [CompletionItem(incomplete, type="file")]


PATH = PathType()
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
data_argument = click.argument("data", type=PATH)
budget_option = click.option(
    "--max-quarantined", metavar="N|P%", help="Maximum unusable documents to leave out, as a number or a share."
)


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON document on standard output.

    Args:
        value: What is said.
    """
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
