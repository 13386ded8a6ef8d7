import errno
import os
import re
import signal
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from audio_data import DatasetWriter, Document, InputError, TokenDataset

LENGTHS = [5, 0, 30, 1, 17, 9, 12, 3, 40, 2]


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_what_is_written_is_what_is_read(tmp_path, make_documents, write_dataset):
    documents = make_documents(LENGTHS, masked=True)
    dataset = write_dataset(tmp_path / "a", documents, documents_per_shard=3, tokens_per_record=8)
    assert [d.ids.tolist() for d in dataset] == [d.ids.tolist() for d in documents]
    assert [d.metadata for d in dataset] == [d.metadata for d in documents]
    assert [shard.num_documents for shard in dataset.manifest.shards] == [3, 3, 3, 1]
    assert dataset.manifest.audio_seconds == pytest.approx(0.5 * len(LENGTHS))
    counts = np.bincount(dataset.vocabulary.kind_of(np.concatenate([d.ids for d in documents])), minlength=6)
    assert list(dataset.manifest.tokens_by_kind.values()) == counts.tolist()
    assert sorted(contents(tmp_path / "a")) == [
        "manifest.json",
        *(f"shard-{i:05d}{suffix}" for i in range(4) for suffix in (".arrayrecord", ".holdout.npy", ".offsets.npy")),
    ]


def test_a_shard_also_ends_by_tokens(tmp_path, make_documents, write_dataset):
    dataset = write_dataset(tmp_path / "a", make_documents([10] * 6), tokens_per_shard=20)
    assert [shard.num_documents for shard in dataset.manifest.shards] == [2, 2, 2]


def test_the_same_documents_give_the_same_bytes(tmp_path, make_documents, write_dataset):
    for name in "ab":
        write_dataset(tmp_path / name, make_documents(LENGTHS), corpus="x", documents_per_shard=4)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


class CrashError(Exception):
    """Stands for a crash in the middle of writing."""


def write_until(writer, documents, stop):
    with writer:
        for position, document in enumerate(documents):
            if position == stop:
                raise CrashError
            writer.write(document)


