"""Completion of names by the shell: what arguments and options of command lines offer when Tab is pressed."""

import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import click
from click.shell_completion import CompletionItem

ShellComplete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def complete_names(*sources: str, separator: str = "") -> ShellComplete:
    """Make the `shell_complete` of an argument or option whose value is a name of a list, or a path.

    Args:
        sources: Where the names are: `MODULE:NAME` of names, of a mapping from names, of objects with a `name`, or of a
            function that returns one of these. The module is imported when Tab is pressed. Any other text is a name.
        separator: Between the names of a value that lists several; the last one is completed.

    Returns:
        A function for click. It offers the names that begin as typed, in any case; if there are none, files.
    """

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        start = incomplete.rindex(separator) + len(separator) if separator and separator in incomplete else 0
        before, typed = incomplete[:start], incomplete[start:].lower()
        names = (name for source in sources for name in _names(source))
        found = [CompletionItem(before + name) for name in names if name.lower().startswith(typed)]
        return found or [CompletionItem(incomplete, type="file")]

    return complete


def _names(source: str) -> Iterator[str]:
    module, colon, name = source.partition(":")
    if not colon:
        yield source
        return
    listed: Any = getattr(importlib.import_module(module), name)
    named = cast("Iterable[object]", listed() if callable(listed) else listed)
    yield from (str(getattr(one, "name", one)) for one in named)
