import html.parser
import json
import re
from pathlib import Path

import numpy as np
import pytest

from audio_data import InputError
from audio_tokenize.inspection.code_counts import CodeCounts
from audio_tokenize.inspection.dataset_cards import card_text, write_card
from audio_tokenize.inspection.statistics import CorpusStatistics, Durations, Tally

HOSTILE = '<img src="http://example.org/x" onerror="alert(1)">|\x1b[2J\u202e'


@pytest.fixture(scope="module")
def counted() -> CorpusStatistics:
    random, counts, durations = np.random.default_rng(0), CodeCounts(8, 64), Durations()
    counts.add([random.integers(0, 50, (200, 8)) for _ in range(4)])
    for _ in range(4):
        durations.add(16.0)
    tallies = {name: Tally() for name in ("language", "speaker", "layout", "split")}
    for name in [HOSTILE, *map(str, range(20))]:
        tallies["speaker"].add(name, 1.0)
    tallies["language"].add("en", 64.0)
    codec = {"id": "mimi", "name": "mimi", "num_codebooks": 8, "codebook_size": 64, "frame_rate_hz": 12.5}
    return CorpusStatistics(
        name=HOSTILE,
        form="dataset",
        facts={
            "licence": "CC-BY-4.0",
            "codec": {**codec, "sample_rate_hz": 24000, "attention_window_frames": 125},
            "provenance": {"layout": "audio_first", "codes": {"corpus": HOSTILE, "none": None}},
            "fingerprint": "f" * 64,
        },
        num_documents=4,
        num_utterances=4,
        num_skipped=0,
        audio_seconds=64.0,
        tokens_by_kind={"text": 100, "special": 24, **{f"codebook_{k}": 800 for k in range(8)}},
        num_words=80,
        num_characters=400,
        spoken_seconds=64.0,
        durations=durations,
        tallies=tallies,
        codebooks=counts.use(),
        code_counts=counts.counts,
    )


class Page(html.parser.HTMLParser):
    """Tags and attributes of a page, and whether every element that must be closed is."""

    def __init__(self, content: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words = ""
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


@pytest.fixture(scope="module")
def page(counted, tmp_path_factory) -> Page:
    path = tmp_path_factory.mktemp("card") / "card.html"
    write_card(counted, path)
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_is_well_formed_and_loads_nothing(page):
    assert page.open == []
    assert not {"script", "img", "link", "iframe", "audio"} & set(page.tags)
    assert not {"src", "href", "onerror", "onclick"} & {name for name, _ in page.attributes}
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes
    assert page.tags.count("svg") == 5


def test_names_in_a_corpus_stay_text(page):
    assert '<img src="http://example.org/x" onerror="alert(1)">|' in page.words
    assert "\x1b" not in page.words
    assert "\u202e" not in page.words


def test_every_form_says_the_same_of_codec_licence_and_codebooks(counted, page, tmp_path: Path):
    write_card(counted, tmp_path / "README.md")
    markdown = (tmp_path / "README.md").read_text(encoding="utf-8")
    for text in (page.words, markdown, card_text(counted)):
        assert "CC-BY-4.0" in text
        assert "attention over the past 10 s (125 frames)" in text
        assert "the 12 largest of 21" in text
        for use in counted.codebooks:
            assert f"{use.perplexity:,.1f}" in text
    assert "\x1b" not in card_text(counted)


def test_the_readme_has_front_matter_and_tables_of_one_width(counted, tmp_path: Path):
    write_card(counted, tmp_path / "README.md")
    front, body = (tmp_path / "README.md").read_text(encoding="utf-8").removeprefix("---\n").split("\n---\n")
    fields = dict(line.split(": ", 1) for line in front.splitlines())
    assert json.loads(fields["pretty_name"]) == HOSTILE
    assert (fields["license_name"], fields["language"]) == ('"CC-BY-4.0"', '["en"]')
    assert "<img" not in body
    tables = [block.splitlines() for block in body.split("\n\n") if block.startswith("| ")]
    assert len(tables) == 5
    for rows in tables:
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


def test_json_is_the_statistics(counted, tmp_path: Path):
    write_card(counted, tmp_path / "card.json")
    assert json.loads((tmp_path / "card.json").read_text(encoding="utf-8")) == json.loads(json.dumps(counted.to_json()))


@pytest.mark.parametrize("name", ["card.html", "README.md", "card.json"])
def test_a_user_s_file_survives_and_a_card_is_written_anew(counted, tmp_path: Path, name: str):
    for _ in range(2):
        write_card(counted, tmp_path / name)
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="exists and was not written by this command"):
        write_card(counted, tmp_path / name)
    assert (tmp_path / name).read_text() == "mine"


def test_other_endings_are_refused(counted, tmp_path: Path):
    with pytest.raises(InputError, match=r"`out` must end in \.html, \.md, \.json, got 'card\.pdf'"):
        write_card(counted, tmp_path / "card.pdf")
