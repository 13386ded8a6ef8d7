import concurrent.futures
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_data import (
    DatasetWriter,
    Document,
    InputError,
    RecordWriter,
    TokenDataset,
    open_records,
    open_root,
    quarantine_damage,
    storage_path,
    verify_dataset,
)

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
        r"offsets `.*shard-00001\.offsets\.npy`: expected 3 growing int64, got no such file",
    ),
    "wrong offsets": (
        lambda shard: np.save(shard.with_name("shard-00001.offsets.npy"), np.array([0, 1])),
        r"offsets `.*shard-00001\.offsets\.npy`: expected 3 growing int64",
    ),
    "offsets of other documents": (
        lambda shard: np.save(shard.with_name("shard-00001.offsets.npy"), np.array([0, 6, 16])),
        r"offsets `.*shard-00001\.offsets\.npy` cannot be read \(expected content of SHA-256 .*; restore the file",
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


@pytest.fixture(scope="module", params=[False, True], ids=["plain chunks", "compressed chunks"])
def large(request, tmp_path_factory, make_documents, write_dataset):
    """Shards are written without compression; files of other records are not, and shards might be."""
    documents = make_documents([4000] * 60)
    with pytest.MonkeyPatch.context() as patch:
        writer = lambda path, compressed: RecordWriter(path, compressed=request.param)  # noqa: E731
        patch.setattr("audio_data.shards.RecordWriter", writer)
        dataset = write_dataset(tmp_path_factory.mktemp("large") / "a", documents)
    content = (dataset.path / "shard-00000.arrayrecord").read_bytes()
    assert (b"ATOK" in content) != request.param
    return documents, dataset, content


def read_all(dataset):
    """Every document that can be read, and how many cannot and are named."""
    found, messages = {}, []
    for index in range(len(dataset)):
        try:
            found[index] = dataset[index]
        except InputError as error:
            messages.append((f"(document {index} of the shard)", error.message))
    assert all(name in message for name, message in messages)
    return found, len(messages)


def test_zeros_in_the_middle_cost_the_records_they_hit_and_no_other(large, tmp_path):
    documents, dataset, content = large
    middle = len(content) // 2
    damaged = content[:middle] + bytes(65536) + content[middle + 65536 :]
    copy = shutil.copytree(dataset.path, tmp_path / "a")
    (copy / "shard-00000.arrayrecord").write_bytes(damaged)
    found, num_damaged = read_all(TokenDataset.open(copy))
    bytes_per_record = (len(content) - 2 * 65536) // len(documents)
    assert 0 < num_damaged <= 65536 // bytes_per_record + 2
    assert all(document == documents[index] for index, document in found.items())


def test_no_flipped_bit_is_read_as_a_token(large, tmp_path):
    documents, dataset, content = large
    copy = shutil.copytree(dataset.path, tmp_path / "a")
    # Before the first record and after the last lie blocks of 64 KiB that say where records are.
    for position in np.random.default_rng(0).integers(65536, len(content) - 65536, 12).tolist():
        flipped = bytes([content[position] ^ 1 << position % 8])
        (copy / "shard-00000.arrayrecord").write_bytes(content[:position] + flipped + content[position + 1 :])
        open_records.cache_clear()
        found, num_damaged = read_all(TokenDataset.open(copy))
        assert num_damaged <= 1
        assert all(document == documents[index] for index, document in found.items())


@pytest.mark.parametrize("kept", [0.9, 0.0])
def test_a_shard_that_lost_its_end_does_not_open(large, tmp_path, kept):
    _, dataset, content = large
    copy = shutil.copytree(dataset.path, tmp_path / "a")
    (copy / "shard-00000.arrayrecord").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match="truncated or replaced"):
        TokenDataset.open(copy)


def test_a_rebuilt_shard_is_not_read_through_the_old_handle(tmp_path, make_documents, write_dataset):
    old, new = make_documents([10], seed=1), make_documents([10], seed=2)
    assert list(write_dataset(tmp_path / "a", old)) == old
    for file in (tmp_path / "a").iterdir():
        file.unlink()
    assert list(write_dataset(tmp_path / "a", new)) == new


@pytest.fixture(params=["memory", "s3"])
def remote(request, tmp_path, monkeypatch):
    """The URL of an empty folder on an object store."""
    monkeypatch.setenv("AUDIO_DATA_CACHE", str(tmp_path / "cache"))
    if request.param == "memory":
        return f"memory://datasets-{tmp_path.name}"
    return request.getfixturevalue("s3_folder")


def test_a_remote_dataset_is_a_dataset(remote, tmp_path, make_documents, write_dataset):
    documents = make_documents(LENGTHS)
    settings = {"documents_per_shard": 4, "tokens_per_record": 16, "corpus": "x"}
    for path in (storage_path(remote) / "yodas2/en", tmp_path / "local"):
        assert list(write_dataset(path, documents, **settings)) == documents
    opened = open_root(remote)
    assert list(opened) == ["yodas2/en"]
    assert opened["yodas2/en"].fingerprint == TokenDataset.open(tmp_path / "local").fingerprint
    assert verify_dataset(f"{remote}/yodas2/en") == []
    names = {path.name for path in (storage_path(remote) / "yodas2/en").iterdir()}
    assert names == {path.name for path in (tmp_path / "local").iterdir()}


def test_a_remote_dataset_goes_on_after_a_crash_and_is_replaced_when_complete(remote, vocabulary, make_documents):
    path, documents = f"{remote}/a", make_documents(LENGTHS)
    settings = {"corpus": "x", "vocabulary": vocabulary, "provenance": {}, "documents_per_shard": 2}
    writer = DatasetWriter(path, **settings).__enter__()
    for document in documents[:5]:
        writer.write(document)
    writer.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    with pytest.raises(InputError, match="unfinished"):
        TokenDataset.open(path)
    with DatasetWriter(path, **settings) as writer:
        assert writer.num_resumed == 4
        for document in documents[writer.skip_resumed() :]:
            writer.write(document)
    old = TokenDataset.open(path)
    assert list(old) == documents
    with DatasetWriter(path, **settings, overwrite=True) as writer:
        writer.write(documents[0])
        assert TokenDataset.open(path).fingerprint == old.fingerprint
    assert list(TokenDataset.open(path)) == documents[:1]


def test_damage_of_a_remote_dataset_is_found_though_a_sound_copy_is_in_the_cache(remote, make_documents, write_dataset):
    dataset = write_dataset(storage_path(f"{remote}/a"), make_documents(LENGTHS), documents_per_shard=4)
    list(dataset)
    file = storage_path(f"{remote}/a/shard-00001.arrayrecord")
    content = bytearray(file.read_bytes())
    content[content.index(b"ATOK") + 20] ^= 4
    file.write_bytes(bytes(content))
    problems = verify_dataset(f"{remote}/a")
    assert len(problems) == 1
    assert "shard-00001.arrayrecord`: expected the checksum" in problems[0]
    assert list(quarantine_damage(f"{remote}/a", 4)[0].documents) == [4, 5, 6, 7]
    assert list(TokenDataset.open(f"{remote}/a", max_quarantined=4).quarantined) == [4, 5, 6, 7]
