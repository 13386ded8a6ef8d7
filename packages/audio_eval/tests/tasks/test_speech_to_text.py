import itertools
import shutil

import jiwer
import numpy as np
import pytest

from audio_data import InputError
from audio_eval import evaluate, load_checkpoint, make_tasks
from audio_eval.bleu import bleu, bleu_counts
from audio_eval.normalizers import NORMALIZERS
from audio_eval.tasks import speech_to_text
from audio_eval.testsets.speech import read_covost2, read_librispeech
from audio_tokenize import Segment, layout, load_audio

SMALL = {"max_tokens": "4", "batch_size": "4"}


def run(export, test_sets, out, name, overrides=None, **options):
    settings = {f"{name}.{key}": value for key, value in {**SMALL, **(overrides or {})}.items()}
    compat = options.pop("compat", None)
    tasks = make_tasks([name], settings, test_sets=test_sets, compat=compat)
    return evaluate(export, None, [], tasks, out, transcriber="none", speaker_encoder="none", **options).result(name)


@pytest.fixture
def prompts(monkeypatch):
    """What a task asks the model to continue; it gets no answers."""
    calls = []

    def note(model, prompts, keys, **options):
        calls.append((prompts, options))
        return [(None, 0)] * len(prompts)

    monkeypatch.setattr(speech_to_text, "generate_within_context", note)
    return calls


def answer_with(monkeypatch, text, answers):
    def continued(model, prompts, keys, *, max_units, **options):
        return [(np.array(text.encode(answer), np.int32), max_units) for answer in answers]

    monkeypatch.setattr(speech_to_text, "generate_within_context", continued)


def test_zero_shot_prompts_are_those_of_the_public_scripts(export, test_sets, tmp_path, toy_codec, prompts):
    result = run(export, test_sets, tmp_path, "librispeech", limit=3)
    vocabulary = load_checkpoint(export).vocabulary
    utterances = {one.id: one for one in read_librispeech(test_sets / "librispeech", "test-clean")}
    ((ids, options),) = prompts
    assert options["sampling"].temperature == 1e-4
    assert options["sampling"].top_p == 0.8
    for item, prompt in zip(result.items, ids, strict=True):
        codes = vocabulary.audio_ids(toy_codec.encode(load_audio(utterances[item.id].audio)))
        start = [vocabulary.begin_of_text, vocabulary.audio_start]
        assert prompt.tolist() == [*start, *codes, vocabulary.audio_end, vocabulary.text_start]


def test_shots_are_whole_documents_of_the_other_split(export, test_sets, tmp_path, toy_codec, prompts):
    checkpoint = load_checkpoint(export)
    vocabulary = checkpoint.vocabulary
    settings = {"shots": "2", "max_tokens": "2"}
    run(export, test_sets, tmp_path / "same", "librispeech", settings, limit=2)
    run(export, test_sets, tmp_path / "own", "librispeech", {**settings, "same_shots": "false"}, limit=2)
    shots = read_librispeech(test_sets / "librispeech", "dev-clean")
    documents = {
        tuple(
            layout("audio_first").build(
                [
                    Segment(
                        np.array(checkpoint.text.encode(shot.text.lower()), np.int32),
                        toy_codec.encode(load_audio(shot.audio)),
                    )
                ],
                vocabulary,
            )
        )
        for shot in shots
    }

    def before(prompt):
        starts = np.flatnonzero(prompt == vocabulary.begin_of_text)
        assert len(starts) == 3
        return [tuple(prompt[one:other]) for one, other in itertools.pairwise(starts)]

    same, own = ([before(prompt) for prompt in ids] for ids, _ in prompts)
    assert same[0] == same[1]
    assert own[0] != own[1]
    assert all(shot in documents for found in (*same, *own) for shot in found)


def test_word_error_rates_against_jiwer(export, test_sets, tmp_path, toy_codec, monkeypatch, text):
    answers = ["dial nine", "", "the red cat", "send the blue bird", "it is", "go"]
    answer_with(monkeypatch, text, answers)
    result = run(export, test_sets, tmp_path, "librispeech")
    scores = {score.name: score.value for score in result.scores}
    references = [item.detail["reference"] for item in result.items]
    hypotheses = [item.detail["answer"] for item in result.items]
    assert hypotheses == answers
    for name, normalizer in (("librispeech_wer", "whisper_english"), ("librispeech_wer.soda", "soda")):
        normalize = NORMALIZERS[normalizer]
        right, said = [normalize(one) for one in references], [normalize(one) for one in hypotheses]
        assert scores[name] == pytest.approx(jiwer.wer(right, said))
    normalize = NORMALIZERS["whisper_english"]
    rates = [jiwer.wer(normalize(one), normalize(other)) for one, other in zip(references, hypotheses, strict=True)]
    assert scores["librispeech_wer_mean"] == pytest.approx(np.mean(rates))


def test_compat_study_joins_words_and_has_no_grammar(export, test_sets, tmp_path, toy_codec, prompts):
    ours = run(export, test_sets, tmp_path / "a", "librispeech", limit=1)
    theirs = run(export, test_sets, tmp_path / "b", "librispeech", limit=1, compat="soda")
    assert (ours.settings["normalizer"], theirs.settings["normalizer"]) == ("whisper_english", "soda")
    assert [options["automaton"] is None for _, options in prompts] == [False, True]
    right, said = "It's a well-known colour, Mr. Smith", "it is a well known colour mister smith"
    assert jiwer.wer(NORMALIZERS["whisper_english"](right), NORMALIZERS["whisper_english"](said)) == 0
    assert jiwer.wer(NORMALIZERS["soda"](right), NORMALIZERS["soda"](said)) > 0.5


