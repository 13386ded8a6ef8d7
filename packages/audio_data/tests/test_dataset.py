import concurrent.futures
import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_data import Document, InputError, TokenDataset, open_root

LENGTHS = [5, 0, 30, 1, 0, 17, 8, 16, 9, 0]


@pytest.fixture(scope="module", params=[4, 8192], ids=["split records", "whole records"])
def documents_and_dataset(request, tmp_path_factory, make_documents, write_dataset):
    documents = make_documents(LENGTHS)
    path = tmp_path_factory.mktemp("data") / "a"
    return documents, write_dataset(path, documents, documents_per_shard=4, tokens_per_record=request.param)


def test_documents_are_read_in_any_order(documents_and_dataset):
    documents, dataset = documents_and_dataset
    for i in (9, 0, 3, 2, 5, 5, 1):
        assert dataset[i] == documents[i]
        assert dataset.metadata(i) == documents[i].metadata
    assert len(dataset) == len(LENGTHS)
    assert dataset.token_offsets.tolist() == np.cumsum([0, *LENGTHS]).tolist()
    for wrong in (-1, len(LENGTHS)):
        with pytest.raises(IndexError):
            dataset[wrong]


@given(data=st.data())
@settings(deadline=None)
def test_any_slices_of_the_stream_can_be_gathered(documents_and_dataset, data):
    documents, dataset = documents_and_dataset
    stream = np.concatenate([document.ids for document in documents])
    spans = data.draw(st.lists(st.tuples(*[st.integers(0, stream.size)] * 2).map(sorted), max_size=4))
    starts, stops = np.array([s for s, _ in spans], np.int64), np.array([s for _, s in spans], np.int64)
    ids, mask = dataset.gather(starts, stops)
    assert ids.tolist() == [int(x) for start, stop in spans for x in stream[start:stop]]
    assert mask is None


def test_tokens_outside_the_stream_are_no_tokens(documents_and_dataset):
    _, dataset = documents_and_dataset
    for start, stop in ((-1, 3), (0, sum(LENGTHS) + 1), (4, 3)):
        with pytest.raises(IndexError):
            dataset.read_tokens(start, stop)


def test_a_mask_counts_all_tokens_of_documents_without_one(tmp_path, write_dataset):
    mask = np.array([True, False, False, True])
    documents = [Document(np.arange(3)), Document(np.arange(4), mask), Document(np.arange(2))]
    dataset = write_dataset(tmp_path / "a", documents, tokens_per_record=3)
    _, gathered = dataset.gather(np.array([1]), np.array([9]))
    assert gathered.tolist() == [True, True, *mask.tolist(), True, True]
    assert [d.loss_mask is None for d in dataset] == [True, False, True]
    assert dataset[1] == documents[1]


def test_threads_read_the_same(documents_and_dataset):
    documents, dataset = documents_and_dataset
    order = np.random.default_rng(0).integers(0, len(LENGTHS), 200).tolist()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(dataset.__getitem__, order)) == [documents[i] for i in order]


def flip_bit(file):
    content = bytearray(file.read_bytes())
    # The header of the file is 64 KiB; the first records follow the block of hashes at its start.
    position = content.index(b"ATOK") + 20
    content[position] ^= 4
    file.write_bytes(bytes(content))


DAMAGE = {
    "a flipped bit": (lambda shard: flip_bit(shard), r"shard-00001\.arrayrecord`, record 0 .*cannot be read"),
    "a cut end": (lambda shard: shard.write_bytes(shard.read_bytes()[:-10]), r"shard-00001.*truncated or replaced"),
    "an empty file": (lambda shard: shard.write_bytes(b""), r"shard-00001.*expected \d+ bytes, got 0"),
    "a missing shard": (lambda shard: shard.unlink(), r"shard-00001.*is missing, though the manifest lists it"),
    "zeros": (lambda shard: shard.write_bytes(b"\0" * shard.stat().st_size), r"shard-00001.*expected 2 records, got 0"),
    "missing offsets": (
        lambda shard: shard.with_name("shard-00001.offsets.npy").unlink(),
        r"offsets `.*shard-00001\.offsets\.npy` cannot be read",
    ),
    "wrong offsets": (
        lambda shard: np.save(shard.with_name("shard-00001.offsets.npy"), np.array([0, 1])),
        r"offsets `.*shard-00001\.offsets\.npy`: expected 3 growing int64",
    ),
    "a swapped shard": (
        lambda shard: shard.write_bytes(shard.with_name("shard-00000.arrayrecord").read_bytes()),
        r"shard-00001\.arrayrecord`, record 0 .*expected 5 tokens as in the index, got 10",
    ),
    "a missing manifest": (lambda shard: shard.with_name("manifest.json").unlink(), "has shards but no manifest"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named_with_file_and_record(tmp_path, make_documents, write_dataset, damage):
    write_dataset(tmp_path / "a", make_documents([10, 11, 5, 12]), documents_per_shard=2)
    break_it, message = DAMAGE[damage]
    break_it(tmp_path / "a" / "shard-00001.arrayrecord")
    with pytest.raises(InputError, match=message):
        list(TokenDataset.open(tmp_path / "a"))


def test_an_undamaged_record_of_a_damaged_shard_is_read(tmp_path, make_documents, write_dataset):
    documents = make_documents([10, 11])
    write_dataset(tmp_path / "a", documents)
    flip_bit(tmp_path / "a" / "shard-00000.arrayrecord")
    assert TokenDataset.open(tmp_path / "a")[1] == documents[1]


def test_a_rebuilt_shard_is_not_read_through_the_old_handle(tmp_path, make_documents, write_dataset):
    old, new = make_documents([10], seed=1), make_documents([10], seed=2)
    assert list(write_dataset(tmp_path / "a", old)) == old
    for file in (tmp_path / "a").iterdir():
        file.unlink()
    assert list(write_dataset(tmp_path / "a", new)) == new


def test_a_root_opens_every_dataset_below_it(tmp_path, make_documents, write_dataset):
    for name in ("yodas2/en", "yodas2/th", "emilia"):
        write_dataset(tmp_path / name, make_documents([3]))
    (tmp_path / "vocabulary").mkdir()
    assert list(open_root(tmp_path)) == ["emilia", "yodas2/en", "yodas2/th"]
    assert list(open_root(tmp_path / "emilia")) == ["emilia"]


def test_a_root_without_data_is_named(tmp_path):
    with pytest.raises(InputError, match=r"data folder .*expected at least one manifest\.json"):
        open_root(tmp_path)
    with pytest.raises(InputError, match="check the path"):
        TokenDataset.open(tmp_path / "nowhere")


def test_two_vocabularies_are_named_with_both_manifests(tmp_path, vocabulary, make_documents, write_dataset):
    other = dataclasses.replace(vocabulary, text_tokenizer="another")
    write_dataset(tmp_path / "a", make_documents([3]))
    write_dataset(tmp_path / "b", make_documents([3]), vocabulary=other)
    with pytest.raises(InputError) as caught:
        open_root(tmp_path)
    for part in ("a/manifest.json", "b/manifest.json", vocabulary.fingerprint, other.fingerprint):
        assert part in caught.value.message
