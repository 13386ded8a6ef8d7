import functools
import os

import numpy as np
import pytest

from audio_data import Document, Holdout, InputError, TokenDataset, open_records


def open_files(folder):
    links = (os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
    return sum(os.path.realpath(link).startswith(str(folder)) for link in links)


def test_open_files_are_bounded(tmp_path, make_documents, write_dataset, monkeypatch):
    assert open_records.cache_parameters()["maxsize"] == 256
    monkeypatch.setattr("audio_data.dataset.open_records", functools.lru_cache(maxsize=2)(open_records.__wrapped__))
    documents = make_documents([3] * 5)
    dataset = write_dataset(tmp_path / "a", documents, documents_per_shard=1)
    for i in (0, 1, 2, 3, 4, 0, 4):
        assert dataset[i] == documents[i]
        assert open_files(tmp_path) <= 2


def test_a_window_of_a_long_document_reads_only_its_part(tmp_path, make_documents, write_dataset, monkeypatch):
    dataset = write_dataset(tmp_path / "a", make_documents([10_000]), tokens_per_record=100)
    read = []
    decode = type(dataset)._decode
    monkeypatch.setattr(
        type(dataset), "_decode", lambda self, shard, record, f: read.append(record) or decode(self, shard, record, f)
    )
    expected = make_documents([10_000])[0].ids[4_950:5_150]
    assert np.array_equal(dataset.read_tokens(4_950, 5_150), expected)
    assert read == [49, 50, 51]


@pytest.mark.parametrize("named", [[None, "a"], ["a", None], [None, "a", None, "b"], [None, None]])
def test_a_shard_with_a_nameless_document_has_no_keys(tmp_path, write_dataset, named):
    metadata = [{} if name is None else {"id": name} for name in named]
    documents = [Document(np.array([i]), None, entries) for i, entries in enumerate(metadata)]
    assert list(write_dataset(tmp_path / "a", documents)) == documents
    assert not (tmp_path / "a" / "shard-00000.holdout.npy").exists()
    with pytest.raises(InputError, match="a document states neither `base_id` nor `id`"):
        TokenDataset.open(tmp_path / "a", holdout=Holdout(0.5))
