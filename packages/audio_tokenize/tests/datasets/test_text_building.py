import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audio_data import InputError, TokenDataset, Vocabulary, holdout, verify_dataset
from audio_tokenize.datasets.text_building import build_text_dataset
from audio_tokenize.datasets.text_documents import base_id
from audio_tokenize.documents.strings import DocumentTranscoder
from audio_tokenize.documents.transcode import codes_to_characters
from audio_tokenize.text.sentencepiece_text import SentencePieceText
from audio_tokenize.vocabularies.folder import VocabularyFolder

BEGIN, END = "<|begin_of_text|>", "<|end_of_text|>"


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory) -> Path:
    text = SentencePieceText.train(["hello there, how are you", "open the door"], 16)
    ranges = Vocabulary.compact("small", text.num_ids, "mimi", 8, 2048, text.fingerprint)
    path = tmp_path_factory.mktemp("made") / "vocabulary"
    VocabularyFolder(ranges, text).save(path)
    return path


def utterance(seed: int) -> tuple[str, str]:
    codes = np.random.default_rng(seed).integers(0, 2048, (2 + seed % 3, 8))
    return f"<|audio_start|>{codes_to_characters(codes)}<|audio_end|>", f"<|text_start|>door {seed}<|text_end|>"


def published(folder: Path, num_videos: int) -> Path:
    """Both orders of each video, side by side, in two parquet files; video 3 has a frame too few in one order."""
    rows = []
    for video in range(num_videos):
        parts = [utterance(video * 7 + i) for i in range(2)]
        orders = ["".join(text + audio for audio, text in parts), "".join(audio + text for audio, text in parts)]
        for i, order in enumerate(orders, 1):
            broken = order.replace("<|audio_end|>", "x<|audio_end|>", 1) if (video, i) == (3, 2) else order
            rows.append({"id": f"v{video}_type{i}", "split": "en000/0", "text": f"{BEGIN}{broken}{END}"})
    folder.mkdir(parents=True)
    for i in range(2):
        half = rows[i * num_videos : (i + 1) * num_videos]
        pq.write_table(pa.Table.from_pylist(half), folder / f"{i:08d}.parquet")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name[0] != "."}


def test_a_dataset_of_documents_holds_every_document_with_what_is_known_of_it(tmp_path, vocabulary):
    source = published(tmp_path / "strings", 6)
    manifest = build_text_dataset(source, vocabulary, tmp_path / "data" / "yodas", form="document", lenient=True)
    dataset = TokenDataset.open(tmp_path / "data" / "yodas")
    transcoder = DocumentTranscoder(VocabularyFolder.load(vocabulary))
    rows = [row for file in sorted(source.iterdir()) for row in pq.read_table(file).to_pylist()]
    kept = [row for row in rows if row["id"] != "v3_type2"]
    documents = [dataset[i] for i in range(len(dataset))]
    assert [document.metadata["id"] for document in documents] == [row["id"] for row in kept]
    for row, document in zip(kept, documents, strict=True):
        assert np.array_equal(document.ids, transcoder.encode(row["text"]))
        order = {"1": "text_first", "2": "audio_first"}[row["id"][-1]]
        num_frames = sum("\ue000" <= character < "\ue800" for character in row["text"])
        assert document.metadata == {
            "id": row["id"],
            "base_id": row["id"].partition("_")[0],
            "layout": order,
            "seconds": num_frames / 12.5,
            "num_codebooks": 8,
        }
    assert manifest.provenance["counts"] == {"documents": 12, "dropped_frames": 1, "audio_characters_in_text": 0}
    assert manifest == dataset.manifest
    assert manifest.audio_seconds == pytest.approx(sum(document.metadata["seconds"] for document in documents))
    assert (tmp_path / "data" / "vocabulary" / "vocabulary.json").is_file()


def test_a_fault_stops_the_build_unless_asked_and_names_the_document(tmp_path, vocabulary):
    source = published(tmp_path / "strings", 6)
    with pytest.raises(InputError, match=r"document `v3_type2`, character \d+: expected .* got U\+0078"):
        build_text_dataset(source, vocabulary, tmp_path / "data" / "yodas", form="document")
    assert not (tmp_path / "data" / "yodas" / "manifest.json").exists()


def test_begin_of_text_is_doubled_by_name_only(tmp_path, vocabulary):
    source = published(tmp_path / "strings", 2)
    single = build_text_dataset(source, vocabulary, tmp_path / "single", form="document")
    double = build_text_dataset(source, vocabulary, tmp_path / "double", form="document", begin_of_text="double")
    begin = VocabularyFolder.load(vocabulary).vocabulary.begin_of_text
    assert TokenDataset.open(tmp_path / "single")[0].ids[:2].tolist().count(begin) == 1
    assert TokenDataset.open(tmp_path / "double")[0].ids[:2].tolist() == [begin, begin]
    assert double.num_tokens == single.num_tokens + single.num_documents
    assert (single.provenance["begin_of_text"], double.provenance["begin_of_text"]) == ("single", "double")


