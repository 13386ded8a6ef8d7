import pytest

from audio_data import InputError, Vocabulary, from_json, to_json
from audio_train import STUDIES, find_recipe, resolve
from audio_train.recipes.catalogue import MARIN_MIMI

COMPACT = Vocabulary.compact("compact", 128, "embedded-v1", num_codebooks=8, codebook_size=2048, text_tokenizer="x")
NAMES = [name for study in STUDIES for name in study.runs]


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_resolves_and_survives_json(name: str):
    study, run = find_recipe(name)
    assert run.name == name
    assert from_json(type(run), to_json(run), "run") == run
    assert resolve(run, study.vocabulary_of(name) or COMPACT).num_steps > 0


@pytest.mark.parametrize(
    ("name", "parameters", "learning_rate"),
    [
        ("exp2.1-135m", 205_149_568, 0.0042426),
        ("exp2.1-0.6b", 736_698_368, 0.0042426),
        ("exp2.1-1.7b", 2_001_871_872, 0.0030000),
        ("exp2.1-4b", 4_374_089_216, 0.0026833),
    ],
)
def test_cold_start_models_have_the_published_numbers(name: str, parameters: int, learning_rate: float):
    resolved = resolve(find_recipe(name)[1], MARIN_MIMI)
    assert resolved.model.vocab_size == 144_644
    assert resolved.model.num_parameters == parameters
    assert resolved.num_steps == 238_419
    assert resolved.peak_learning_rate == pytest.approx(learning_rate, abs=5e-8)
    weights = resolved.mixture.weights(0)
    assert weights == pytest.approx(
        {"yodas2/en": 0.51639, "emilia-yodas/en": 0.28776, "emilia/en": 0.14585, "nemotron_cc/hq_actual": 0.05},
        abs=5e-6,
    )


def test_the_quickstart_is_small_and_changes_its_documents_on_the_way():
    resolved = resolve(find_recipe("quickstart")[1], COMPACT)
    assert resolved.model.num_parameters < 6e6
    assert [set(stage.weights) for stage in resolved.mixture.stages] == [{"asr-2book", "tts-2book"}, {"asr", "tts"}]


def test_an_unknown_recipe_is_answered_with_its_neighbours():
    with pytest.raises(InputError, match=r"no recipe `exp2\.1-4`; did you mean exp2\.1-4b"):
        find_recipe("exp2.1-4")
