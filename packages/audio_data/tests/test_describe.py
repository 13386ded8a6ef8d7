import numpy as np
import pytest

from audio_data import Document, Mixture
from audio_data.describe import describe_datasets, describe_document, describe_ids


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
