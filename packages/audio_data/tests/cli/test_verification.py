import json

import pytest


def test_verify_tells_sound_from_damaged(built, run):
    data, _ = built
    assert json.loads(run("verify", data, "--json").stdout) == {"sound": True, "problems": {str(data / "a"): []}}
    (data / "a" / "shard-00000.arrayrecord").write_bytes(b"")
    assert "1 problems" in run("verify", data, status=1).stdout
    report = json.loads(run("verify", data, "--json", status=1).stdout)
    assert "got 0" in report["problems"][str(data / "a")][0]


def test_verify_lists_what_readers_may_leave_out(built, run):
    data, _ = built
    file = data / "a" / "shard-00000.arrayrecord"
    content = bytearray(file.read_bytes())
    content[content.index(b"ATOK") + 17] ^= 1
    file.write_bytes(bytes(content))
    assert "at most 0 unusable documents, got 1" in run("verify", data, "--max-quarantined", 0, status=1).stdout
    assert "sound but for 1 documents, listed\n  shard `" in run("verify", data, "--max-quarantined", "50%").stdout
    assert list(json.loads((data / "a" / "damaged.json").read_text())["documents"]) == ["0"]
    report = json.loads(run("verify", data, "--max-quarantined", 1, "--json").stdout)
    assert list(report["quarantined"][str(data / "a")]) == ["0"]


@pytest.mark.parametrize("wrong", ["dd", "d/b"])
def test_verify_of_a_path_that_is_not_there_is_a_mistake_and_no_damage(built, run, wrong):
    data, _ = built
    message = run("verify", data.parent / wrong, status=2).stderr
    name = wrong.rpartition("/")[2]
    assert f"{name}` does not exist" in message
    assert ("did you mean d?" in message) == (wrong == "dd")
    (data.parent / "empty").mkdir()
    assert (
        "expected a dataset, or a folder of datasets, got none" in run("verify", data.parent / "empty", status=2).stderr
    )


@pytest.mark.parametrize(
    ("name", "said"), [("unfinished.json", "is unfinished"), ("nothing.json", "has shards but no")]
)
def test_verify_lists_what_is_no_dataset_beside_what_is(built, run, make_documents, write_dataset, name, said):
    data, _ = built
    folder = write_dataset(data / "b", make_documents([5])).path
    (folder / "manifest.json").rename(folder / name)
    problems = json.loads(run("verify", data, "--json", status=1).stdout)["problems"]
    assert problems[str(data / "a")] == []
    assert said in problems[str(folder)][0]
