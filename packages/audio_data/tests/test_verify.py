import dataclasses

import numpy as np
import pytest

from audio_data import Document, InputError, build_dataset
from audio_data.seen_ids import SeenIds
from audio_data.shards import load_offsets
from audio_data.verify import unchecked_files, verify_dataset


@pytest.fixture
def dataset(tmp_path, make_documents, write_dataset):
    return write_dataset(tmp_path / "a", make_documents([10, 11, 5, 12, 3]), documents_per_shard=2, tokens_per_record=4)


def test_a_sound_dataset_has_no_problems(dataset):
    assert verify_dataset(dataset.path) == []


def test_every_damaged_byte_of_a_record_is_found(dataset):
    file = dataset.path / "shard-00001.arrayrecord"
    content = file.read_bytes()
    begin = content.index(b"ATOK")
    for position in range(begin, begin + 24):
        file.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        problems = verify_dataset(dataset.path)
        assert "shard-00001.arrayrecord`: expected the checksum" in problems[0]
        assert any("record 0 (document 0 of the shard) cannot be read" in problem for problem in problems), problems
    file.write_bytes(content)
    assert verify_dataset(dataset.path) == []


def test_all_problems_are_listed_and_not_just_the_first(dataset):
    (dataset.path / "shard-00000.arrayrecord").unlink()
    (dataset.path / "shard-00001.arrayrecord").write_bytes(b"short")
    (dataset.path / "shard-00002.offsets.npy").write_bytes(b"")
    for suffix in ("arrayrecord", "offsets.npy"):
        (dataset.path / f"shard-9-00000.{suffix}").write_bytes(b"")
    problems = "\n".join(verify_dataset(dataset.path))
    for part in ("shard-00000", "is missing", "shard-00001", "got 5", "shard-00002", "shard-9-00000", "in no manifest"):
        assert part in problems


def test_counts_are_recounted(dataset):
    file = dataset.path / "manifest.json"
    manifest = dataset.manifest
    by_kind = {kind: manifest.num_tokens * (kind == "text") for kind in manifest.vocabulary.kinds}
    seconds = manifest.audio_seconds + 1
    dataclasses.replace(manifest, tokens_by_kind=by_kind, audio_seconds=seconds).write(file)
    problems = verify_dataset(dataset.path)
    assert len(problems) == 2
    assert "`tokens_by_kind` is {'text': 41, 'special': 0" in problems[0]
    assert "`audio_seconds` is 3.5, got 2.5" in problems[1]


def test_no_dataset_cannot_be_verified(tmp_path):
    with pytest.raises(InputError, match="check the path"):
        verify_dataset(tmp_path)


def test_offsets_that_do_not_grow_are_refused(dataset):
    shard = dataset.manifest.shards[0]
    np.save(dataset.path / f"{shard.name}.offsets.npy", np.array([0, 30, shard.num_tokens]))
    with pytest.raises(InputError, match=r"offsets `.*` cannot be read \(expected content of SHA-256 "):
        load_offsets(dataset.path, shard)


@pytest.mark.parametrize(
    "offsets",
    [
        np.array([0, 30, 21]),
        np.array([0, 10, 21], np.int32),
        np.array([0, 10, 21], ">i8"),
        np.array([0, 10, 21.0]),
        np.array([0, 21]),
        np.array([0, 10, 21, 21]),
        np.array([[0, 10, 21]]),
        np.array([1, 10, 21]),
        np.array([0, 10, 20]),
    ],
    ids=["falls", "int32", "big-endian", "floats", "short", "long", "two axes", "late start", "early end"],
)
def test_offsets_of_an_older_version_are_checked_one_by_one(dataset, offsets):
    shard = dataclasses.replace(dataset.manifest.shards[0], offsets_sha256="")
    np.save(dataset.path / f"{shard.name}.offsets.npy", np.array([0, 10, 21]))
    assert load_offsets(dataset.path, shard).tolist() == [0, 10, 21]
    np.save(dataset.path / f"{shard.name}.offsets.npy", offsets)
    with pytest.raises(InputError, match="expected 3 growing int64 from 0 to 21, got"):
        load_offsets(dataset.path, shard)


def test_side_files_are_checked_where_the_manifest_has_their_checksum(dataset):
    """Of an older dataset `verify` says which files only it can check."""
    shards = tuple(dataclasses.replace(s, offsets_sha256="", holdout_sha256="") for s in dataset.manifest.shards[:1])
    older = dataclasses.replace(dataset.manifest, shards=(*shards, *dataset.manifest.shards[1:]))
    assert unchecked_files(dataset.path) == []
    older.write(dataset.path / "manifest.json")
    assert unchecked_files(dataset.path) == ["shard-00000.offsets.npy", "shard-00000.holdout.npy"]
    assert verify_dataset(dataset.path) == []


def test_documents_of_one_id_are_counted(tmp_path, write_dataset):
    """In datasets of a version that did not refuse them."""
    documents = [Document(np.array([i]), None, {"id": name}) for i, name in enumerate(["a", "b", "a", "c", "a"])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SeenIds, "add", lambda self, name: True)
        path = write_dataset(tmp_path / "a", documents).path
    (problem,) = verify_dataset(path)
    assert "2 documents have the `id` of a document before them, the first 'a'" in problem


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_the_list_of_what_was_left_out_is_checked(tmp_path, vocabulary, damage):
    (tmp_path / "a.jsonl").write_text('{"ids": [1]}\n{"ids": [999]}\n')
    build_dataset([tmp_path / "a.jsonl"], vocabulary, tmp_path / "a", max_quarantined=1)
    file = tmp_path / "a" / "quarantine.jsonl"
    assert verify_dataset(tmp_path / "a") == []
    file.unlink() if damage == "gone" else file.write_bytes(file.read_bytes().replace(b"999", b"998"))
    (problem,) = verify_dataset(tmp_path / "a")
    assert "quarantine.jsonl`: expected the checksum" in problem


def test_an_id_outside_the_vocabulary_is_named_with_file_and_document(dataset, vocabulary):
    """The ids stay what they were, and the manifest is of another vocabulary."""
    smaller = dataclasses.replace(vocabulary, num_codebooks=1)
    by_kind = {"text": dataset.num_tokens, "special": 0, "codebook_0": 0}
    dataclasses.replace(dataset.manifest, vocabulary=smaller, tokens_by_kind=by_kind).write(
        dataset.path / "manifest.json"
    )
    outside = [i for i, document in enumerate(dataset) if document.ids.max() >= smaller.size]
    problems = verify_dataset(dataset.path)
    assert len(problems) == len(outside) > 0
    for index, problem in zip(outside, problems, strict=True):
        place = f"shard-{index // 2:05d}.arrayrecord`, document {index % 2} of the shard: position `"
        assert place in problem
        assert "use the vocabulary that made the ids" in problem
