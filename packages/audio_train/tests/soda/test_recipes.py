import pytest

from audio_data import InputError, Vocabulary, from_json, to_json
from audio_train import experiments, find_recipe, resolve
from audio_train.soda.catalogue import MARIN_MIMI

COMPACT = Vocabulary.compact("compact", 128, "embedded-v1", num_codebooks=8, codebook_size=2048, text_tokenizer="x")
NAMES = [name for study in experiments().values() for name in study.runs]


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


def test_anneals_continue_the_whole_training_state():
    """Steps 190,000 to 240,000, on a line that passes the first run's peak (1 % above it, for the warm-up)."""
    anneals = {
        name: run
        for study in experiments().values()
        for name, run in study.runs.items()
        if run.init.kind == "checkpoint"
    }
    del anneals["grammar-loss-finish"]
    assert len(anneals) == 9
    for run in anneals.values():
        resolved = resolve(run, MARIN_MIMI)
        base, at, _ = (run.init.source or "").partition("@")
        before = resolve(find_recipe(base)[1], MARIN_MIMI)
        assert (at, run.init.state) == ("@", "continue")
        assert (resolved.first_step, resolved.last_step) == (190_000, 240_000)
        assert resolved.num_tokens == 50_000 * 512 * 4096
        rate = before.peak_learning_rate / 0.99
        assert float(resolved.learning_rate(190_000)) == pytest.approx(rate, rel=1e-6)
        assert float(resolved.learning_rate(215_000)) == pytest.approx(rate / 2, rel=1e-6)


def test_starts_from_qwen3x_take_the_run_s_function_and_their_twins_the_weights():
    own = ("llama3", 500_000.0, 1e-5)
    found = {
        name: (run.init.rope_and_epsilon_of, (run.model.rope_scaling, run.model.rope_theta, run.model.rms_epsilon))
        for study in experiments().values()
        for name, run in study.runs.items()
        if "qwen3x" in (run.init.source or "")
    }
    twins = {f"exp2.2-weights-function-{size}" for size in ("0.6b", "1.7b")}
    assert {name for name, held in found.items() if held == ("weights", ("none", 1e6, 1e-6))} == twins
    others = {"exp2.2-0.6b", "exp2.2-1.7b", "finetune-cvss-qwen3x-0.6b"}
    others |= {f"sft-cvss-{method}-qwen3x-0.6b" for method in ("method1", "method2")}
    assert {name for name, held in found.items() if held == ("run", own)} == others
    assert set(found) == twins | others


def test_the_quickstart_is_small_and_changes_its_documents_on_the_way():
    resolved = resolve(find_recipe("quickstart")[1], COMPACT)
    assert resolved.model.num_parameters < 6e6
    assert [set(stage.weights) for stage in resolved.mixture.stages] == [{"asr-2book", "tts-2book"}, {"asr", "tts"}]


def test_an_unknown_recipe_is_answered_with_its_neighbours():
    with pytest.raises(InputError, match=r"no recipe `exp2\.1-4`; did you mean exp2\.1-4b"):
        find_recipe("exp2.1-4")
