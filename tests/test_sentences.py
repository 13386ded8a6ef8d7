"""How docstrings, comments and pages are written, as far as ruff has no rule for it."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "packages").glob("*/src/**/*.py"))
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("packages/*/*.md"))]
# Generated pages repeat docstrings and recipes.
PAGES = [page for page in PAGES if page.name not in ("CHANGELOG.md", "glossary.md", "modules.md", "study.md")]
SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):")
ENTRY = re.compile(r" {4}\*{0,2}\w+(?:, \*{0,2}\w+)*: (.*)")
SMALL = re.compile(r"[a-z][a-z-]*[,.:;]?(?: |$)")  # a word, and no name such as `num_frames`
DIALECT = {
    r"\b(behind|through) (the|this project's|a) door\b|: the door\b": "the API, the dispatcher",
    r"\bat hand\b": "available, given",
    r"\bspeaks? of\b": "lists, names",
    r"\bfor ever\b": "fixed, without end",
    r"\bon disk minds\b|\bin (its|their) stride\b|\bfor company\b": "say what happens",
}


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of every docstring."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, kinds):
            text = ast.get_docstring(node)
            if text is not None:
                yield node.body[0].lineno, text


def comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of every comment."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def lower_case_descriptions(text: str) -> list[str]:
    """Return the descriptions of arguments, attributes, errors and results that begin with a small letter."""
    found, section, first = [], "", False
    for line in text.splitlines():
        heading = SECTION.fullmatch(line)
        if heading:
            section, first = heading.group(1), True
            continue
        if line and not line.startswith(" "):
            section = ""
        entry = ENTRY.fullmatch(line)
        if section in ("Args", "Attributes", "Raises") and entry and SMALL.match(entry.group(1)):
            found.append(line.strip())
        if section in ("Returns", "Yields") and first and SMALL.match(line.strip()):
            found.append(line.strip())
        first = False
    return found


def test_the_search_for_small_letters_finds_them() -> None:
    text = "Do it.\n\nArgs:\n    one: what it is,\n        of two lines.\n    two: What.\n\nReturns:\n    the sum.\n"
    assert lower_case_descriptions(text) == ["one: what it is,", "the sum."]


@pytest.fixture(scope="module")
def texts() -> list[tuple[str, str, str]]:
    """Place, kind and text of every docstring, comment and page."""
    found = []
    for path in SOURCES:
        source, name = path.read_text(), path.relative_to(ROOT)
        found += [(f"{name}:{line}", "docstring", text) for line, text in docstrings(source)]
        found += [(f"{name}:{line}", "comment", text) for line, text in comments(source)]
    return found + [(str(page.relative_to(ROOT)), "page", page.read_text()) for page in PAGES]


def test_descriptions_begin_with_a_capital(texts) -> None:
    docstrings = [(place, text) for place, kind, text in texts if kind == "docstring"]
    found = [f"{place}: {entry}" for place, text in docstrings for entry in lower_case_descriptions(text)]
    assert found == []


def test_code_in_docstrings_and_comments_has_single_backticks(texts) -> None:
    double = re.compile(r"(?<!`)``[^`\n]+``(?!`)")
    found = [
        f"{place}: {double.findall(text)}" for place, kind, text in texts if kind != "page" and double.search(text)
    ]
    assert found == []


def test_the_field_s_words_are_used(texts) -> None:
    """In docstrings, comments and pages; the changelogs may say what something was called."""
    found = [
        f"{place}: {match.group()!r}, better: {better}"
        for place, _, text in texts
        for pattern, better in DIALECT.items()
        for match in re.finditer(pattern, text, re.IGNORECASE)
    ]
    assert found == []
