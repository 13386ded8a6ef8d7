import json
from dataclasses import replace

import pytest

from audio_data import InputError
from audio_eval import evaluate, make_tasks, read_evaluation
from audio_eval.evaluation import fingerprint, read_json_lines, write_evaluation, write_text


@pytest.fixture
def copy(evaluation, tmp_path):
    write_evaluation(replace(evaluation, folder=tmp_path))
    return tmp_path


def test_another_version_of_the_format_is_refused(copy):
    content = json.loads((copy / "evaluation.json").read_text())
    (copy / "evaluation.json").write_text(json.dumps({**content, "schema_version": 0}))
    with pytest.raises(InputError, match="must have schema version 1, got 0"):
        read_evaluation(copy)


def test_changed_or_missing_items_are_refused(copy):
    items = copy / "items" / "asr.jsonl"
    items.write_text(items.read_text().replace("errors", "error") + "\n")
    with pytest.raises(InputError, match="must be as `evaluation"):
        read_evaluation(copy)
    items.unlink()
    with pytest.raises(InputError, match="is missing"):
        read_evaluation(copy)


def test_a_kill_between_items_and_summary_leads_to_a_new_start(export, data, tmp_path, capfd):
    arguments = (export, data, ["voice"], make_tasks(["nll"]), tmp_path)
    first = evaluate(*arguments, judge="none", limit=2)
    (tmp_path / "items" / "nll.jsonl").write_text("{}\n")
    again = evaluate(*arguments, judge="none", limit=2)
    assert "starting anew" in capfd.readouterr().err
    assert again.scores == first.scores


def test_fingerprints_do_not_depend_on_the_order_of_keys():
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1}) != fingerprint({"a": 1, "b": [3]})


def test_texts_are_replaced_whole(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "old")
    write_text(path, "new")
    assert path.read_text() == "new"
    assert [file.name for file in path.parent.iterdir()] == ["file.txt"]


def test_a_torn_last_line_is_left_out_and_a_broken_one_is_named(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n{"a"')
    assert read_json_lines(path) == [{"a": 1}, {"a": 2}]
    path.write_text('{"a": 1}\nbroken\n{"a": 2}\n')
    with pytest.raises(InputError, match="line 2 of"):
        read_json_lines(path)
