import datetime
import json
import os
import signal
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from audio_data import (
    Document,
    Holdout,
    InputError,
    Quarantine,
    TokenDataset,
    build_dataset,
    holdout,
    parquet_tables,
    sources,
)
from audio_data.arrays import encode_array
from audio_data.sources import codec_of, describe_input, read_documents


def test_lines_become_documents(tmp_path, vocabulary):
    file = tmp_path / "a.jsonl"
    lines = [{"ids": [1, 2, 3], "loss_mask": [False, True, True], "id": "x", "text": "é"}, {"ids": [5]}]
    file.write_text("\n\n".join(json.dumps(line) for line in lines) + "\n")
    first, second = read_documents(file, vocabulary)
    assert (first.ids.tolist(), first.loss_mask.tolist()) == ([1, 2, 3], [False, True, True])
    assert first.metadata == {"id": "x", "text": "é"}
    assert second.ids.tolist() == [5]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"line 2: expected an object with integer `ids`"),
        ('{"ids": []}', r"line 2: expected at least 1 token id, got none"),
        ('{"ids": [1], "id": "x"}\n{"ids": [2], "id": "x"}', r"line 3: expected an `id` of its own, got 'x'"),
        ('{"ids": [1], "id": 7}\n{"ids": [2], "id": "7"}', r"line 3: expected an `id` of its own, got '7'"),
        ('{"ids": [1], "gain": Infinity}', r"line 2: .*Infinity is no JSON number"),
        ('{"ids": [1], "gain": -1e999}', r"line 2: .*-1e999 is too large"),
        ('{"ids": [1], "seconds": 1' + "0" * 400 + "}", r"line 2: metadata `seconds`: expected a number 0\.\."),
        ('{"ids": [1], "x": ' + "[" * 64 + "]" * 64 + "}", r"line 2: .*at most 64 nested"),
        ('{"ids": [1], "text": "\\ud83d"}', r"line 2: .*UTF-8"),
        ("[1]", r"line 2: expected an object"),
        ('{"tokens": [1]}', r"line 2: expected an object with a key 'ids' of token ids, got none"),
        ('{"ids": [0.5]}', r"line 2: .*one row of integer ids"),
        ('{"ids": ["a"]}', r"line 2: .*one row of integer ids"),
        ('{"ids": [[1], [1, 2]]}', r"line 2: expected a list of integer ids"),
        ('{"ids": [1], "loss_mask": [1]}', r"line 2: .*boolean `loss_mask`"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, vocabulary, line, message):
    (tmp_path / "a.jsonl").write_text('{"ids": [1]}\n' + line)
    with pytest.raises(InputError, match=rf"a\.jsonl` {message}"):
        list(read_documents(tmp_path / "a.jsonl", vocabulary))


def test_text_that_is_not_utf8_is_named(tmp_path, vocabulary):
    (tmp_path / "a.jsonl").write_bytes(b'{"ids": [1], "text": "\xff"}')
    with pytest.raises(InputError, match=r"a\.jsonl` line 1: .*expected UTF-8 text"):
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
def test_nothing_to_read_is_named(tmp_path, vocabulary, name):
    (tmp_path / "notes.txt").write_text("no ids")
    with pytest.raises(InputError, match=r"expected a file or folder of \.parquet, \.jsonl, .*got none"):
        list(read_documents(tmp_path / name, vocabulary))


def test_a_dataset_is_read_again(tmp_path, study_vocabulary, vocabulary, make_documents, write_dataset):
    documents = make_documents([3, 1, 5], masked=False)
    dataset = write_dataset(tmp_path / "a", documents)
    assert list(read_documents(tmp_path / "a", vocabulary)) == documents
    assert describe_input(tmp_path / "a") == {"input": "a", "sha256": {"a": dataset.fingerprint}}
    assert list(read_documents(tmp_path, vocabulary)) == documents
    with pytest.raises(InputError, match="expected the vocabulary"):
        list(read_documents(tmp_path / "a", study_vocabulary))


def write_parquet(path, rows):
    parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)


