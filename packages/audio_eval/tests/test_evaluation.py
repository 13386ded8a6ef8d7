import json
from dataclasses import replace

import pytest

from audio_data import InputError
from audio_eval import Item, TaskResult, evaluate, make_tasks, read_evaluation
from audio_eval.evaluation import fingerprint, write_evaluation


@pytest.fixture
def copy(evaluation, tmp_path):
    write_evaluation(replace(evaluation, folder=tmp_path))
    return tmp_path


def test_another_version_of_the_format_is_refused(copy):
    content = json.loads((copy / "evaluation.json").read_text())
    (copy / "evaluation.json").write_text(json.dumps({**content, "schema_version": 0}))
    with pytest.raises(InputError, match="must have schema version 2, got 0"):
        read_evaluation(copy)


def test_changed_or_missing_items_are_refused(copy):
    items = copy / "items" / "asr.jsonl"
    items.write_text(items.read_text().replace("errors", "error") + "\n")
    with pytest.raises(InputError, match="must be as `evaluation"):
        read_evaluation(copy)
    items.unlink()
    with pytest.raises(InputError, match="is missing"):
        read_evaluation(copy)


def test_items_of_another_program_are_not_replaced(export, data, tmp_path):
    (tmp_path / "items").mkdir()
    (tmp_path / "items" / "nll.jsonl").write_text("mine")
    with pytest.raises(InputError, match=r"nll.jsonl` exists, but `.*` holds no `evaluation.json`, .*: move that file"):
        evaluate(export, data, ["voice"], make_tasks(["nll"]), tmp_path, judge="none")
    assert (tmp_path / "items" / "nll.jsonl").read_text() == "mine"
    assert not (tmp_path / "evaluation.json").exists()


def test_a_kill_between_items_and_summary_costs_that_task_alone(export, data, tmp_path, capfd):
    arguments = (export, data, ["voice"], make_tasks(["nll"]), tmp_path)
    first = evaluate(*arguments, judge="none", limit=2)
    other = TaskResult("asr", "f", {"normalizer": "marks"}, 0.5, (), (Item("a", "voice", {"wer": (1.0, 2.0)}, {}),))
    write_evaluation(replace(first, results=(*first.results, other)))
    (tmp_path / "items" / "nll.jsonl").write_text("{}\n")
    again = evaluate(*arguments, judge="none", limit=2)
    assert [line for line in capfd.readouterr().err.splitlines() if "anew" in line] == [
        f"starting task nll anew: `{tmp_path}/items/nll.jsonl` must be as `evaluation.json` was made from, got other "
        "content; run the evaluation again"
    ]
    assert again.result("nll").items == first.result("nll").items
    assert again.result("asr") == other


def test_a_summary_that_is_not_one_of_ours_is_not_overwritten(export, data, tmp_path):
    (tmp_path / "evaluation.json").write_text('{"mine": 1}')
    with pytest.raises(InputError, match="move it away"):
        evaluate(export, data, ["voice"], make_tasks(["nll"]), tmp_path, judge="none", limit=2)
    assert [file.name for file in tmp_path.iterdir()] == ["evaluation.json"]
    assert (tmp_path / "evaluation.json").read_text() == '{"mine": 1}'


def test_the_first_version_of_the_format_still_opens(copy, evaluation):
    content = json.loads((copy / "evaluation.json").read_text())
    del content["sha256"]
    (copy / "evaluation.json").write_text(json.dumps({**content, "schema_version": 1}))
    assert read_evaluation(copy) == replace(evaluation, folder=copy)


def test_a_number_that_is_not_finite_is_never_written(evaluation, tmp_path):
    (result, *_) = evaluation.results
    item = replace(result.items[0], terms={"x": (float("nan"), 1.0)})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_evaluation(replace(evaluation, folder=tmp_path, results=(replace(result, items=(item,)),)))


def test_fingerprints_do_not_depend_on_the_order_of_keys():
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1}) != fingerprint({"a": 1, "b": [3]})
