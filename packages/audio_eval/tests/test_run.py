import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from audio_data import InputError, sole_writer
from audio_eval import compare, evaluate, load_checkpoint, make_report, make_tasks, read_evaluation
from audio_eval.evaluation import write_evaluation
from audio_eval.metrics import word_error_rate
from audio_eval.normalizers import spoken_english


def scores_of(evaluation, task, dataset):
    return {score.name: score for score in evaluation.result(task).scores if score.dataset == dataset}


def test_folder_reads_back_as_it_was_written(evaluation, tmp_path):
    write_evaluation(replace(evaluation, folder=tmp_path))
    assert read_evaluation(tmp_path) == replace(evaluation, folder=tmp_path)


def test_likelihood_is_of_the_same_tokens_in_both_orders(evaluation):
    items = evaluation.result("nll").items
    assert len(items) == 12 + 6
    for item in items:
        heard, unheard = item.terms["audio_first.nll_text"], item.terms["text_first.nll_text"]
        assert heard[1] == unheard[1] > 0
        codebooks = [item.terms[f"audio_first.nll_codebook_{k}"] for k in range(3)]
        assert item.terms["audio_first.nll_audio"][0] == pytest.approx(sum(nats for nats, _ in codebooks))
    scores = scores_of(evaluation, "nll", "heldout")
    ratio = scores["audio_first.nll_text"].value / scores["text_first.nll_text"].value
    assert scores["text_nll_with_over_without_audio"].value == pytest.approx(ratio)
    for kind in ("text", "codebook_0", "codebook_2"):
        allowed, full = (scores[f"audio_first.nll_{kind}{suffix}"].value for suffix in ("", ".full"))
        assert allowed < full
    assert scores["audio_first.bits_per_text_token"].value == pytest.approx(
        scores["audio_first.nll_text"].value / np.log(2)
    )
    seconds = sum(item.terms["audio_first.audio_nats_per_second"][1] for item in items if item.dataset == "heldout")
    tokens = sum(item.terms["audio_first.nll_audio"][1] for item in items if item.dataset == "heldout")
    assert tokens == pytest.approx(seconds * 12.5 * 3)


def test_grammar_trained_checkpoints_are_scored_within_the_allowed_sets(evaluation):
    assert evaluation.result("nll").settings["softmax"] == "allowed"


def test_recognition_scores_follow_from_its_transcripts(evaluation):
    items = [item for item in evaluation.result("asr").items if item.dataset == "heldout"]
    references = [spoken_english(item.detail["reference"]) for item in items]
    scores = scores_of(evaluation, "asr", "heldout")
    for name in ("asr_wer", "asr_wer_mismatched_audio", "asr_wer_untrained"):
        hypotheses = [spoken_english(item.detail["hypotheses"][name]) for item in items]
        assert scores[name].value == pytest.approx(word_error_rate(references, hypotheses).value)
    assert set(scores_of(evaluation, "asr", "voice")) == {"asr_wer", "asr_exact"}
    assert evaluation.result("asr").settings["max_tokens"] >= 1.25 * 6


def test_speech_is_saved_and_transcribed(evaluation):
    result = evaluation.result("tts")
    assert len(result.items) == 5
    for item in result.items:
        samples, rate_hz = soundfile.read(evaluation.folder / item.detail["audio"]["generated"])
        assert rate_hz == 24_000
        assert len(samples) == item.detail["frames"] * 1_920
        assert 4 <= item.detail["frames"] <= result.settings["max_frames"]
        frames = item.detail["recorded_frames"]
        assert item.detail["transcripts"]["reconstructed"] == f"the red cat is in room {frames}"
    scores = scores_of(evaluation, "tts", "heldout")
    own, other = scores["tts_wer"].value, scores["tts_wer_mismatched_text"].value
    assert scores["tts_wer_reduction_over_mismatched_text"].value == pytest.approx(other - own)
    assert scores["tts_wer_reconstructed"].num_items == 5
    assert 0 <= scores["tts_ended"].value <= 1


def test_finished_tasks_are_not_run_again(evaluation, export, data, monkeypatch, tmp_path):
    tasks = make_tasks(["nll"])
    first = evaluate(export, data, ["heldout"], tasks, tmp_path, transcriber="none", limit=3)
    monkeypatch.setattr("audio_eval.tasks.nll.scored_documents", None)
    assert (
        evaluate(export, data, ["heldout"], tasks, tmp_path, transcriber="none", limit=3).results[0].scores
        == first.results[0].scores
    )
    with pytest.raises(TypeError):
        evaluate(export, data, ["heldout"], tasks, tmp_path, transcriber="none", limit=4)


def test_other_tasks_stay_in_the_folder_as_long_as_model_and_data_do(export, data, tmp_path, toy_codec):
    few = {"asr.batch_size": "2", "asr.controls": "false"}
    evaluate(export, data, ["voice"], make_tasks(["nll"]), tmp_path, transcriber="none", limit=2)
    both = evaluate(export, data, ["voice"], make_tasks(["asr"], few), tmp_path, transcriber="none", limit=2)
    assert [result.task for result in both.results] == ["nll", "asr"]
    other = evaluate(export, data, ["heldout"], make_tasks(["nll"]), tmp_path, transcriber="none", limit=2)
    assert [result.task for result in other.results] == ["nll"]


