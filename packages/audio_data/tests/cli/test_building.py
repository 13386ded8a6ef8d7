import functools
import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from audio_data import DatasetWriter, TokenDataset, holdout


def test_build_keeps_what_is_there(built, run):
    folder, arguments = built
    before = {file.name: file.read_bytes() for file in (folder / "a").iterdir()}
    assert run(*arguments).stdout == f"dataset {folder / 'a'}: 2 documents, 6 tokens\n"
    assert {file.name: file.read_bytes() for file in (folder / "a").iterdir()} == before
    with arguments[1].open("a") as file:
        file.write('\n{"ids": [4]}')
    assert "exists; choose another folder, or overwrite it" in run(*arguments, status=2).stderr
    run(*arguments, "--overwrite")


def test_build_reads_parquet_and_leaves_out_what_it_may(tmp_path, vocabulary, run):
    vocabulary.write(tmp_path / "vocabulary.json")
    rows = [{"tokens": [100, 1, 101]}, {"tokens": [1, 999]}, {"tokens": [2, 101]}]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    options = ("--vocabulary", tmp_path / "vocabulary.json", "--out", tmp_path / "a", "--ids-column", "tokens")
    message = run("build", tmp_path / "a.parquet", *options, status=2).stderr
    assert f"`{tmp_path / 'a.parquet'}` row 1: position `1` of 2" in message
    message = run("build", tmp_path / "a.parquet", *options, "--max-quarantined", "10%", status=2).stderr
    assert f"at most 0 unusable documents, got 1, first `{tmp_path / 'a.parquet'}` row 1" in message
    text = run("build", tmp_path / "a.parquet", *options, "--max-quarantined", 1).stdout
    assert text == f"dataset {tmp_path / 'a'}: 2 documents, 5 tokens, 1 left out\n"
    assert "row 1" in (tmp_path / "a" / "quarantine.jsonl").read_text()
    assert "1 documents left out" in run("stats", tmp_path / "a").stdout
    assert "got 'all'" in run("build", tmp_path, *options, "--max-quarantined", "all", status=2).stderr


def test_the_codec_of_a_dataset_is_stated_or_handed_on(tmp_path, vocabulary, run):
    vocabulary.write(tmp_path / "vocabulary.json")
    ids = [104, *vocabulary.audio_ids(np.zeros((25, 4), np.int32)).tolist(), 105]
    (tmp_path / "ids.jsonl").write_text(json.dumps({"ids": ids}))
    (tmp_path / "codec.json").write_text('{"id": "test-codec", "frame_rate_hz": 12.5}')
    options = ("--vocabulary", tmp_path / "vocabulary.json", "--out")
    run("build", tmp_path / "ids.jsonl", *options, tmp_path / "a", "--codec", tmp_path / "codec.json")
    run("build", tmp_path / "a", *options, tmp_path / "b")
    for name in "ab":
        assert "<audio 2.0 s, 4 codebooks>" in run("inspect", tmp_path / name).stdout
    (tmp_path / "codec.json").write_text("12.5")
    message = run(
        "build", tmp_path / "a", *options, tmp_path / "c", "--codec", tmp_path / "codec.json", status=2
    ).stderr
    assert "expected a JSON object, got 12.5" in message


def test_build_sets_utterances_apart(tmp_path, vocabulary, run):
    vocabulary.write(tmp_path / "vocabulary.json")
    lines = [{"ids": [i], "id": f"{i}", "base_id": f"u{i % 20}"} for i in range(40)]
    (tmp_path / "ids.jsonl").write_text("\n".join(map(json.dumps, lines)))
    options = ("build", tmp_path / "ids.jsonl", "--vocabulary", tmp_path / "vocabulary.json", "--out")
    run(*options, tmp_path / "train/a", "--holdout", 0.3)
    run(*options, tmp_path / "heldout/a", "--holdout", 0.3, "--heldout")
    names = {
        side: {d.metadata["id"] for d in TokenDataset.open(tmp_path / side / "a")} for side in ("train", "heldout")
    }
    assert names["heldout"] == {str(i) for i in range(40) if holdout(f"u{i % 20}", 0.3)}
    assert names["train"] == {str(i) for i in range(40)} - names["heldout"]
    message = run(*options, tmp_path / "b", "--heldout", status=2).stderr
    assert "give `--holdout` a share" in message
    message = run(*options, tmp_path / "b", "--holdout", 1, status=2).stderr
    assert "above 0 and below 1, such as 0.002, got 1.0" in message


def test_the_codec_may_be_that_of_another_dataset(tmp_path, vocabulary, run, write_dataset, make_documents):
    vocabulary.write(tmp_path / "vocabulary.json")
    codec = {"id": "test-codec", "frame_rate_hz": 12.5}
    write_dataset(tmp_path / "a", make_documents([3]), codec=codec)
    (tmp_path / "ids.jsonl").write_text('{"ids": [1]}')
    options = ("--vocabulary", tmp_path / "vocabulary.json", "--out", tmp_path / "b")
    run("build", tmp_path / "ids.jsonl", *options, "--codec", tmp_path / "a/manifest.json")
    assert TokenDataset.open(tmp_path / "b").manifest.codec == codec


AGAIN = "the same command goes on from the last complete shard"
STILL_OLD = "is still the old one; the same command begins the new one again"
WITHOUT = "without --overwrite the command goes on from the last complete shard, with it it begins again"


@pytest.mark.parametrize(
    ("was_there", "overwrite", "said"), [(False, False, AGAIN), (False, True, WITHOUT), (True, True, STILL_OLD)]
)
def test_what_a_stopped_build_says_is_what_happens(
    tmp_path, vocabulary, run, make_documents, write_dataset, monkeypatch, was_there, overwrite, said
):
    """Ctrl-C comes after five documents, in the middle of the third shard."""
    vocabulary.write(tmp_path / "vocabulary.json")
    (tmp_path / "ids.jsonl").write_text("\n".join(json.dumps({"ids": [i] * 5}) for i in range(9)))
    old = write_dataset(tmp_path / "a", make_documents([3])) if was_there else None
    arguments = ("build", tmp_path / "ids.jsonl", "--vocabulary", tmp_path / "vocabulary.json", "--out", tmp_path / "a")
    small = functools.partial(DatasetWriter, documents_per_shard=2)
    monkeypatch.setattr("audio_data.sources.DatasetWriter", small)
    resumed, write = [], DatasetWriter.write

    def stop(self, document):
        resumed.append(self.num_resumed)
        if len(resumed) == 6:
            raise KeyboardInterrupt
        write(self, document)

    monkeypatch.setattr(DatasetWriter, "write", stop)
    assert said in run(*arguments, *["--overwrite"] * overwrite, status=130).stderr
    if old is not None:
        assert list(TokenDataset.open(tmp_path / "a")) == list(old)
    if was_there or not overwrite:
        run(*arguments, *["--overwrite"] * overwrite)
    else:
        run(*arguments)
    assert resumed[-1] == (0 if was_there else 4)
    assert [len(document) for document in TokenDataset.open(tmp_path / "a")] == [5] * 9
