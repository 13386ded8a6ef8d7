import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_data.markup import Markup, join, markdown_table, page, tag, text


class Reader(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.said, self.attributes = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.said.append(data)


def read(markup):
    reader = Reader()
    reader.feed(markup)
    reader.close()
    return reader


@given(st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs")), min_size=1))
def test_any_text_is_read_back_and_adds_no_element(said):
    reader = read(tag("p", said, title=said))
    assert reader.tags == ["p"]
    assert "".join(reader.said) == said
    assert dict(reader.attributes)["title"] == said


@given(st.text())
def test_no_text_adds_markup_whatever_it_holds(said):
    assert read(tag("p", said, title=said)).tags == ["p"]


def test_control_characters_become_visible():
    assert text("a\x00b\x1b[31m\x7f") == "a\u2400b\u241b[31m\u2421"
    assert text("left\u202eright\ufeff") == "left\ufffdright\ufffd"
    assert text("tab\tand\nline") == "tab\tand\nline"


def test_children_nest_and_none_stands_for_nothing():
    built = tag("ul", [tag("li", name) for name in ("a", "<b>")], None)
    assert built == "<ul><li>a</li><li>&lt;b&gt;</li></ul>"
    assert join("x", None, ["y", Markup("<br>")]) == "xy<br>"


def test_attributes():
    assert tag("audio", controls=True, preload=None, class_="a b", aria_label='"') == (
        '<audio controls class="a b" aria-label="&quot;"></audio>'
    )
    assert tag("meta", attributes={"http-equiv": "x"}) == '<meta http-equiv="x">'
    assert tag("rect", tag("title", "t"), x=1) == '<rect x="1"><title>t</title></rect>'


def test_what_utf8_and_xml_cannot_hold_is_replaced():
    assert text("a\ud800b\uffffc") == "a\ufffdb\ufffdc"


def test_a_page_is_a_whole_document():
    assert page(tag("title", "a & b"), [tag("p", "x"), None]) == (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>a &amp; b</title></head>\n'
        "<body><p>x</p></body></html>\n"
    )


@given(st.text())
def test_markdown_shows_the_text(cell):
    markdown = pytest.importorskip("markdown")
    page = markdown.markdown(markdown_table(["name"], [[cell]]), extensions=["tables"])
    (shown,) = re.findall("<td>(.*)</td>", page)
    assert shown == text(" ".join(cell.split())).replace("&quot;", '"').replace("&#x27;", "'")


@given(st.lists(st.text(), min_size=1, max_size=3))
def test_cells_of_a_markdown_table_stay_cells(cells):
    head, rule, row = markdown_table(["name"] * len(cells), [cells]).split("\n")
    columns = len(cells) + 1
    assert head.count("|") == rule.count("|") == columns
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == columns
    assert not re.search(r"(?<!\\)(?:\\\\)*[<>`]", row)
