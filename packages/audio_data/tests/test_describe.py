import itertools

import numpy as np
import pytest

from audio_data import Document, Mixture, Packing
from audio_data.describe import describe_datasets, describe_document, describe_ids, describe_row, row_lines
from audio_data.windows import make_rows


def test_runs_are_marks(vocabulary):
    audio = vocabulary.audio_ids(np.zeros((25, 4), np.int32))
    ids = np.concatenate([[100, 104], audio, [105, 102, 7, 8, 9, 103, 101]])
    head, tail = (
        "<|begin_of_text|><|audio_start|>",
        "<|audio_end|><|text_start|><text 3 tokens><|text_end|><|end_of_text|>",
    )
    assert describe_ids(ids, vocabulary, 12.5) == f"{head}<audio 2.0 s, 4 codebooks>{tail}"
    assert describe_ids(ids, vocabulary) == f"{head}<audio 25 frames, 4 codebooks>{tail}"
    assert describe_ids(ids[:0], vocabulary) == ""
    assert describe_ids(audio[:1], vocabulary) == "<audio 1 frames, 1 codebook>"


def test_a_document_counts_its_targets(tmp_path, write_dataset):
    document = Document(np.array([1, 2, 3]), np.array([False, True, True]), {"id": "x"})
    dataset = write_dataset(tmp_path / "a", [document])
    assert describe_document(document, dataset) == {
        "num_tokens": 3,
        "num_targets": 2,
        "tokens": "<text 3 tokens>",
        "metadata": {"id": "x"},
    }


def test_epochs_are_tokens_drawn_over_tokens_there(tmp_path, make_documents, write_dataset):
    datasets = {name: write_dataset(tmp_path / name, make_documents([n])) for name, n in (("a", 10), ("b", 30))}
    report = describe_datasets(datasets, Mixture.constant("m", {"a": 1, "b": 3}), 400)
    assert {name: entry["epochs"] for name, entry in report["corpora"].items()} == {"a": 10, "b": 10}
    assert report["total"] == {"num_documents": 2, "num_tokens": 40, "audio_seconds": pytest.approx(1.0)}
    assert "weight" not in describe_datasets(datasets)["corpora"]["a"]


def test_text_is_text_where_something_reads_it(vocabulary):
    ids = np.array([102, 7, 8, 103, 3])
    text = describe_ids(ids, vocabulary, text=lambda part: "".join(chr(ord("a") + i) for i in part))
    assert text == "<|text_start|>hi<|text_end|>d"


def test_a_window_names_its_documents_segments_and_positions(tmp_path, make_documents, write_dataset):
    dataset = write_dataset(tmp_path / "a", make_documents([5, 0, 3, 12]))
    rows = make_rows(dataset, Packing(), 10, seed=0)
    entry = describe_row(rows, 0, dataset)
    assert [(s["start"], s["stop"], s["positions"], s["num_targets"]) for s in entry["segments"]] == [
        (0, 5, [0, 4], 5),
        (5, 8, [5, 7], 3),
        (8, 10, [8, 9], 1),
    ]
    assert [[d["id"] for d in s["documents"]] for s in entry["segments"]] == [["doc-0"], ["doc-2"], ["doc-3"]]
    assert (entry["num_targets"], entry["num_padding"], entry["quarantined"]) == (9, 0, False)
    first, segment, tokens, *_ = row_lines({"window": 0, **entry})
    assert first == "window 0: 3 segments, 9 targets"
    assert segment == "  segment 1: tokens 0..4, positions 0..4, 5 targets, of doc-0"
    assert tokens.endswith("<|end_of_text|>")


def test_a_packed_row_says_what_is_padding(tmp_path, make_documents, write_dataset):
    dataset = write_dataset(tmp_path / "a", make_documents([6, 3, 5]))
    rows = make_rows(dataset, Packing("best_fit", "reset"), 10, seed=0)
    entries = [describe_row(rows, i, dataset) for i in range(len(rows))]
    segments = list(itertools.chain.from_iterable(entry["segments"] for entry in entries))
    assert sorted(s["documents"][0]["document"] for s in segments) == [0, 1, 2]
    assert all(s["positions"] == [0, s["stop"] - s["start"] - 1] for s in segments)
    assert sum(entry["num_padding"] for entry in entries) == 10 * len(rows) - 14
    assert any("of padding" in next(row_lines({"window": 0, **entry})) for entry in entries)
