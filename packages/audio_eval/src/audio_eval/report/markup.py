"""HTML that is escaped by construction: plain strings are text, only `Markup` made here is markup."""

import html
import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

# Elements of HTML without an end tag. Those of SVG all have one: left open, they would swallow what follows.
_VOID = frozenset({"br", "col", "hr", "img", "meta"})
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
# C1 controls, and the marks by which a text could reorder the page around it.
_MISLEADING = re.compile(r"[\x80-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


class Markup(str):
    """A string that is already HTML. Only this module's functions make one."""

    __slots__ = ()


Child: TypeAlias = "str | Markup | Iterable[Child] | None"


def text(value: str) -> Markup:
    """Escapes text; control characters become visible signs, so that a transcript can hide nothing."""
    visible = _CONTROL.sub(lambda match: chr(0x2421 if match[0] == "\x7f" else 0x2400 + ord(match[0])), value)
    return Markup(html.escape(_MISLEADING.sub("\ufffd", visible), quote=True))


def join(*children: Child) -> Markup:
    """Concatenates children, escaping those that are plain text; None stands for nothing."""
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


def tag(name: str, *children: Child, attributes: Mapping[str, object] | None = None, **more: object) -> Markup:
    """Make one element.

    Args:
        name: Element name.
        *children: Text (escaped), markup, or nested sequences of them.
        attributes: Attributes whose names are no Python identifiers, such as "stroke-width".
        **more: Further attributes; a trailing underscore is dropped (`class_`). True gives a bare attribute, None and
            False give none.
    """
    named = {**(attributes or {}), **{key.rstrip("_").replace("_", "-"): value for key, value in more.items()}}
    written = "".join(
        f" {key}" if value is True else f' {key}="{text(str(value))}"'
        for key, value in named.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def style_sheet(css: str) -> Markup:
    """Wrap a style sheet of this package, which is not escaped: it must hold no outside text."""
    return Markup(f"<style>{css}</style>")
