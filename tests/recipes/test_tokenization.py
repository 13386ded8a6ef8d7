"""Tokenizations against the rules, corpora and command lines of audio-tokenize."""

import pytest

from audio_tokenize import DATASET_PRESETS
from audio_tokenize.cli import main as audio_tokenize
from audio_tokenize.corpora.cards import card
from audio_tokenize.vocabularies.published import PUBLISHED
from audio_train.soda.catalogue import MARIN_MIMI, QWEN3X_MIMI
from audio_train.soda.mixtures import MIXTURES
from audio_train.soda.tokenization import TEXT_TOKENIZERS, TOKENIZATIONS, Tokenization, VocabularyName, produced_by

RECIPES = list(TOKENIZATIONS.values())
SPEECH = [recipe for recipe in RECIPES if recipe.codec is not None]


@pytest.mark.parametrize("recipe", SPEECH, ids=lambda recipe: recipe.name)
def test_rules_are_those_of_the_published_dataset(recipe: Tokenization):
    dataset = DATASET_PRESETS[recipe.dataset]
    assert recipe.corpus in dataset.corpora
    assert recipe.layouts == dataset.rules.layouts
    assert recipe.grouping == dataset.rules.grouping
    assert recipe.transcript == dataset.rules.transcript
    assert recipe.codec is not None
    assert recipe.codec.num_codebooks == dataset.rules.num_codebooks


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_repository_and_revision_are_those_of_the_card(recipe: Tokenization):
    published = card(recipe.dataset.partition("/")[0].replace("_", "-"))
    assert published.repository == recipe.repository
    assert recipe.revision == (published.revision if published.revision not in (None, "main") else None)
    assert card(recipe.corpus).name == recipe.corpus


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_what_stands_around_a_document_is_that_of_the_study(recipe: Tokenization):
    """Speech in the Marin vocabulary begins with two, all else with one; texts stand between what is not prepended."""
    published = PUBLISHED[recipe.vocabulary]
    of_strings = recipe in SPEECH and not recipe.produces[0].startswith("cvss-sft/")
    assert recipe.begin_of_text == ("double" if of_strings and published.prepends_begin_of_text else "single")
    spaces = "after" if published.prepends_begin_of_text else "around"
    assert recipe.text_spaces == ("none" if recipe in SPEECH else spaces)


def test_every_published_dataset_but_evaluation_sets_is_made():
    made = {recipe.dataset for recipe in RECIPES}
    rest = {name for name in DATASET_PRESETS if name not in made}
    evaluation = {name for name in DATASET_PRESETS if name.startswith("librispeech-mm-eval/")}
    assert rest == evaluation - {"librispeech-mm-eval/dev_clean_asr"} | {"libritts-r-mm-tts0"}


def test_every_corpus_of_every_mixture_is_made():
    for mix in MIXTURES.values():
        for corpus in mix.weights:
            assert corpus in produced_by(corpus).produces


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_command_lines_parse(recipe: Tokenization):
    for line in recipe.commands:
        program, name, *words = line.split()
        assert program == "audio-tokenize"
        known = {option for parameter in audio_tokenize.commands[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize(("name", "ours"), [("marin-mimi", MARIN_MIMI), ("qwen3x-mimi", QWEN3X_MIMI)])
def test_vocabularies_have_the_published_ids(name: VocabularyName, ours):
    published = PUBLISHED[name]
    assert (ours.begin_of_text, ours.end_of_text) == (published.begin_of_text, published.end_of_text)
    assert ours.text_start == published.text_start
    assert ours.audio_start == published.text_start + 2
    assert ours.audio_base == published.text_start + 4
    assert ours.text_tokenizer == published.text_tokenizer == TEXT_TOKENIZERS[name]
