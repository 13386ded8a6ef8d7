import json
from pathlib import Path

import pytest

from audio_data import InputError
from audio_eval.journal import Journal


def test_results_survive_and_a_line_cut_short_does_not(tmp_path):
    path = tmp_path / "items" / "a.partial.jsonl"
    journal = Journal(path, "f")
    journal.record("encode", {"x": [1, 2], "y": "z"})
    journal.record("score", {"x": {"mean": 0.1 + 0.2}})
    journal.close()
    path.write_bytes(path.read_bytes() + b'{"step": "score", "key": "y", "val')
    again = Journal(path, "f")
    assert again.known("encode") == {"x": [1, 2], "y": "z"}
    assert again.known("score") == {"x": {"mean": 0.1 + 0.2}}
    again.record("score", {"y": 1})
    again.close()
    assert [json.loads(line).get("key") for line in path.read_text().splitlines()] == ["x", "y", "x", "y"]
    again.discard()
    assert not path.exists()


def test_other_settings_begin_anew(tmp_path):
    path = tmp_path / "a.jsonl"
    journal = Journal(path, "f")
    journal.record("encode", {"x": 1})
    journal.close()
    other = Journal(path, "g")
    assert len(other) == 0
    other.record("encode", {"z": 1})
    other.close()
    assert Journal(path, "g").known("encode") == {"z": 1}
    assert len(Journal(path, "f")) == 0


def test_without_a_path_it_is_kept_in_memory():
    journal = Journal()
    journal.record("encode", {"x": 1})
    assert journal.known("encode") == {"x": 1}
    journal.discard()


def test_a_damaged_line_is_computed_again_and_said(tmp_path, capsys):
    path = tmp_path / "a.jsonl"
    journal = Journal(path, "f")
    journal.record("score", {"x": 0.25, "y": 0.5, "z": 0.75})
    journal.close()
    path.write_bytes(path.read_bytes().replace(b"0.5", b"0.7"))
    again = Journal(path, "f")
    assert again.known("score") == {"x": 0.25, "z": 0.75}
    assert capsys.readouterr().err == f"1 of 3 lines of `{path}` are damaged: computed again\n"
    again.record("score", {"y": 0.5})
    again.close()
    assert Journal(path, "f").known("score") == {"x": 0.25, "y": 0.5, "z": 0.75}


def test_a_result_moved_to_another_key_is_not_believed(tmp_path):
    path = tmp_path / "a.jsonl"
    journal = Journal(path, "f")
    journal.record("score", {"x": 1, "y": 2})
    journal.close()
    path.write_text(path.read_text().replace('"x"', '"w"'))
    assert Journal(path, "f").known("score") == {"y": 2}


def test_a_full_disk_names_the_file_while_writing_and_while_closing(tmp_path):
    journal = Journal(tmp_path / "a.jsonl", "f")
    journal._open(Path("/dev/full"))
    for attempt in (lambda: journal.record("encode", {"x": 1}), journal.close):
        with pytest.raises(InputError, match=r"cannot write `.*a\.jsonl` \(No space .*: the disk is full"):
            attempt()
    journal.close()