def test_what_cannot_be_heard_counts_every_word(export, test_sets, tmp_path, toy_codec):
    folder = shutil.copytree(test_sets / "librispeech", tmp_path / "sets" / "librispeech")
    for path in folder.glob("test-clean/*/*/*.flac"):
        path.write_bytes(b"")
    result = run(export, tmp_path / "sets", tmp_path / "out", "librispeech")
    scores = {score.name: score for score in result.scores}
    assert scores["librispeech_wer"].value == 1
    assert scores["librispeech_wer"].num_items == 6
    assert result.settings["num_unreadable"] == 6
    assert all("the file is empty" in item.detail["problem"] for item in result.items)


def test_an_empty_reference_is_named_and_every_word_for_it_is_too_many(
    export, test_sets, tmp_path, toy_codec, monkeypatch, text
):
    folder = shutil.copytree(test_sets / "librispeech", tmp_path / "sets" / "librispeech")
    answer_with(monkeypatch, text, ["the red cat"] * 6)
    paths = sorted(folder.glob("test-clean/*/*/*.trans.txt"))
    ids = [line.split()[0] for line in paths[0].read_text().splitlines()]
    paths[0].write_text("".join(f"{name}\n" for name in ids))
    result = run(export, tmp_path / "sets", tmp_path / "a", "librispeech")
    assert sorted(result.settings["empty_references"]) == ids
    scores = {score.name: score for score in result.scores}
    words = sum(item.terms["wer"][1] for item in result.items)
    errors = [item.terms["wer"] for item in result.items if item.id in ids]
    assert errors == [(3.0, 0.0)] * len(ids)
    assert scores["librispeech_wer"].value == sum(item.terms["wer"][0] for item in result.items) / words
    assert scores["librispeech_wer"].num_items == 6

    for path in paths:
        path.write_text("".join(f"{line.split()[0]}\n" for line in path.read_text().splitlines()))
    (score, *_) = run(export, tmp_path / "sets", tmp_path / "b", "librispeech").scores
    assert score.value is None
    assert "zero over all 6 items" in score.reason


def test_too_long_a_prompt_counts_every_word_and_is_told(export, test_sets, tmp_path, toy_codec, capsys):
    result = run(export, test_sets, tmp_path, "librispeech", {"shots": "5"}, limit=2)
    assert {score.name: score.value for score in result.scores}["librispeech_wer"] == 1
    assert (
        "librispeech: 2 of 2 prompts leave no space in the context of 256, and get no answer" in capsys.readouterr().err
    )
    assert (result.settings["num_too_long"], result.settings["num_unreadable"]) == (2, 0)
    for item in result.items:
        assert "tokens leave no space for a text in the context of 256" in item.detail["problem"]
        assert item.detail["answer"] == ""


def test_an_answer_may_be_as_long_as_its_prompt_leaves_room_for(export, test_sets, tmp_path, toy_codec):
    result = run(export, test_sets, tmp_path, "librispeech", {"max_tokens": "255"}, limit=1)
    assert result.settings["num_too_long"] == 0
    assert all(item.detail["answer"] for item in result.items)


def test_translations_are_scored_without_their_prefix(export, test_sets, tmp_path, toy_codec, monkeypatch):
    utterances = read_covost2(test_sets / "covost2", "de_en", "test")
    said = {one.id: f"Translation: {one.translation[:-6]}" for one in utterances}
    order = speech_to_text.sample(utterances, None)
    checkpoint = load_checkpoint(export)
    answer_with(monkeypatch, checkpoint.text, [said[one.id] for one in order])
    result = run(export, test_sets, tmp_path, "s2tt", {"shots": "1"})
    scores = {score.name: score for score in result.scores}
    hypotheses = [item.detail["answer"].removeprefix("Translation: ") for item in result.items]
    assert all(item.detail["reference"].startswith(one[:5]) for item, one in zip(result.items, hypotheses, strict=True))
    references = [item.detail["reference"] for item in result.items]
    sums = np.sum([bleu_counts(*pair) for pair in zip(references, hypotheses, strict=True)], axis=0)
    assert scores["s2tt_bleu"].value == pytest.approx(float(bleu(sums)))
    assert 0 < scores["s2tt_bleu"].low <= scores["s2tt_bleu"].value <= scores["s2tt_bleu"].high < 100


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("librispeech", {"shots": "99"}, "must hold 99 shots, got 6"),
        ("librispeech", {"shots": "-1"}, "must be 0 or more"),
        ("librispeech", {"split": "test-other"}, "split 'test-other' is wanted"),
        ("librispeech", {"normalizer": "none"}, "must be one of spoken_english"),
        ("s2tt", {"languages": "fr_en"}, "split 'test' of 'fr_en' is wanted"),
        ("s2tt", {"tokenizer": "mecab"}, "must be one of 13a, zh, char"),
    ],
)
def test_mistakes_are_named(export, test_sets, tmp_path, toy_codec, name, overrides, message):
    with pytest.raises(InputError, match=message):
        run(export, test_sets, tmp_path, name, overrides)
