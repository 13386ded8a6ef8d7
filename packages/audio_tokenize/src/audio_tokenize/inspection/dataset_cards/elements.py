"""HTML and SVG as a tree, so that what a corpus says of itself is escaped however it is spelt."""

import re
from collections.abc import Iterable
from typing import TypeAlias
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

Child: TypeAlias = "str | Element | Iterable[Child] | None"

# Controls, which markup may not hold, and the marks by which a text could reorder the page around it.
_UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff\ufffe\uffff]"
)


def element(name: str, /, *children: Child, **attributes: object) -> Element:
    """Makes an element.

    Args:
        name: Of the element.
        *children: Text, elements, or nested sequences of them; `None` is nothing.
        **attributes: Underscores become hyphens, but one at the end is dropped (`class_`); `None` leaves one out.
    """
    made = Element(name)
    for key, value in attributes.items():
        if value is not None:
            made.set(key.rstrip("_").replace("_", "-"), _seen(str(value)))
    _fill(made, children)
    return made


def page(head: Iterable[Element], body: Iterable[Element]) -> str:
    """A whole document.

    Args:
        head: Title, style and so on.
        body: What is seen.
    """
    # As HTML, not XML: a style sheet is then left as it is, and empty elements are spelt as browsers expect.
    root = element("html", element("head", head), element("body", body), lang="en")
    return "<!doctype html>\n" + ElementTree.tostring(root, encoding="unicode", method="html") + "\n"


def _fill(parent: Element, children: Iterable[Child]) -> None:
    for child in children:
        if isinstance(child, Element):
            parent.append(child)
        elif isinstance(child, str):
            _append_text(parent, _seen(child))
        elif child is not None:
            _fill(parent, child)


def _append_text(parent: Element, text: str) -> None:
    if len(parent):
        parent[-1].tail = (parent[-1].tail or "") + text
    else:
        parent.text = (parent.text or "") + text


def _seen(text: str) -> str:
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)
