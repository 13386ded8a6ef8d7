import dataclasses

import pytest

from audio_data import InputError, Vocabulary
from audio_eval import load_checkpoint
from audio_eval.inference.abilities import AnswerLimits, find_abilities, require_audio, split_context


@pytest.fixture
def checkpoint(speaker):
    return load_checkpoint(speaker)


def with_context(checkpoint, tokens):
    config = dataclasses.replace(checkpoint.model.config, max_seq_len=tokens)
    return dataclasses.replace(checkpoint, model=dataclasses.replace(checkpoint.model, config=config))


def abilities(checkpoint):
    return find_abilities(checkpoint, split_context(checkpoint, 12.5, AnswerLimits()))


def test_a_model_of_text_and_audio_can_do_all(checkpoint):
    assert set(abilities(checkpoint).values()) == {None}


def test_a_model_without_text_can_only_continue(checkpoint):
    silent = Vocabulary.compact("sounds", 0, "embedded-v1", 8, 2_048, "none")
    found = abilities(dataclasses.replace(checkpoint, vocabulary=silent))
    assert [name for name, reason in found.items() if reason is None] == ["continue"]
    assert found["transcribe"] == found["translate"] == "vocabulary 'sounds' has no text"


def test_a_model_without_audio_is_refused(checkpoint):
    words = dataclasses.replace(checkpoint, vocabulary=Vocabulary.compact("words", 40, "", 0, 0, "none"))
    with pytest.raises(InputError, match="must have audio tokens, got vocabulary 'words'"):
        require_audio(words)


def test_the_budget_is_counted_in_tokens(checkpoint):
    budget = split_context(with_context(checkpoint, 512), 12.5, AnswerLimits())
    # An eighth is for text; five markers; eight tokens a frame, 12.5 frames a second.
    assert budget.text_tokens == 64
    assert budget.max_input_seconds == (512 - 64 - 5) // 8 / 12.5
    assert budget.max_continued_seconds == (512 - 5) // 2 // 8 / 12.5
    assert split_context(with_context(checkpoint, 8_192), 12.5, AnswerLimits()).text_tokens == 200


@pytest.mark.parametrize(
    ("context", "lacking"),
    [(117, set()), (116, {"continue", "translate"}), (69, {"continue", "translate"}), (68, None)],
)
def test_a_context_too_short_for_a_word_is_told(checkpoint, context, lacking):
    found = {name for name, reason in abilities(with_context(checkpoint, context)).items() if reason}
    assert found == ({"transcribe", "speak", "continue", "translate"} if lacking is None else lacking)
