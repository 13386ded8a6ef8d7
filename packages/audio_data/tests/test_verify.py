import dataclasses
import json

import numpy as np
import pytest

from audio_data import InputError
from audio_data.shards import load_offsets
from audio_data.verify import verify_dataset


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
    (dataset.path / "shard-9-00000.arrayrecord").write_bytes(b"")
    problems = "\n".join(verify_dataset(dataset.path))
    for part in ("shard-00000", "is missing", "shard-00001", "got 5", "shard-00002", "shard-9-00000", "in no manifest"):
        assert part in problems


def test_counts_are_recounted(dataset):
    file = dataset.path / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["tokens_by_kind"] = {"text": manifest["num_tokens"]}
    manifest["audio_seconds"] += 1
    file.write_text(json.dumps(manifest))
    problems = verify_dataset(dataset.path)
    assert len(problems) == 2
    assert "`tokens_by_kind` is {'text': 41}" in problems[0]
    assert "`audio_seconds` is 3.5, got 2.5" in problems[1]


def test_no_dataset_cannot_be_verified(tmp_path):
    with pytest.raises(InputError, match="check the path"):
        verify_dataset(tmp_path)


def test_offsets_that_do_not_grow_are_refused(dataset):
    shard = dataset.manifest.shards[0]
    np.save(dataset.path / f"{shard.name}.offsets.npy", np.array([0, 30, shard.num_tokens]))
    with pytest.raises(InputError, match="growing int64"):
        load_offsets(dataset.path, shard)


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
