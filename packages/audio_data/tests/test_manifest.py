import dataclasses
import json
import os

import pytest

from audio_data import InputError, Manifest, ShardInfo


@pytest.fixture
def manifest(vocabulary):
    shards = (ShardInfo("shard-00000", 2, 10, 500, "a" * 64), ShardInfo("shard-00001", 1, 5, 300, "b" * 64))
    return Manifest(
        schema_version=1,
        corpus="speech",
        num_documents=3,
        num_tokens=15,
        tokens_by_kind={kind: 15 if kind == "text" else 0 for kind in vocabulary.kinds},
        audio_seconds=1.5,
        vocabulary=vocabulary,
        codec={"id": "test-codec", "attention_window_frames": 250},
        shards=shards,
        provenance={"command": "made by a test"},
        tokens_per_record=8192,
    )


def test_a_manifest_comes_back_from_its_file(tmp_path, manifest):
    manifest.write(tmp_path / "manifest.json")
    assert Manifest.read(tmp_path / "manifest.json") == manifest
    assert os.listdir(tmp_path) == ["manifest.json"]


def test_the_fingerprint_is_of_content_and_not_of_names(manifest):
    renamed = tuple(dataclasses.replace(s, name=f"other-{i}") for i, s in enumerate(manifest.shards))
    assert dataclasses.replace(manifest, shards=renamed, corpus="x").fingerprint == manifest.fingerprint
    changed = (dataclasses.replace(manifest.shards[0], sha256="c" * 64), manifest.shards[1])
    assert dataclasses.replace(manifest, shards=changed).fingerprint != manifest.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "`schema_version`: expected 1, got 2"),
        ({"num_tokens": 16}, "`num_tokens`: expected 15, the sum over shards, got 16"),
        ({"num_documents": 4}, "`num_documents`: expected 3"),
        ({"tokens_by_kind": {"text": 14}}, "`tokens_by_kind`: expected a sum of 15"),
        ({"fingerprint": "0"}, "`fingerprint`"),
        ({"shards": [{"name": "x"}]}, "`manifest.shards.0` lacks `num_documents`"),
        ({"vocabulary": {}}, "vocabulary"),
        ({"tokens_by_kind": [15]}, r"`manifest.tokens_by_kind` takes an object, got \[15\]"),
        ({"tokens_by_kind": {"text": 15}}, r"`tokens_by_kind`: expected \('text', 'special', .*got \['text'\]"),
        ({"codec": "mimi"}, "`manifest.codec` takes an object, got 'mimi'"),
        ({"tokens_per_record": "8192"}, "`manifest.tokens_per_record` takes a whole number, got '8192'"),
        ({"tokens_per_record": 0}, "`tokens_per_record`: expected at least 1, got 0"),
        ({"generation": -1}, "`generation`: expected at least 0, got -1"),
        ({"num_quarantined": -1}, "`num_quarantined`: expected at least 0, got -1"),
        ({"audio_seconds": -0.5}, "`audio_seconds`: expected at least 0, got -0.5"),
        ({"vocabulary_fingerprint": "0"}, "`vocabulary_fingerprint`: expected"),
        ({"corpus_name": "x"}, "`manifest` has no `corpus_name`; did you mean"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(tmp_path, manifest, change, message):
    (tmp_path / "manifest.json").write_text(json.dumps(manifest.to_json() | change))
    with pytest.raises(InputError, match=rf"manifest `.*manifest\.json`: .*{message}"):
        Manifest.read(tmp_path / "manifest.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_documents": -2}, "counts from 0"),
        ({"num_bytes": -1}, "counts from 0"),
        ({"name": "../shard-00000"}, "another name of each"),
        ({"name": ".shard-00000"}, "another name of each"),
        ({"name": "shard-00001"}, "another name of each"),
        ({"sha256": "a" * 63}, "64 hexadecimal digits"),
        ({"offsets_sha256": "A" * 64}, "64 hexadecimal digits"),
        ({"holdout_sha256": "no"}, "64 hexadecimal digits"),
    ],
)
def test_a_shard_that_cannot_be_is_refused(tmp_path, manifest, change, message):
    shard = dataclasses.replace(manifest.shards[0], **change)
    sums = {"num_documents": shard.num_documents + 1, "shards": (shard, manifest.shards[1])}
    (tmp_path / "manifest.json").write_text(json.dumps(dataclasses.replace(manifest, **sums).to_json()))
    with pytest.raises(
        InputError, match=rf"manifest `.*`: `shards`: expected .*{message}.* got ShardInfo.*; restore it or"
    ):
        Manifest.read(tmp_path / "manifest.json")


def test_a_manifest_of_an_older_version_opens(tmp_path, manifest):
    value = manifest.to_json()
    del value["num_quarantined"], value["quarantine_sha256"], value["generation"]
    for shard in value["shards"]:
        del shard["offsets_sha256"], shard["holdout_sha256"]
    (tmp_path / "manifest.json").write_text(json.dumps(value))
    found = Manifest.read(tmp_path / "manifest.json")
    assert found == manifest
    assert (found.generation, found.num_quarantined, found.quarantine_sha256) == (0, 0, "")


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00"])
def test_a_file_that_is_no_manifest_is_refused(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=r"`.*manifest\.json`: .*; restore it or rebuild the dataset"):
        Manifest.read(tmp_path / "manifest.json")


def test_a_missing_field_is_named(tmp_path, manifest):
    value = manifest.to_json()
    del value["corpus"]
    with pytest.raises(InputError, match="`manifest` lacks `corpus`"):
        Manifest.from_json(value)
