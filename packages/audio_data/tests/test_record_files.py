import hashlib

import pytest

from audio_data import InputError, RecordFile, RecordWriter, fetch, open_records, storage_path, write_records

RECORDS = [b"one", b"", b"three" * 1000]


@pytest.mark.parametrize("kind", ["local", "memory", "s3"])
def test_records_come_back_by_number(kind, tmp_path, monkeypatch, request):
    monkeypatch.setenv("AUDIO_DATA_CACHE", str(tmp_path / "cache"))
    urls = {"local": str(tmp_path), "memory": f"memory://records-{tmp_path.name}"}
    folder = storage_path(urls[kind] if kind in urls else request.getfixturevalue("s3_folder"))
    found = write_records(folder / "a.arrayrecord", RECORDS)
    content = (folder / "a.arrayrecord").read_bytes()
    assert found == RecordFile(len(RECORDS), len(content), hashlib.sha256(content).hexdigest())
    local = fetch(folder / "a.arrayrecord", sha256=found.sha256)
    reader = open_records(str(local), found.sha256, len(RECORDS))
    assert [reader.read([i])[0] for i in (2, 0, 1)] == [RECORDS[i] for i in (2, 0, 1)]


def test_nothing_appears_before_the_end(tmp_path):
    path = tmp_path / "a.arrayrecord"
    with RecordWriter(path) as writer:
        writer.write(b"x")
        assert not path.exists()
    assert path.exists()
    with pytest.raises(KeyError), RecordWriter(tmp_path / "b.arrayrecord") as writer:
        raise KeyError
    assert [file.name for file in tmp_path.iterdir()] == ["a.arrayrecord"]


def test_a_missing_folder_is_the_users_to_make(tmp_path):
    with pytest.raises(InputError, match="there is no such file or folder"):
        write_records(tmp_path / "nowhere" / "a.arrayrecord", RECORDS)


def test_another_number_of_records_is_refused(tmp_path):
    found = write_records(tmp_path / "a.arrayrecord", RECORDS)
    with pytest.raises(InputError, match="expected 4 records, got 3"):
        open_records(str(tmp_path / "a.arrayrecord"), found.sha256, 4)
    (tmp_path / "b").write_bytes(b"no records")
    with pytest.raises(InputError, match="expected 1 records, got 0"):
        open_records(str(tmp_path / "b"), "", 1)