def test_rows_of_parquet_become_documents(tmp_path, vocabulary):
    rows = [
        {"ids": [1, 2, 101], "loss_mask": [False, True, True], "id": "a", "seconds": 0.5},
        {"ids": [9], "loss_mask": None, "id": "b", "seconds": None},
        {"ids": [3], "loss_mask": None, "id": None, "seconds": 2.0},
    ]
    write_parquet(tmp_path / "a.parquet", rows)
    assert list(read_documents(tmp_path / "a.parquet", vocabulary)) == [
        Document(np.array([1, 2, 101]), np.array([False, True, True]), {"id": "a", "seconds": 0.5}),
        Document(np.array([9], np.int32), None, {"id": "b"}),
        Document(np.array([3]), None, {"seconds": 2.0}),
    ]


def test_the_column_of_ids_may_have_another_name(tmp_path, vocabulary):
    write_parquet(tmp_path / "a.parquet", [{"input_ids": [1], "text": "one"}])
    (tmp_path / "b.jsonl").write_text('{"input_ids": [2]}')
    np.savez(tmp_path / "c.npz", input_ids=np.array([3]), offsets=np.array([0, 1]))
    documents = list(read_documents(tmp_path, vocabulary, ids_column="input_ids"))
    assert [d.ids.tolist() for d in documents] == [[1], [2], [3]]
    assert documents[0].metadata == {"text": "one"}
    with pytest.raises(InputError, match=r"a\.parquet`: expected a column 'ids', got \['input_ids', 'text'\]"):
        list(read_documents(tmp_path / "a.parquet", vocabulary))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"ids": [1]}, {"ids": None}], "row 1: expected a list of ids in column `ids`, got None"),
        ([{"ids": [0.5]}], "row 0: .*one row of integer ids"),
        ([{"ids": 3}], "row 0: expected a list of ids in column `ids`, got 3"),
        ([{"ids": [1, 2], "loss_mask": [True]}], "row 0: .*boolean `loss_mask` of 2 tokens"),
        (None, "cannot be read .*expected a parquet file"),
    ],
)
def test_a_wrong_parquet_file_is_named(tmp_path, vocabulary, rows, message):
    file = tmp_path / "a.parquet"
    file.write_bytes(b"PAR?") if rows is None else write_parquet(file, rows)
    with pytest.raises(InputError, match=rf"a\.parquet` {message}"):
        list(read_documents(file, vocabulary))


def test_columns_of_numpy_become_documents(tmp_path, vocabulary):
    columns = {"ids": np.array([1, 2, 3], np.uint16), "offsets": np.array([0, 2, 3])}
    np.savez(tmp_path / "a.npz", **columns, loss_mask=np.array([True, False, True]), id=np.array(["x", "z"]))
    documents = list(read_documents(tmp_path / "a.npz", vocabulary))
    assert [d.ids.tolist() for d in documents] == [[1, 2], [3]]
    assert [d.loss_mask.tolist() for d in documents] == [[True, False], [True]]
    assert [d.metadata for d in documents] == [{"id": "x"}, {"id": "z"}]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"ids": [1]}, "cannot be read .*expected arrays `ids` and `offsets`"),
        ({"ids": [1], "offsets": [0, 2]}, "expected `offsets` that grow from 0 to 1"),
        ({"ids": [1, 2], "offsets": [0, 2, 1, 2]}, "expected `offsets` that grow"),
        ({"ids": [1], "offsets": [0.0, 1.0]}, "expected `offsets` that grow"),
        ({"ids": [1], "offsets": [0, 1], "id": ["x", "y"]}, "expected one value for each of 1 documents"),
    ],
)
def test_wrong_columns_are_named(tmp_path, vocabulary, columns, message):
    arrays: dict[str, Any] = {name: np.array(values) for name, values in columns.items()}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=rf"a\.npz`.*{message}"):
        list(read_documents(tmp_path / "a.npz", vocabulary))


