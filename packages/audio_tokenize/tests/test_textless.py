"""Audio without transcripts, alone and beside audio with transcripts, by the commands that a person types."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from audio_data import TokenDataset
from audio_tokenize import EncodedCorpus, VocabularyFolder, layout, open_corpus
from audio_tokenize.cli import main
from audio_tokenize.waveform import load_audio

TEXTS = {"said-0": "turn left", "said-1": "turn right"}


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five clips in a folder, without any text."""
    folder = tmp_path_factory.mktemp("speech")
    for number, utterance in enumerate(open_corpus("sample").select(split="heldout").utterances[:5]):
        samples = load_audio(utterance.audio, 24_000, utterance.start_seconds, utterance.end_seconds)
        soundfile.write(folder / f"clip-{number}.wav", samples[: 24_000 + 1_920 * number], 24_000)
    return folder


@pytest.fixture(scope="module")
def codes(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("codes") / "raw"
    assert "5 without transcript, for layouts of audio alone" in run(
        "encode", recordings, "--language", "cy", "--out", out
    )
    return out


def test_raw_audio_becomes_documents_of_audio_alone(codes: Path, tmp_path: Path):
    encoded = list(EncodedCorpus.open(codes))
    assert {(u.text, u.language) for u in encoded} == {("", "cy")}
    run("vocabulary", codes, "--out", tmp_path / "vocabulary")
    folder = VocabularyFolder.load(tmp_path / "vocabulary")
    for name, num_codebooks in (("acoustic", 8), ("semantic", 1)):
        said = run(
            *("build", codes, "--layout", name, "--vocabulary", tmp_path / "vocabulary", "--out", tmp_path / name)
        )
        assert "left out" not in said
        for utterance, document in zip(encoded, TokenDataset.open(tmp_path / name), strict=True):
            (segment,) = layout(name).parse(document.ids, folder.vocabulary)
            assert np.array_equal(segment.codes, utterance.codes[:, :num_codebooks])
            assert document.metadata["text"] == ""
            assert document.metadata["language"] == "cy"


def test_the_vocabulary_of_raw_audio_can_write_a_prompt(codes: Path, tmp_path: Path):
    run("vocabulary", codes, "--out", tmp_path)
    text = VocabularyFolder.load(tmp_path).text
    said = "Which way is it to Ynys Môn, 2 km or 3?"
    assert text.decode(text.encode(said)) == said
    # One id a character, not the bytes of one.
    assert len(text.encode("Which way")) <= len("Which way") + 1


@pytest.mark.parametrize("name", ["audio_first", "text_first", "text"])
def test_a_layout_with_text_is_refused_by_name(codes: Path, tmp_path: Path, name: str):
    run("vocabulary", codes, "--out", tmp_path / "vocabulary")
    said = run(
        *("build", codes, "--layout", name, "--vocabulary", tmp_path / "vocabulary", "--out", tmp_path / "data"),
        code=2,
    )
    assert f"layout {name} needs transcripts, which 5 of the utterances" in said
    assert "choose a layout of audio alone, such as acoustic or semantic" in said
    assert not (tmp_path / "data").exists()


def _folder(recordings: Path, where: Path) -> Path:
    for index, path in enumerate(sorted(recordings.glob("*.wav"))):
        name = f"said-{index}" if index < len(TEXTS) else path.stem
        (where / f"{name}.wav").write_bytes(path.read_bytes())
        if name in TEXTS:
            (where / f"{name}.txt").write_text(TEXTS[name])
    return where


def _manifest(recordings: Path, where: Path) -> Path:
    _folder(recordings, where)
    lines = [
        {"audio": path.name} | ({"text": TEXTS[path.stem]} if path.stem in TEXTS else {"text": None})
        for path in sorted(where.glob("*.wav"))
    ]
    (where / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return where


@pytest.mark.parametrize("make", [_folder, _manifest])
def test_a_mixed_corpus_keeps_both_kinds(recordings: Path, tmp_path: Path, make):
    (tmp_path / "mixed").mkdir()
    corpus, out = make(recordings, tmp_path / "mixed"), tmp_path / "codes"
    assert "3 without transcript" in run("encode", corpus, "--out", out)
    encoded = {u.id: u.text for u in EncodedCorpus.open(out)}
    assert len(encoded) == 5
    assert {name: text for name, text in encoded.items() if text} == TEXTS
    run("vocabulary", out, "--out", tmp_path / "vocabulary")
    options = ("--vocabulary", tmp_path / "vocabulary", "--out")
    said = run("build", out, "--layout", "audio_first", *options, tmp_path / "asr")
    assert "left out: 3 utterances without transcript" in said
    dataset = TokenDataset.open(tmp_path / "asr")
    assert {d.metadata["id"]: d.metadata["text"] for d in dataset} == TEXTS
    assert dataset.manifest.provenance["counts"] == {"without_transcript": 3}
    assert "left out" in run("build", out, "--layout", "audio_first", *options, tmp_path / "asr")  # what is there
    # In each layout what it can hold: both kinds as audio, transcribed ones as pairs.
    run("build", out, "--layout", "audio_first", "--layout", "acoustic", *options, tmp_path / "both")
    both = [(d.metadata["base_id"], d.metadata["layout"]) for d in TokenDataset.open(tmp_path / "both")]
    assert sorted(both) == sorted([*((name, "acoustic") for name in encoded), *((n, "audio_first") for n in TEXTS)])