def test_without_a_transcriber_the_error_rate_is_missing_with_the_way_to_get_it(export, data, tmp_path, toy_codec):
    tasks = make_tasks(
        ["tts"], {"tts.num_items": "2", "tts.max_frames": "3", "tts.min_frames": "3", "tts.batch_size": "2"}
    )
    evaluation = evaluate(export, data, ["voice"], tasks, tmp_path, transcriber="none")
    summary = evaluation.summary()["voice"]
    assert summary["tts_wer"]["value"] is None
    assert "--transcriber none" in summary["tts_wer"]["reason"]
    assert summary["tts_length_ratio"]["num_items"] == 2
    json.dumps(summary, allow_nan=False)


def test_a_single_text_has_no_control_and_says_so(export, data, tmp_path, toy_codec):
    tasks = make_tasks(["asr"], {"asr.batch_size": "2"})
    summary = evaluate(export, data, ["one"], tasks, tmp_path, transcriber="none").summary()["one"]
    assert summary["asr_wer_mismatched_audio"]["value"] is None
    assert "all 1 utterances have the same text" in summary["asr_wer_reduction_over_mismatched_audio"]["reason"]
    assert summary["asr_wer_untrained"]["num_items"] == 1


def test_what_does_not_fit_the_context_is_wrong_or_missing_but_never_skipped(
    export, data, tmp_path, toy_codec, monkeypatch
):
    loaded = load_checkpoint(export)
    config = replace(loaded.model.config, max_seq_len=20)
    short = replace(loaded, model=replace(loaded.model, config=config))
    monkeypatch.setattr("audio_eval.run.load_checkpoint", lambda path: short)
    tasks = make_tasks(["nll", "asr", "tts"])
    evaluation = evaluate(export, data, ["voice"], tasks, tmp_path, transcriber="none", limit=2)
    summary = evaluation.summary()["voice"]
    assert "context of 20 tokens" in summary["text_nll_with_over_without_audio"]["reason"]
    assert evaluation.result("nll").settings["num_too_long"] == 2
    assert (summary["asr_wer"]["value"], summary["asr_wer"]["num_items"]) == (1.0, 2)
    assert (summary["tts_ended"]["value"], summary["tts_ended"]["num_items"]) == (0.0, 2)
    make_report(tmp_path, tmp_path / "report.html")


def test_comparison_with_itself_is_undecided(evaluation):
    comparisons = compare(evaluation, evaluation)
    assert {comparison.verdict for comparison in comparisons} == {"undecided"}
    assert all(comparison.difference.value == 0 for comparison in comparisons)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heldout": ["nowhere"]}, "which are heldout, one, talks, voice, got 'nowhere'"),
        ({"heldout": []}, "must name at least one dataset"),
        ({"limit": 0}, "`limit` must be at least 1, got 0"),
        ({"transcriber": "parrot"}, "`transcriber` must be auto, embedded, none or whisper:MODEL, got 'parrot'"),
    ],
)
def test_mistakes_are_named(export, data, tmp_path, change, message):
    arguments = {"heldout": ["voice"], "transcriber": "none", **change}
    with pytest.raises(InputError, match=message):
        evaluate(export, data, tasks=make_tasks(["nll"]), out=tmp_path, **arguments)


@pytest.mark.parametrize(
    "setting",
    [
        "asr.normalizer",
        "tts.normalizer",
        "swuggy.compat",
        "librispeech.normalizer",
        "s2tt.tokenizer",
        "s2st.route",
        "seed_tts.normalizer",
        "continuation.begin_of_text",
    ],
)
def test_a_wrong_setting_of_the_last_task_is_named_before_the_first_runs(
    export, data, test_sets, tmp_path, monkeypatch, setting
):
    monkeypatch.setattr("audio_eval.tasks.nll.scored_documents", None)
    tasks = make_tasks(["nll", setting.partition(".")[0]], {setting: "nothing"}, test_sets=test_sets)
    with pytest.raises(InputError, match=rf"`{setting}`.* must be one of .*'nothing'"):
        evaluate(export, data, ["voice"], tasks, tmp_path, transcriber="none", speaker_encoder="none")


def test_an_unwritable_folder_is_named_before_any_work(export, data, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write .*choose another folder"):
        evaluate(export, data, ["voice"], [], tmp_path / "file" / "out", transcriber="none")


def test_a_folder_has_one_evaluation_at_a_time(export, data, tmp_path):
    with sole_writer(tmp_path), pytest.raises(InputError, match="another process is writing in"):
        evaluate(export, data, ["voice"], [], tmp_path, transcriber="none")
    assert list(tmp_path.iterdir()) == []
    evaluate(export, data, ["voice"], [], tmp_path, transcriber="none")
    assert [file.name for file in tmp_path.iterdir() if file.name != "items"] == ["evaluation.json"]


def test_a_folder_without_an_evaluation_is_named(tmp_path):
    with pytest.raises(InputError, match="holds no `evaluation"):
        read_evaluation(tmp_path)
