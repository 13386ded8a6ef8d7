import json

import numpy as np
import pytest

from audio_data import InputError
from audio_data.sources import describe_input, input_files, read_documents


def test_lines_become_documents(tmp_path, vocabulary):
    file = tmp_path / "a.jsonl"
    lines = [{"ids": [1, 2, 3], "loss_mask": [False, True, True], "id": "x", "text": "é"}, {"ids": []}]
    file.write_text("\n\n".join(json.dumps(line) for line in lines) + "\n")
    first, second = read_documents(file, vocabulary)
    assert (first.ids.tolist(), first.loss_mask.tolist()) == ([1, 2, 3], [False, True, True])
    assert first.metadata == {"id": "x", "text": "é"}
    assert len(second) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"line 2: expected an object with integer `ids`"),
        ("[1]", r"line 2: expected an object"),
        ('{"tokens": [1]}', r"line 2: expected a key 'ids' with the token ids"),
        ('{"ids": [0.5]}', r"line 2: .*one row of integer ids"),
        ('{"ids": ["a"]}', r"line 2: .*one row of integer ids"),
        ('{"ids": [[1], [1, 2]]}', r"line 2: expected an object with integer `ids`"),
        ('{"ids": [1], "loss_mask": [1]}', r"line 2: .*boolean `loss_mask`"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, vocabulary, line, message):
    (tmp_path / "a.jsonl").write_text('{"ids": [1]}\n' + line)
    with pytest.raises(InputError, match=rf"a\.jsonl` {message}"):
        list(read_documents(tmp_path / "a.jsonl", vocabulary))


def test_text_that_is_not_utf8_is_named(tmp_path, vocabulary):
    (tmp_path / "a.jsonl").write_bytes(b'{"ids": [1], "text": "\xff"}')
    with pytest.raises(InputError, match=r"a\.jsonl` line 1: .*'utf-8' codec can't decode"):
        list(read_documents(tmp_path / "a.jsonl", vocabulary))


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ([1, 2, 101, 3, 101], [[1, 2, 101], [3, 101]]),
        ([1, 2, 101, 3], [[1, 2, 101], [3]]),
        ([101, 101], [[101], [101]]),
        ([5], [[5]]),
    ],
)
def test_a_stream_is_cut_after_each_end_of_text(tmp_path, vocabulary, stream, expected):
    np.save(tmp_path / "s.npy", np.array(stream, np.uint16))
    documents = list(read_documents(tmp_path / "s.npy", vocabulary))
    assert [d.ids.tolist() for d in documents] == expected
    assert [d.metadata["id"] for d in documents] == [f"s-{i}" for i in range(len(expected))]


@pytest.mark.parametrize(("array", "message"), [(np.zeros((2, 2)), "one row of integer ids"), (None, "cannot be read")])
def test_a_wrong_array_is_named(tmp_path, vocabulary, array, message):
    file = tmp_path / "s.npy"
    file.write_bytes(b"no array") if array is None else np.save(file, array)
    with pytest.raises(InputError, match=rf"s\.npy`.*{message}"):
        list(read_documents(file, vocabulary))


def test_a_folder_is_read_in_the_order_of_names(tmp_path, vocabulary):
    (tmp_path / "b.jsonl").write_text('{"ids": [2]}')
    np.save(tmp_path / "a.npy", np.array([1]))
    (tmp_path / "notes.txt").write_text("ignored")
    assert [d.ids.tolist() for d in read_documents(tmp_path, vocabulary)] == [[1], [2]]
    assert list(describe_input(tmp_path)["sha256"]) == ["a.npy", "b.jsonl"]


@pytest.mark.parametrize("name", ["nowhere", "notes.txt", "."])
def test_nothing_to_read_is_named(tmp_path, name):
    (tmp_path / "notes.txt").write_text("no ids")
    with pytest.raises(InputError, match=r"expected a file or folder of \.jsonl or \.npy, got none"):
        input_files(tmp_path / name)


def test_a_dataset_is_read_again(tmp_path, study_vocabulary, vocabulary, make_documents, write_dataset):
    documents = make_documents([3, 0, 5], masked=False)
    dataset = write_dataset(tmp_path / "a", documents)
    assert list(read_documents(tmp_path / "a", vocabulary)) == documents
    assert describe_input(tmp_path / "a") == {"dataset": "a", "fingerprint": dataset.fingerprint}
    with pytest.raises(InputError, match="expected the vocabulary"):
        list(read_documents(tmp_path / "a", study_vocabulary))