@pytest.mark.parametrize("stop", range(len(LENGTHS) + 1))
@pytest.mark.parametrize("skip", [False, True])
def test_an_interrupted_writer_goes_on_to_the_same_bytes(tmp_path, vocabulary, make_documents, stop, skip):
    documents = make_documents(LENGTHS)
    settings = {"corpus": "x", "vocabulary": vocabulary, "provenance": {}, "documents_per_shard": 3}
    write_until(DatasetWriter(tmp_path / "whole", **settings), documents, None)
    if stop < len(LENGTHS):
        with pytest.raises(CrashError):
            write_until(DatasetWriter(tmp_path / "resumed", **settings), documents, stop)
        with pytest.raises(InputError, match=r"unfinished: it has shards but no manifest\.json"):
            TokenDataset.open(tmp_path / "resumed")
    with DatasetWriter(tmp_path / "resumed", **settings) as writer:
        assert writer.num_resumed == (stop // 3 * 3 if stop < len(LENGTHS) else 0)
        for document in documents[writer.skip_resumed() if skip else 0 :]:
            writer.write(document)
    assert contents(tmp_path / "resumed") == contents(tmp_path / "whole")


def test_a_killed_process_leaves_no_dataset_and_can_go_on(tmp_path, vocabulary):
    program = f"""
import os, signal
import numpy as np
from audio_data import DatasetWriter, Document, Vocabulary
vocabulary = Vocabulary.from_json({vocabulary.to_json()!r})
with DatasetWriter({str(tmp_path / "a")!r}, corpus="a", vocabulary=vocabulary, provenance={{}},
                   documents_per_shard=2) as writer:
    for i in range(6):
        if i == 5 and not writer.num_resumed:
            os.kill(os.getpid(), signal.SIGKILL)
        writer.write(Document(np.arange(i)))
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    with pytest.raises(InputError, match="unfinished"):
        TokenDataset.open(tmp_path / "a")
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    assert [len(document) for document in TokenDataset.open(tmp_path / "a")] == [0, 1, 2, 3, 4, 5]


def interrupted(path, vocabulary, documents, **settings):
    writer = DatasetWriter(path, corpus="x", vocabulary=vocabulary, provenance={"v": 1}, documents_per_shard=2)
    with pytest.raises(CrashError):
        write_until(writer, documents, len(documents) - 1)


def test_going_on_with_other_settings_is_refused(tmp_path, vocabulary, make_documents):
    interrupted(tmp_path, vocabulary, make_documents(LENGTHS))
    other = DatasetWriter(tmp_path, corpus="x", vocabulary=vocabulary, provenance={"v": 2}, documents_per_shard=2)
    with pytest.raises(InputError, match=r"another `provenance`: expected \{'v': 2\}, got \{'v': 1\}"):
        other.__enter__()


def test_going_on_with_other_documents_is_refused(tmp_path, vocabulary, make_documents):
    interrupted(tmp_path, vocabulary, make_documents(LENGTHS))
    writer = DatasetWriter(tmp_path, corpus="x", vocabulary=vocabulary, provenance={"v": 1}, documents_per_shard=2)
    with pytest.raises(InputError, match="document 0 was written with 5 tokens, got 6"):
        write_until(writer, [Document(np.arange(6))], None)


def test_going_on_with_fewer_documents_is_refused(tmp_path, vocabulary, make_documents):
    documents = make_documents(LENGTHS)
    interrupted(tmp_path, vocabulary, documents)
    writer = DatasetWriter(tmp_path, corpus="x", vocabulary=vocabulary, provenance={"v": 1}, documents_per_shard=2)
    with pytest.raises(InputError, match="holds 8 documents, got 3"):
        write_until(writer, documents[:3], None)


def test_an_existing_dataset_is_kept_unless_told_otherwise(tmp_path, make_documents, write_dataset):
    write_dataset(tmp_path / "a", make_documents([3, 4]))
    before = contents(tmp_path / "a")
    with pytest.raises(InputError, match="exists; choose another folder, or overwrite it"):
        write_dataset(tmp_path / "a", make_documents([5]))
    assert contents(tmp_path / "a") == before


def test_the_old_dataset_stays_until_the_new_one_is_complete(tmp_path, vocabulary, make_documents, write_dataset):
    old = make_documents([3, 4], seed=1)
    new = make_documents([9, 8, 7], seed=2)
    write_dataset(tmp_path, old, corpus="x")
    settings = {"corpus": "x", "vocabulary": vocabulary, "provenance": {}, "documents_per_shard": 1, "overwrite": True}
    with pytest.raises(CrashError):
        write_until(DatasetWriter(tmp_path, **settings), new, 2)
    assert list(TokenDataset.open(tmp_path)) == old
    write_until(DatasetWriter(tmp_path, **settings), new, None)
    assert list(TokenDataset.open(tmp_path)) == new
    assert len(contents(tmp_path)) == 1 + 3 * len(new)
    write_until(DatasetWriter(tmp_path, **settings), old, None)
    assert list(TokenDataset.open(tmp_path)) == old


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "manifest.json",
        "unfinished.json",
        "quarantine.jsonl",
        "damaged.json",
        "shard-00000.arrayrecord",
        "shard-1-00000.offsets.npy",
    ],
)
def test_a_user_s_files_are_not_replaced(tmp_path, make_documents, write_dataset, name, overwrite):
    (tmp_path / name).write_text('{"mine": 1}')
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(
        InputError, match=rf"holds `{re.escape(name)}` but no manifest of a dataset, .*: move that file"
    ):
        write_dataset(tmp_path, make_documents([5]), overwrite=overwrite)
    assert contents(tmp_path) == {name: b'{"mine": 1}', "notes.txt": b"mine"}


def test_overwriting_again_ends_in_the_same_files(tmp_path, make_documents, write_dataset):
    write_dataset(tmp_path, make_documents([3, 4]))
    write_dataset(tmp_path, make_documents([5, 6, 7]), documents_per_shard=2, overwrite=True)
    once = contents(tmp_path)
    write_dataset(tmp_path, make_documents([5, 6, 7]), documents_per_shard=2, overwrite=True)
    assert contents(tmp_path) == once
    write_dataset(tmp_path, make_documents([5, 6, 7], seed=1), documents_per_shard=2, overwrite=True)
    assert contents(tmp_path).keys() & once.keys() == {"manifest.json"}
    assert [document.ids.tolist() for document in TokenDataset.open(tmp_path)] == [
        document.ids.tolist() for document in make_documents([5, 6, 7], seed=1)
    ]


def test_records_of_another_program_in_a_dataset_s_folder_stay(tmp_path, make_documents, write_dataset):
    write_dataset(tmp_path, make_documents([3, 4]))
    kept = ("shard-00007.arrayrecord", "shard-00000.part-00000.arrayrecord", "shard-x.offsets.npy")
    for name in kept:
        (tmp_path / name).write_text("codes")
    write_dataset(tmp_path, make_documents([5]), overwrite=True)
    assert {(tmp_path / name).read_text() for name in kept} == {"codes"}
    assert not (tmp_path / "shard-00000.arrayrecord").exists()


def test_a_dataset_with_a_broken_manifest_can_be_overwritten(tmp_path, make_documents, write_dataset):
    write_dataset(tmp_path, make_documents([3, 4]))
    (tmp_path / "manifest.json").write_text("{")
    documents = make_documents([5])
    assert list(write_dataset(tmp_path, documents, overwrite=True)) == documents
    assert len(contents(tmp_path)) == 4


def test_overwriting_starts_an_unfinished_dataset_afresh(tmp_path, vocabulary, make_documents):
    documents = make_documents(LENGTHS)
    interrupted(tmp_path, vocabulary, documents)
    settings = {"corpus": "x", "vocabulary": vocabulary, "provenance": {"v": 2}, "overwrite": True}
    write_until(DatasetWriter(tmp_path, **settings), documents[:2], None)
    assert list(TokenDataset.open(tmp_path)) == documents[:2]
    assert len(contents(tmp_path)) == 4


def write_rest(writer, documents, skip):
    with writer:
        for document in documents[writer.skip_resumed() if skip else 0 :]:
            writer.write(document)


@pytest.mark.parametrize("skip", [False, True])
def test_an_id_belongs_to_one_document_whatever_was_interrupted(tmp_path, vocabulary, make_documents, skip):
    documents = [*make_documents([3, 4, 5]), Document(np.array([7]), metadata={"id": "doc-0"})]
    settings = {"corpus": "x", "vocabulary": vocabulary, "provenance": {}, "documents_per_shard": 1}
    for _ in range(2):
        writer = DatasetWriter(tmp_path, **settings)
        with pytest.raises(InputError, match="document 3: expected an `id` of its own, got 'doc-0', which a document"):
            write_rest(writer, documents, skip)
    assert writer.num_resumed == 3
    assert not (tmp_path / "manifest.json").exists()


def test_a_folder_whose_name_is_not_utf8_is_refused_in_words(tmp_path, make_documents, write_dataset):
    latin1 = tmp_path / os.fsdecode(b"caf\xe9")
    with pytest.raises(InputError, match="must be a path in UTF-8: rename the folder"):
        write_dataset(latin1, make_documents([3]))
    assert not latin1.exists()
    write_dataset(tmp_path / "a", make_documents([3])).path.rename(latin1)
    with pytest.raises(InputError, match="must be a path in UTF-8: rename the folder"):
        list(TokenDataset.open(latin1))


def test_an_id_outside_the_vocabulary_names_the_document(tmp_path, vocabulary, write_dataset):
    documents = [Document(np.arange(3)), Document(np.array([1, vocabulary.size]), metadata={"id": "bad"})]
    with pytest.raises(InputError, match=r"document 1 \(id 'bad'\): position `1` of 2: .*got 170"):
        write_dataset(tmp_path, documents)


@pytest.mark.parametrize("seconds", [-1.0, "3", None])
def test_seconds_must_be_a_duration(tmp_path, write_dataset, seconds):
    with pytest.raises(InputError, match="metadata `seconds`"):
        write_dataset(tmp_path, [Document(np.arange(3), metadata={"seconds": seconds})])


def test_no_documents_are_no_dataset(tmp_path, write_dataset):
    with pytest.raises(InputError, match="no document was written"):
        write_dataset(tmp_path, [])


def test_a_folder_that_cannot_be_written_is_named(tmp_path, make_documents, write_dataset):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write `.*file/a` .*choose another folder"):
        write_dataset(tmp_path / "file" / "a", make_documents([3]))


@pytest.mark.parametrize(
    ("number", "advice"), [(errno.ENOSPC, "free some space"), (errno.EIO, "disk"), (errno.EDQUOT, "free some space")]
)
def test_what_a_disk_refuses_is_named(tmp_path, make_documents, write_dataset, monkeypatch, number, advice):
    reason = os.strerror(number)

    class BadDisk:
        def write(self, record):
            raise RuntimeError(f"write() failed: {reason}")

        def ok(self):
            return True

        def close(self):
            raise RuntimeError(f"write() failed: {reason}")

    monkeypatch.setattr("audio_data.record_files.ArrayRecordWriter", lambda *_: BadDisk())
    with pytest.raises(InputError, match=rf"cannot write `.*shard-00000.* \({reason}.*{advice}"):
        write_dataset(tmp_path, make_documents([3]))


@pytest.mark.parametrize("name", ["documents_per_shard", "tokens_per_shard", "tokens_per_record"])
def test_limits_must_be_positive(tmp_path, vocabulary, name):
    limits: dict[str, Any] = {name: 0}
    with pytest.raises(InputError, match=f"`{name}`: expected at least 1, got 0"):
        DatasetWriter(tmp_path, corpus="x", vocabulary=vocabulary, provenance={}, **limits)


def test_provenance_must_be_json(tmp_path, vocabulary):
    with pytest.raises(InputError, match="`provenance`: expected JSON values"):
        DatasetWriter(tmp_path, corpus="x", vocabulary=vocabulary, provenance={"path": os})


def test_one_process_writes_at_a_time(tmp_path, make_documents, vocabulary):
    options = {"corpus": "a", "vocabulary": vocabulary, "provenance": {}}
    with DatasetWriter(tmp_path / "a", **options) as first:
        first.write(make_documents([10])[0])
        with pytest.raises(InputError, match="another process is writing in"), DatasetWriter(tmp_path / "a", **options):
            pass
        first.write(make_documents([11], name="other")[0])
    assert len(TokenDataset.open(tmp_path / "a")) == 2
