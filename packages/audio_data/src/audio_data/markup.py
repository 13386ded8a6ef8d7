"""HTML, SVG and Markdown that are escaped: plain strings are text, only `Markup` made here is HTML."""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

# Elements of HTML without an end tag. Those of SVG all have one: left open, they would swallow what follows.
_VOID = frozenset({"br", "col", "hr", "img", "meta"})
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
# C1 controls, the marks by which a text could reorder the page around it, and what neither UTF-8 nor XML can hold.
_MISLEADING = re.compile(r"[\x80-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """A string that is already HTML. Only this module's functions make one."""

    __slots__ = ()


Child: TypeAlias = "str | Markup | Iterable[Child] | None"


def text(value: str) -> Markup:
    """Escape text; control characters become visible signs, so that a transcript can hide nothing."""
    return Markup(html.escape(_visible(value), quote=True))


def _visible(value: str) -> str:
    signs = _CONTROL.sub(lambda match: chr(0x2421 if match[0] == "\x7f" else 0x2400 + ord(match[0])), value)
    return _MISLEADING.sub("\ufffd", signs)


def join(*children: Child) -> Markup:
    """Concatenate children, escaping those that are plain text; None stands for nothing."""
    parts = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            parts.append(child)
        elif isinstance(child, str):
            parts.append(text(child))
        else:
            parts.append(join(*child))
    return Markup("".join(parts))


def tag(element: str, /, *children: Child, attributes: Mapping[str, object] | None = None, **more: object) -> Markup:
    """Make one element.

    Args:
        element: Element name.
        *children: Text (escaped), markup, or nested sequences of them.
        attributes: Attributes whose names are no Python identifiers, such as "http-equiv".
        **more: Further attributes; underscores become hyphens, one at the end is dropped (`class_`). True gives a bare
            attribute, None and False give none.
    """
    named = {**(attributes or {}), **{key.rstrip("_").replace("_", "-"): value for key, value in more.items()}}
    written = "".join(
        f" {key}" if value is True else f' {key}="{text(str(value))}"'
        for key, value in named.items()
        if value is not None and value is not False
    )
    if element in _VOID:
        return Markup(f"<{element}{written}>")
    return Markup(f"<{element}{written}>{join(*children)}</{element}>")


def style_sheet(css: str) -> Markup:
    """Wrap a style sheet of this project, which is not escaped: it must hold no outside text."""
    return Markup(f"<style>{css}</style>")


def page(head: Child, body: Child) -> str:
    """Return a whole document.

    Args:
        head: Title, style and so on; the character set is added.
        body: What is seen.
    """
    root = tag("html", tag("head", tag("meta", charset="utf-8"), head), "\n", tag("body", body), lang="en")
    return f"<!doctype html>\n{root}\n"


def markdown_text(value: str) -> str:
    """Escape text for Markdown, on one line; it can neither end a table's cell nor be an element of HTML."""
    line = html.escape(_visible(" ".join(value.split())), quote=False)
    for character in "\\`*_{}[]|#":
        line = line.replace(character, "\\" + character)
    return line


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, has_numbers: bool = False) -> str:
    """Return a table of Markdown.

    Args:
        header: Column titles.
        rows: Cells of text, which are escaped.
        has_numbers: Whether all columns but the first hold numbers; they are then aligned at the right.
    """
    rule = ["---", *["---:" if has_numbers else "---"] * (len(header) - 1)]
    lines = [map(markdown_text, header), rule, *(map(markdown_text, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