def test_a_quarantine_takes_what_cannot_be_used_and_nothing_else(tmp_path, vocabulary):
    lines = ['{"ids": [1]}', "{", '{"ids": [170]}', '{"ids": [2], "seconds": -1}', '{"ids": [3]}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    quarantine = Quarantine(3)
    documents = list(read_documents(tmp_path, vocabulary, quarantine=quarantine))
    assert [d.ids.tolist() for d in documents] == [[1], [3]]
    assert list(quarantine.reasons) == [f"`{tmp_path / 'a.jsonl'}` line {n}" for n in (2, 3, 4)]
    assert all(reason.startswith(name) for name, reason in quarantine.reasons.items())
    with pytest.raises(InputError, match=r"at most 2 unusable documents, got 3, first `.*line 2.*line 3.*line 4"):
        list(read_documents(tmp_path, vocabulary, quarantine=Quarantine(2)))


def test_what_no_record_can_hold_is_named_and_quarantined(tmp_path, vocabulary):
    """Metadata that is not JSON, from each kind of file that can state some."""
    when = datetime.datetime(2026, 1, 1)
    write_parquet(tmp_path / "a.parquet", [{"ids": [1], "when": None}, {"ids": [2], "when": when}])
    lines = [
        '{"ids": [3], "score": NaN}',
        '{"ids": [4], "text": "\\ud800"}',
        '{"ids": [5]}',
        '{"ids": [6], "seconds": NaN}',
    ]
    (tmp_path / "b.jsonl").write_text("\n".join(lines))
    days = np.array(["2026-01-01", "2026-01-02"], "datetime64[D]")
    np.savez(tmp_path / "c.npz", ids=np.array([7, 8]), offsets=np.array([0, 1, 2]), day=days)
    quarantine = Quarantine(6)
    documents = list(read_documents(tmp_path, vocabulary, quarantine=quarantine))
    assert [d.ids.tolist() for d in documents] == [[1], [5]]
    places = ["a.parquet` row 1", *(f"b.jsonl` line {n}" for n in (1, 2, 4)), *(f"c.npz` document {n}" for n in (0, 1))]
    assert list(quarantine.reasons) == [f"`{tmp_path}/{place}" for place in places]
    said = ("`metadata` cannot be written as JSON", "NaN is no JSON number", "expected UTF-8 text")
    assert all(any(words in reason for words in said) for reason in quarantine.reasons.values())
    with pytest.raises(InputError, match=r"a\.parquet` row 1: document .* `metadata` cannot be written as JSON"):
        list(read_documents(tmp_path, vocabulary))


def test_an_id_outside_the_vocabulary_names_file_and_row(tmp_path, vocabulary, make_documents, write_dataset):
    write_parquet(tmp_path / "a.parquet", [{"ids": [1]}, {"ids": [1, 170]}])
    (tmp_path / "b.jsonl").write_text('{"ids": [1]}\n{"ids": [-1]}\n')
    np.savez(tmp_path / "c.npz", ids=np.array([1, 999]), offsets=np.array([0, 1, 2]))
    np.save(tmp_path / "d.npy", np.array([1, 101, 200]))
    for name, place, position, got in (
        ("a.parquet", "row 1", 1, 170),
        ("c.npz", "document 1", 0, 999),
        ("d.npy", "document 1", 0, 200),
    ):
        with pytest.raises(InputError, match=rf"{name}` {place}: position `{position}` of .*, got {got}; use the voc"):
            list(read_documents(tmp_path / name, vocabulary))
    with pytest.raises(InputError, match=r"b\.jsonl` line 2: .*expected ids 0\.\.16777215, got -1"):
        list(read_documents(tmp_path / "b.jsonl", vocabulary))


@pytest.mark.parametrize("part", ["cut short", "flipped"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_archive_is_named(tmp_path, vocabulary, part, save):
    file = tmp_path / "a.npz"
    save(file, ids=np.arange(100), offsets=np.array([0, 100]))
    content = bytearray(file.read_bytes())
    content[150] ^= 255
    file.write_bytes(bytes(content) if part == "flipped" else bytes(content[:-30]))
    with pytest.raises(InputError, match=r"a\.npz` cannot be read"):
        list(read_documents(file, vocabulary))


def test_a_build_takes_one_side_of_the_holdout(tmp_path, vocabulary):
    lines = [{"ids": [i], "base_id": f"u{i // 2}", "id": f"d{i}"} for i in range(80)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = []
    for heldout in (False, True):
        out = tmp_path / str(heldout)
        manifest = build_dataset([tmp_path / "a.jsonl"], vocabulary, out, holdout=Holdout(0.25, heldout))
        assert manifest.provenance["holdout"] == {"fraction": 0.25, "heldout": heldout}
        found.append([document.metadata["id"] for document in TokenDataset.open(out)])
    heldout = [f"d{i}" for i in range(80) if holdout(f"u{i // 2}", 0.25)]
    assert found == [[f"d{i}" for i in range(80) if f"d{i}" not in heldout], heldout]
    with pytest.raises(InputError, match="`holdout` 1e-09 sets none apart of the documents"):
        build_dataset([tmp_path / "a.jsonl"], vocabulary, tmp_path / "none", holdout=Holdout(1e-9, heldout=True))
    assert not (tmp_path / "none").exists()


def test_a_build_of_one_side_leaves_out_what_has_no_name(tmp_path, vocabulary):
    (tmp_path / "a.jsonl").write_text('{"ids": [1], "id": "x"}\n{"ids": [2]}\n')
    with pytest.raises(InputError, match=r"a\.jsonl` line 2: expected metadata `base_id` or `id`"):
        build_dataset([tmp_path / "a.jsonl"], vocabulary, tmp_path / "a", holdout=Holdout(1e-9))
    manifest = build_dataset(
        [tmp_path / "a.jsonl"], vocabulary, tmp_path / "b", holdout=Holdout(1e-9), max_quarantined=1
    )
    assert (manifest.num_documents, manifest.num_quarantined) == (1, 1)


def test_a_build_of_nothing_leaves_nothing(tmp_path, vocabulary):
    (tmp_path / "a.jsonl").write_text("{\n")
    with pytest.raises(InputError, match="expected at least 1 document that can be used, got none and 1 left out"):
        build_dataset([tmp_path / "a.jsonl"], vocabulary, tmp_path / "a", max_quarantined=5)
    assert not (tmp_path / "a").exists()


def test_datasets_keep_their_codec_and_are_not_joined_over_two(tmp_path, make_documents, write_dataset):
    codec = {"id": "test-codec", "frame_rate_hz": 12.5, "attention_window_frames": 125}
    for name in "ab":
        write_dataset(tmp_path / "same" / name, make_documents([3]), codec=codec)
    assert codec_of([tmp_path / "same"]) == codec
    write_dataset(tmp_path / "c", make_documents([3]), codec={**codec, "attention_window_frames": None})
    with pytest.raises(InputError, match=r"`.*/c`: expected the codec of `.*/same/a`.*'attention_window_frames'"):
        codec_of([tmp_path / "same", tmp_path / "c"])
    (tmp_path / "x.jsonl").write_text('{"ids": [1]}')
    assert codec_of([tmp_path / "x.jsonl"]) is None


def test_datasets_of_one_name_in_two_folders_are_both_described(tmp_path, make_documents, write_dataset):
    for folder, length in (("p", 10), ("q", 11)):
        write_dataset(tmp_path / folder / "en", make_documents([length]))
    described = describe_input(tmp_path)["sha256"]
    assert sorted(described) == ["p/en", "q/en"]
    assert len(set(described.values())) == 2


BOUNDED = """
import resource, sys
from pathlib import Path
import pyarrow
from audio_data import InputError, Quarantine, Vocabulary, read_documents
folder = Path(sys.argv[1])
vocabulary = Vocabulary.read(folder / "vocabulary.json")
virtual = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (virtual + 2**28, virtual + 2**28))
for name in sorted(file.name for file in folder.glob("bomb.*")):
    quarantine = Quarantine(1)
    try:
        found = [document.ids.tolist() for document in read_documents(folder / name, vocabulary, quarantine=quarantine)]
        print(name, found, *quarantine.reasons.values())
    except InputError as error:
        print(name, error.message)
"""


def test_what_one_record_unpacks_to_is_bounded(tmp_path, vocabulary):
    """In a process that may take 256 MiB more than the libraries themselves."""
    vocabulary.write(tmp_path / "vocabulary.json")
    with (tmp_path / "bomb.jsonl").open("wb") as file:
        file.truncate(2**29)
        file.seek(0, 2)
        file.write(b'\n{"ids": [7]}\n')
    content = encode_array(np.arange(3))
    header = content[10:128].strip().replace(b"(3,)", b"(3000000000000,)").ljust(117) + b"\n"
    (tmp_path / "bomb.npy").write_bytes(content[:10] + header + content[128:])
    np.savez_compressed(tmp_path / "bomb.npz", ids=np.zeros(10**6, np.int64), offsets=np.array([0, 10**6]))
    archive = (tmp_path / "bomb.npz").read_bytes()
    size = 8 * 10**6 + 128
    assert archive.count(size.to_bytes(4, "little")) == 2
    claims = archive.replace(size.to_bytes(4, "little"), (2**31).to_bytes(4, "little"))
    (tmp_path / "bomb.npz").write_bytes(claims)
    command = [sys.executable, "-c", BOUNDED, str(tmp_path)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["bomb.jsonl", "bomb.npy", "bomb.npz"]
    assert f"[[7]] `{tmp_path / 'bomb.jsonl'}` line 1: expected a line of fewer than 67,108,864 bytes" in lines[0]
    assert "bomb.npy` cannot be read" in lines[1]
    assert "expected arrays of at most 2,147,483,648 bytes in all, got 2,147,4" in lines[2]


def test_a_row_group_that_unpacks_to_too_much_is_refused(tmp_path, vocabulary, monkeypatch):
    write_parquet(tmp_path / "a.parquet", [{"ids": [1] * 10**6}])
    assert len(list(read_documents(tmp_path / "a.parquet", vocabulary))) == 1
    monkeypatch.setattr(parquet_tables, "MAX_ROWS_BYTES", 2**22)
    with pytest.raises(
        InputError, match=r"unpack to at most 4,194,304 bytes a column, got 8,000,000 in `ids.*smaller row"
    ):
        list(read_documents(tmp_path / "a.parquet", vocabulary))


def test_a_long_line_is_left_out_and_the_next_ones_are_read(tmp_path, vocabulary, monkeypatch):
    monkeypatch.setattr(sources, "MAX_LINE_BYTES", 30)
    (tmp_path / "a.jsonl").write_text('{"ids": [1]}\n{"ids": [2], "text": "' + "x" * 100 + '"}\n{"ids": [3]}')
    quarantine = Quarantine(1)
    documents = list(read_documents(tmp_path / "a.jsonl", vocabulary, quarantine=quarantine))
    assert [d.ids.tolist() for d in documents] == [[1], [3]]
    assert [name.rpartition("` ")[2] for name in quarantine.reasons] == ["line 2"]
    (tmp_path / "a.jsonl").write_text('{"ids": [1], "text": "' + "x" * 5 + '"}\n{"ids": [3]}')
    assert len(list(read_documents(tmp_path / "a.jsonl", vocabulary))) == 2


def test_ids_are_told_apart_over_all_inputs_of_a_build(tmp_path, vocabulary):
    for name, number in (("a", 1), ("b", 2)):
        lines = [{"ids": [number], "id": "x"}, {"ids": [number], "id": name}, {"ids": [number]}]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    inputs = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    with pytest.raises(
        InputError, match=r"b\.jsonl` line 1: expected an `id` of its own, got 'x', which a document before"
    ):
        build_dataset(inputs, vocabulary, tmp_path / "out")
    manifest = build_dataset(inputs, vocabulary, tmp_path / "new", max_quarantined=1)
    assert (manifest.num_documents, manifest.num_quarantined) == (5, 1)


def killed_at(moment, build):
    """Runs a build in a process that is killed before its n-th rename or removal; whether it got that far."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] != 0
    count = 0

    def stop(event, _):
        nonlocal count
        if event in ("os.rename", "os.remove"):
            count += 1
            if count == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(stop)
    build()
    os._exit(0)


# What other tests have imported, such as JAX, has threads; the child uses none of it.
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_build_killed_anywhere_ends_in_the_same_bytes(tmp_path, vocabulary, overwrite):
    """Before each rename and removal: nothing else changes what a folder holds."""
    lines = [{"ids": [i], "id": f"d{i}"} for i in range(5)] + [{"ids": [999]}]
    (tmp_path / "old.jsonl").write_text(json.dumps({"ids": [9]}))
    (tmp_path / "new.jsonl").write_text("\n".join(map(json.dumps, lines)))

    def begin(name):
        if overwrite:
            build_dataset([tmp_path / "old.jsonl"], vocabulary, tmp_path / name / "out")

    def build(name):
        inputs, out = [tmp_path / "new.jsonl"], tmp_path / name / "out"
        return build_dataset(inputs, vocabulary, out, overwrite=overwrite, max_quarantined=1)

    def contents(name):
        return {file.name: file.read_bytes() for file in (tmp_path / name / "out").iterdir()}

    begin("whole")
    build("whole")
    expected = contents("whole")
    moment = 0
    while True:
        moment += 1
        name = f"killed-{moment}"
        begin(name)
        if not killed_at(moment, lambda name=name: build(name)):
            break
        build(name)
        assert contents(name) == expected, moment
    assert moment > 6
