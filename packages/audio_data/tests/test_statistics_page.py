import xml.etree.ElementTree as ElementTree

import pytest

from audio_data import Mixture
from audio_data.describe import describe_datasets
from audio_data.statistics_page import stacked_bars, statistics_page

SVG = "{http://www.w3.org/2000/svg}"


def bars_of(figure):
    """Width and title of each bar that stands for tokens."""
    shapes = ElementTree.fromstring(figure).iter("rect")
    return [(float(shape.attrib["width"]), shape[0].text) for shape in shapes if len(shape)]


def test_bars_are_as_long_as_there_are_tokens():
    figure = stacked_bars(
        {"a": {"text": 100, "special": 0, "codebook_0": 300}, "b<c": {"text": 200, "special": 200}}, "tokens"
    )
    found = bars_of(figure)
    assert [title for _, title in found] == [
        "a, text: 100 tokens",
        "a, codebook_0: 300 tokens",
        "b<c, text: 200 tokens",
        "b<c, special: 200 tokens",
    ]
    widths = [width for width, _ in found]
    assert widths[1] == pytest.approx(3 * widths[0], abs=0.05)
    assert widths[2] == widths[3] == pytest.approx(2 * widths[0], abs=0.05)


def test_a_page_holds_every_corpus_and_what_a_run_reads_of_it(tmp_path, make_documents, write_dataset):
    datasets = {name: write_dataset(tmp_path / name, make_documents([n])) for name, n in (("a&b", 10), ("c", 30))}
    report = describe_datasets(datasets, Mixture.constant("m", {"a&b": 1, "c": 3}), 400)
    page = statistics_page(report, "Datasets")
    assert "<td>a&amp;b</td><td>1</td><td>10</td><td>0.00</td><td>0.25</td><td>10</td>" in page
    assert "<td>total</td><td>2</td><td>40</td>" in page
    figure = page[page.index("<svg") : page.index("</svg>") + len("</svg>")]
    by_corpus = {}
    for _, title in bars_of(figure):
        corpus, tokens = title.rsplit(", ", 1)[0], title.rsplit(": ", 1)[1]
        by_corpus[corpus] = by_corpus.get(corpus, 0) + int(tokens.split()[0])
    assert by_corpus == {"a&b": 10, "c": 30}
    epochs = page[page.rindex("<svg") : page.rindex("</svg>") + len("</svg>")]
    (one, first), (other, _) = bars_of(epochs)
    assert first == "a&b, epochs: 10 times"
    assert one == other
    assert statistics_page(describe_datasets(datasets), "Datasets").count("<svg") == 1


def test_many_codebooks_have_a_legend_of_several_lines():
    kinds = {"text": 1, "special": 1, **{f"codebook_{k}": 1 for k in range(32)}}
    tree = ElementTree.fromstring(stacked_bars({"a": kinds}, "tokens"))
    assert set(kinds) <= {text.text for text in tree.iter("text")}
    height = float(tree.get("viewBox").split()[3])
    assert max(float(text.attrib["y"]) for text in tree.iter("text")) < height