def test_the_two_orders_of_an_utterance_fall_on_the_same_side_of_the_holdout(tmp_path, vocabulary):
    source = published(tmp_path / "strings", 3)
    ids = {}
    for name, heldout in (("train", False), ("heldout", True)):
        manifest = build_text_dataset(
            source, vocabulary, tmp_path / name, form="document", holdout_fraction=0.4, heldout=heldout
        )
        dataset = TokenDataset.open(tmp_path / name)
        ids[name] = {dataset[i].metadata["id"] for i in range(len(dataset))}
        assert manifest.provenance["counts"]["held_apart"] == 6 - len(dataset)
    assert ids["train"] | ids["heldout"] == {f"v{i}_type{k}" for i in range(3) for k in (1, 2)}
    assert all(holdout(base_id(i), 0.4) == (i in ids["heldout"]) for i in ids["train"] | ids["heldout"])
    assert ids["train"]
    assert ids["heldout"]
    with pytest.raises(InputError, match=r"expected at least 1 document, got .*held_apart.* 6"):
        build_text_dataset(source, vocabulary, tmp_path / "none", form="document", holdout_fraction=1e-9, heldout=True)


def write_texts(path: Path, num_texts: int) -> Path:
    lines = [json.dumps({"id": f"t{i}", "text": f"open the door {i} " * (i % 5)}) for i in range(num_texts)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_dataset_of_texts_counts_what_it_leaves_out_and_is_not_built_twice(tmp_path, vocabulary):
    source = write_texts(tmp_path / "texts.jsonl", 20)
    out = tmp_path / "data" / "texts"
    manifest = build_text_dataset(source, vocabulary, out, lenient=True)
    assert manifest.provenance["counts"] == {"documents": 20, "dropped_empty": 4}
    assert manifest.num_documents == 16
    dataset = TokenDataset.open(out)
    folder = VocabularyFolder.load(vocabulary)
    assert folder.text.decode(dataset[0].ids[1:-1].tolist()) == "open the door 1 "
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert build_text_dataset(source, vocabulary, out, lenient=True) == manifest
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    with pytest.raises(InputError, match="exists; choose another folder, or overwrite it"):
        build_text_dataset(write_texts(source, 21), vocabulary, out, lenient=True)
    assert build_text_dataset(source, vocabulary, out, lenient=True, overwrite=True).num_documents == 16


def test_of_documents_with_one_id_the_first_is_taken(tmp_path, vocabulary):
    source = tmp_path / "texts.jsonl"
    lines = [json.dumps({"id": name, "text": f"open the door {i}"}) for i, name in enumerate("abab")]
    source.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(InputError, match="document `a`: expected an `id` of its own, got that of a document before it"):
        build_text_dataset(source, vocabulary, tmp_path / "data" / "refused")
    assert not (tmp_path / "data" / "refused").exists()
    manifest = build_text_dataset(source, vocabulary, tmp_path / "data" / "texts", lenient=True)
    assert manifest.provenance["counts"] == {"documents": 4, "dropped_unreadable": 2}
    assert [document.metadata["id"] for document in TokenDataset.open(tmp_path / "data" / "texts")] == ["a", "b"]
    assert verify_dataset(tmp_path / "data" / "texts") == []


KILLED = """
import sys
from audio_tokenize.datasets.text_building import build_text_dataset
source, vocabulary, out = sys.argv[1:]
build_text_dataset(source, vocabulary, out, lenient=True, documents_per_shard=200)
"""


@pytest.mark.long
def test_killed_at_any_moment_the_next_build_ends_in_the_same_bytes(tmp_path, vocabulary):
    source = write_texts(tmp_path / "texts.jsonl", 4_000)
    whole, killed = tmp_path / "whole" / "texts", tmp_path / "killed" / "texts"
    build_text_dataset(source, vocabulary, whole, lenient=True, documents_per_shard=200)
    for shard in (killed / "shard-00002.arrayrecord", killed / "shard-00009.arrayrecord"):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(source), str(vocabulary), str(killed)])
        deadline = time.monotonic() + 60
        while not shard.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (killed / "manifest.json").exists()
    build_text_dataset(source, vocabulary, killed, lenient=True, documents_per_shard=200)
    assert content(killed) == content(whole)
