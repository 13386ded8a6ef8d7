import numpy as np
import pytest

from audio_data import InputError
from audio_eval.heldout import HeldoutUtterance
from audio_eval.scores import Item
from audio_eval.tasks import make_tasks
from audio_eval.tasks.asr import other_utterances
from audio_eval.tasks.tts import score_transcripts
from audio_tokenize import Segment

SILENCE = Segment(np.zeros(0, np.int32), np.zeros((0, 3), np.int32))


def utterance(index, text):
    return HeldoutUtterance(f"u{index}", "heldout", f"u{index}", text, "ann", SILENCE)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"asr.temprature": "1"}, "must name a setting of the task: .*temperature.*, got 'temprature'"),
        ({"nll.softmax": "full"}, "must begin with one of the tasks that run, asr, tts, got 'nll'"),
        ({"tts.num_items": "many"}, "`tts.num_items` takes a whole number, got 'many'"),
        ({"asr.controls": "maybe"}, "`asr.controls` takes true or false, got 'maybe'"),
        ({"asr.max_tokens": "0"}, "`asr.max_tokens` must be 1 or more, got 0"),
        ({"asr.num_kept_audio": "-1"}, "`asr.num_kept_audio` must be 0 or more, got -1"),
        ({"tts.num_items": "-1"}, "`tts.num_items` must be 1 or more, got -1"),
        ({"tts.batch_size": "0"}, "`tts.batch_size` must be 1 or more, got 0"),
    ],
)
def test_wrong_settings_are_refused(overrides, message):
    with pytest.raises(InputError, match=message):
        make_tasks(["asr", "tts"], overrides)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("0", "must be above 0 and finite, got 0"),
        ("-1", "must be above 0 and finite, got -1"),
        ("nan", "takes a number, got 'nan'"),
        ("inf", "takes a number, got 'inf'"),
    ],
)
def test_a_beginning_of_no_length_is_refused(value, message):
    with pytest.raises(InputError, match=f"`continuation.prompt_seconds` {message}"):
        make_tasks(["continuation"], {"continuation.prompt_seconds": value})


def test_no_task_is_not_enough():
    with pytest.raises(InputError, match=r"`tasks` must name at least one of nll, asr, .*, got none"):
        make_tasks([])


def test_unknown_tasks_are_refused():
    with pytest.raises(
        InputError, match=r"`tasks` must be registered names, .*, got 'mmlu'; expected one of asr, .*, twuggy"
    ):
        make_tasks(["mmlu"])


def test_settings_are_read_as_the_type_of_their_field():
    asr, tts = make_tasks(["asr", "tts"], {"asr.max_tokens": "none", "asr.controls": "False", "tts.temperature": "0"})
    assert [asr.settings()[name] for name in ("max_tokens", "controls")] == [None, False]
    assert tts.settings()["temperature"] == 0.0
    assert isinstance(tts.settings()["temperature"], float)
    assert tts.settings()["top_k"] == 20


def test_other_utterances_have_other_texts_and_each_text_still_gets_one():
    spoken = [utterance(i, text) for i, text in enumerate(["a", "a", "b", "c", "a"])]
    others = other_utterances(spoken, str.lower)
    assert [other.text for other in others] == ["b", "b", "c", "a", "b"]
    assert other_utterances([utterance(0, "A"), utterance(1, "a")], str.lower) is None


def test_transcripts_against_own_and_other_texts_by_hand():
    texts = ["red cat", "blue horse now", "red cat"]
    items = [Item(f"u{i}", "heldout", {}, {"reference": text}) for i, text in enumerate(texts)]
    scored = score_transcripts(items, {"generated": ["red cat", "", "blue horse"]}, str.lower)
    assert [item.terms["tts_wer"] for item in scored] == [(0, 2), (3, 3), (2, 2)]
    # Items of the same text are no control: the first and third have only the second's to be held against.
    assert [item.terms["tts_wer_mismatched_text"] for item in scored] == [(3, 3), (2, 2), (1, 3)]
    assert scored[1].detail["transcripts"] == {"generated": ""}
