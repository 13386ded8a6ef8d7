import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from audio_data import TokenDataset
from audio_tokenize.cli import main
from audio_tokenize.documents.layouts import layout
from audio_tokenize.vocabularies.folder import VocabularyFolder


@pytest.fixture
def codes(tmp_path: Path, write_codes, utterance) -> Path:
    return write_codes(tmp_path / "codes", [utterance(f"EN_S{i % 2}_W{i}", f"Say {i}") for i in range(4)]).path


@pytest.fixture
def build(tmp_path: Path, mimi_vocabulary):
    """Runs the command; gives its output, or the documents it wrote."""

    def run(source, *options, exit_code=0):
        words = ["build", source, "--vocabulary", mimi_vocabulary, "--out", tmp_path / "built", *options]
        result = CliRunner().invoke(main, [str(word) for word in words])
        assert result.exit_code == exit_code, (result.output, result.exception)
        return list(TokenDataset.open(tmp_path / "built")) if exit_code == 0 else result.stderr

    return run


def rendered(document, vocabulary: Path) -> str:
    folder = VocabularyFolder.load(vocabulary)
    return folder.text.decode([i for i in document.ids.tolist() if i < folder.vocabulary.num_text])


def test_a_published_dataset_is_built_by_name(codes, build):
    documents = build(codes, "--preset", "emilia-mm-pretrain")
    assert [document.metadata["id"] for document in documents] == [
        "EN_S0:text_first",
        "EN_S0:audio_first",
        "EN_S1:text_first",
        "EN_S1:audio_first",
    ]


def test_every_choice_is_an_option(codes, build, mimi_vocabulary):
    options = ("--layout", "audio_first", "--layout", "text_first", "--grouping", "prefix", "--begin-of-text", "double")
    documents = build(codes, *options, "--transcript", "lower-case", "--codebooks", 2, "--language", "en")
    assert [document.metadata["layout"] for document in documents] == ["audio_first", "text_first"] * 2
    assert {document.metadata["num_codebooks"] for document in documents} == {2}
    folder = VocabularyFolder.load(mimi_vocabulary)
    segments = layout("audio_first").parse(documents[0].ids, folder.vocabulary)
    begin, text = folder.vocabulary.begin_of_text, folder.text
    assert all((document.ids == begin).sum() == 2 for document in documents)
    assert [text.decode(segment.text_ids.tolist()) for segment in segments] == ["say 0", "say 2"]


def test_texts_are_handed_over(tmp_path: Path, build, mimi_vocabulary, codes):
    lines = [{"id": "a", "text": "as it is"}, {"id": "b", "text": ""}]
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    [document] = build(tmp_path / "texts.jsonl", "--layout", "text", "--lenient")
    vocabulary = VocabularyFolder.load(mimi_vocabulary).vocabulary
    assert document.ids[0] == vocabulary.begin_of_text
    assert document.ids[-1] == vocabulary.end_of_text
    assert rendered(document, mimi_vocabulary) == "as it is"
    # The same layout of codes holds their transcripts alone.
    documents = build(codes, "--layout", "text", "--text-spaces", "around", "--overwrite")
    assert [rendered(document, mimi_vocabulary) for document in documents] == [f" Say {i} " for i in range(4)]
    documents = build(codes, "--layout", "text", "--overwrite")
    assert [rendered(document, mimi_vocabulary) for document in documents] == [f"Say {i}" for i in range(4)]
    assert TokenDataset.open(tmp_path / "built").manifest.audio_seconds == 0


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("codes", ["--preset", "yodas2"], "`preset` must be one of yodas2-mm-pretrain"),
        ("codes", ["--preset", "yodas2-mm-asr", "--codebooks", 2], "sets `num_codebooks`, got [2] beside it"),
        ("codes", ["--layout", "document"], "`layout` must be one of audio_first"),
        ("codes", ["--codebooks", 0], "`codebooks` must be in 1..8"),
        ("codes", ["--root", "x"], "is read as codes, to which 'root' does not apply: drop it"),
        ("codes", ["--text-spaces", "after"], "`text_spaces` is of layout 'text', got 'after' with audio_first"),
        ("codes", ["--layout", "text", "--begin-of-text", "double"], "of plain texts must be 'single', got 'double'"),
        ("none", [], "make them with `audio-tokenize encode`"),
        ("none", ["--layout", "text", "--speaker", "ann"], "is read as text, to which 'speakers' does not apply"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, codes, build, source, options, message):
    printed = build(tmp_path / source, *options, exit_code=2)
    assert printed.startswith("Error: ")
    assert message in printed
    assert len(printed.splitlines()) == 1
