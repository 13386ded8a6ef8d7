import hashlib
import json
import shutil
from dataclasses import replace

import pytest

from audio_data import InputError
from audio_eval import (
    Evaluation,
    Item,
    Measure,
    TaskResult,
    compare,
    evaluate,
    make_report,
    make_tasks,
    read_evaluation,
    score_items,
)
from audio_eval.evaluation import fingerprint, write_evaluation


@pytest.fixture
def copy(evaluation, tmp_path):
    write_evaluation(replace(evaluation, folder=tmp_path))
    return tmp_path


def test_another_version_of_the_format_is_refused(copy):
    content = json.loads((copy / "evaluation.json").read_text())
    (copy / "evaluation.json").write_text(json.dumps({**content, "schema_version": 0}))
    with pytest.raises(InputError, match="must have schema version 4, got 0"):
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
        evaluate(export, data, ["voice"], make_tasks(["nll"]), tmp_path, transcriber="none")
    assert (tmp_path / "items" / "nll.jsonl").read_text() == "mine"
    assert not (tmp_path / "evaluation.json").exists()


def test_a_kill_between_items_and_summary_costs_that_task_alone(export, data, tmp_path, capfd):
    arguments = (export, data, ["voice"], make_tasks(["nll"]), tmp_path)
    first = evaluate(*arguments, transcriber="none", limit=2)
    other = TaskResult("asr", "f", {"normalizer": "marks"}, 0.5, (), (Item("a", "voice", {"wer": (1.0, 2.0)}, {}),))
    write_evaluation(replace(first, results=(*first.results, other)))
    (tmp_path / "items" / "nll.jsonl").write_text("{}\n")
    again = evaluate(*arguments, transcriber="none", limit=2)
    assert [line for line in capfd.readouterr().err.splitlines() if "starts again" in line] == [
        f"task nll starts again: `{tmp_path}/items/nll.jsonl` must be as `evaluation.json` was made from, got other "
        "content; run the evaluation again"
    ]
    assert again.result("nll").items == first.result("nll").items
    assert again.result("asr") == other


def test_a_summary_that_is_not_one_of_ours_is_not_overwritten(export, data, tmp_path):
    (tmp_path / "evaluation.json").write_text('{"mine": 1}')
    with pytest.raises(InputError, match="move it away"):
        evaluate(export, data, ["voice"], make_tasks(["nll"]), tmp_path, transcriber="none", limit=2)
    assert [file.name for file in tmp_path.iterdir()] == ["evaluation.json"]
    assert (tmp_path / "evaluation.json").read_text() == '{"mine": 1}'


def test_the_first_version_of_the_format_still_opens(copy, evaluation):
    content = json.loads((copy / "evaluation.json").read_text())
    del content["sha256"]
    (copy / "evaluation.json").write_text(json.dumps({**content, "schema_version": 1}))
    assert read_evaluation(copy) == replace(evaluation, folder=copy)


def test_an_evaluation_with_the_names_of_version_2_opens_and_compares(evaluation, tmp_path):
    measure = Measure("librispeech_wer.soda", "errors/word", "lower", ("wer.soda",))
    detail = {"reference": "a red cat", "answer": "a cat"}
    items = tuple(Item(f"u{i}", "librispeech", {"wer.soda": (float(i), 3.0)}, detail) for i in range(3))
    settings = {"compat": "soda", "normalizer": "soda", "transcriber": "whisper", "speaker_encoder": None}
    scores = tuple(score_items("librispeech", "librispeech", [measure], items))
    new = Evaluation(
        tmp_path / "new", evaluation.provenance, (TaskResult("librispeech", "f" * 64, settings, 1.0, scores, items),)
    )
    write_evaluation(new)
    old = shutil.copytree(tmp_path / "new", tmp_path / "old")
    lines = (old / "items" / "librispeech.jsonl").read_text().replace("wer.soda", "wer.study")
    (old / "items" / "librispeech.jsonl").write_text(lines)
    summary = (old / "evaluation.json").read_text()
    for now, then in (("transcriber", "judge"), ("speaker_encoder", "speaker_judge"), ("soda", "study")):
        summary = summary.replace(f'"{now}"', f'"{then}"').replace(f"wer.{now}", f"wer.{then}")
    content = {**json.loads(summary), "schema_version": 2}
    del content["sha256"]
    content["tasks"]["librispeech"]["items_sha256"] = hashlib.sha256(lines.encode()).hexdigest()
    assert content["provenance"]["judge"]
    assert content["tasks"]["librispeech"]["scores"][0]["terms"] == ["wer.study"]
    (old / "evaluation.json").write_text(json.dumps({**content, "sha256": fingerprint(content)}))
    opened = read_evaluation(old)
    assert opened == replace(new, folder=old)
    (comparison,) = compare(opened, new)
    assert (comparison.measure.name, comparison.difference.value) == ("librispeech_wer.soda", 0)
    make_report(old, tmp_path / "old.html")


OLD_NAMES = {
    "asr": {
        "asr_wer_mismatched_audio": "asr_wer_other_utterance",
        "asr_wer_reduction_over_mismatched_audio": "asr_wer_gain_over_other_utterance",
    },
    "nll": {
        "text_nll_with_over_without_audio": "text_nll_heard_over_unheard",
        "audio_nll_with_over_without_text": "audio_nll_read_over_unread",
        "audio_nll_matched_over_mismatched_text": "audio_nll_own_over_other_text",
        "audio_bits_saved_by_text": "audio_bits_told_by_text",
        "text_bits_saved_by_audio": "text_bits_told_by_audio",
        "text_first_mismatched_text.": "text_first_other_text.",
    },
    "tts": {
        "tts_wer_mismatched_text": "tts_wer_other_texts",
        "tts_wer_reduction_over_mismatched_text": "tts_wer_gain_over_other_texts",
    },
}
"""What an evaluation of version 3 has in place of today's names, by task."""


def test_an_evaluation_with_the_names_of_version_3_opens_and_compares(copy, evaluation, tmp_path_factory):
    content = json.loads((copy / "evaluation.json").read_text())
    assert set(content["tasks"]) == set(OLD_NAMES)
    for task, names in OLD_NAMES.items():
        file = copy / "items" / f"{task}.jsonl"
        lines, record = file.read_text(), json.dumps(content["tasks"][task])
        for now, then in names.items():
            assert f'"{now}' in lines + record, now
            lines, record = lines.replace(f'"{now}', f'"{then}'), record.replace(f'"{now}', f'"{then}')
        file.write_text(lines)
        content["tasks"][task] = json.loads(record) | {"items_sha256": hashlib.sha256(lines.encode()).hexdigest()}
    del content["sha256"]
    content["schema_version"] = 3
    (copy / "evaluation.json").write_text(json.dumps({**content, "sha256": fingerprint(content)}))
    opened = read_evaluation(copy)
    assert opened == replace(evaluation, folder=copy)
    assert {one.difference.value for one in compare(opened, evaluation)} == {0}
    page = tmp_path_factory.mktemp("report") / "old.html"
    make_report(copy, page)
    assert "asr_wer_mismatched_audio" in page.read_text()


def test_a_number_that_is_not_finite_is_never_written(evaluation, tmp_path):
    (result, *_) = evaluation.results
    item = replace(result.items[0], terms={"x": (float("nan"), 1.0)})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_evaluation(replace(evaluation, folder=tmp_path, results=(replace(result, items=(item,)),)))


def test_fingerprints_do_not_depend_on_the_order_of_keys():
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1}) != fingerprint({"a": 1, "b": [3]})
