"""`audio-train show` says of every number where it comes from."""

import json

import pytest
from click.testing import CliRunner

from audio_train.cli import main


def shown(*words: str) -> dict[str, tuple[str, str]]:
    """Value and origin of each line by its path."""
    out = CliRunner().invoke(main, ["show", *words], catch_exceptions=False).stdout
    lines = [line.partition(" = ") for line in out.splitlines() if not line.startswith("#")]
    parts = {path: rest.partition("  # ") for path, _, rest in lines}
    return {path: (value, origin) for path, (value, _, origin) in parts.items()}


def test_every_given_and_derived_number_has_an_origin():
    for path, (_, origin) in shown("exp2.1-135m").items():
        assert origin or path in ("fingerprint", "datasets"), path


@pytest.mark.parametrize(
    ("words", "path", "value", "origin"),
    [
        (["exp2.1-135m"], "derived.num_steps", "238419", "500,000,000,000 tokens / 2,097,152 per step, rounded up"),
        (["exp2.1-4b"], "derived.num_parameters", "4374089216", "3,633,511,936 in the body + 2 x 144,644 x 2,560"),
        (
            ["exp2.1-135m"],
            "derived.peak_learning_rate",
            "0.004",
            "inverse_sqrt_width: 0.003 sqrt(512/256) sqrt(1024/1024)",
        ),
        (["exp1.7-semantic"], "derived.peak_learning_rate", "0.002", "sqrt_width: 0.002 sqrt(128/256) sqrt(2048/"),
        (["exp1.6-9e18-d768"], "derived.peak_learning_rate", "0.0024", "rule isoflop: 0.33 sqrt(32) / 768"),
        (["exp1.3-mls-en"], "derived.warmup_steps", "2400", "0.01 of (190,000 + 50,000) steps, truncated"),
        (["sft-cvss-method1-qwen3x-0.6b"], "derived.warmup_steps", "858", "the decay replaces it from step 0 on"),
        (["exp2.2-0.6b"], "run.init.vocabulary_init", '"unit_logits"', "not used: the weights are read"),
        (["exp1.3-mls-en"], "derived.first_step", "190000", "step of the checkpoint that the run continues"),
        (
            ["exp1.3-mls-en"],
            "run.init.state",
            '"continue"',
            "recipe: the whole training state, as the source's trainer",
        ),
        (
            ["exp2.2-0.6b"],
            "run.init.rope_and_epsilon_of",
            '"run"',
            "recipe: the run's: the source's trainer loads weights into",
        ),
        (
            ["finetune-cvss-qwen3x-0.6b"],
            "run.init.rope_and_epsilon_of",
            '"run"',
            "recipe: the run's: the source's trainer",
        ),
        (
            ["exp2.2-weights-function-0.6b"],
            "run.init.rope_and_epsilon_of",
            '"weights"',
            "recipe: the weights': rotary base 1e6",
        ),
        (["exp1.3-mls-en"], "run.loss.z_loss_weight", "0.0", "recipe: the source's helper leaves it out"),
        (["exp2.1-135m"], "run.optimizer.beta1", "0.98", "recipe"),
        (["exp2.1-135m"], "run.data.positions", '"continue"', "default"),
        (["exp2.1-135m", "--set", "optimizer.beta1=0.9"], "run.optimizer.beta1", "0.9", "--set"),
        (["exp2.1-135m", "--scale", "smoke"], "run.data.seq_len", "512", "scale smoke"),
        (["exp2.1-135m", "--scale", "smoke"], "run.optimizer.beta1", "0.98", "recipe"),
    ],
)
def test_origins_are_right(words: list[str], path: str, value: str, origin: str):
    found_value, found_origin = shown(*words)[path]
    assert found_value.startswith(value)
    assert origin in found_origin


@pytest.mark.parametrize(
    ("name", "path", "value", "source"),
    [
        ("exp2.1-4b", "run.optimizer.cautious_mean", '"stacked"', "Levanter `optim/cautious.py`, `scan_layers=True`"),
        ("exp1.6-9e18-d768", "run.init.vocabulary_init", '"haliax"', "`nn/embedding.py`, `nn/linear.py`"),
        ("sft-cvss-method1-soda-p", "run.data.seq_len", "4096", "SEQ_LEN of 2,048 only counts steps"),
        ("sft-cvss-method1-soda-p", "run.steps", "28615", "with rows of 4,096 are ten"),
        ("exp2.2-0.6b", "run.init.kind", '"model"', "the source reads them through bfloat16"),
        ("exp1.4-text-5", "run.intervals.evaluation.every_steps", "1000", "Marin `default_train`: Paloma"),
        ("exp1.2-mix3-v1", "run.tokens", "3000000000.0", "every stored version of the script"),
        ("exp1978-dclm-10", "run.model.layers", "6", "d237cae3"),
        ("exp1.3-mls-en", "run.data.remainder", '"largest_corpus"', "Levanter `data/mixture.py`"),
        ("exp1.7-semantic", "run.intervals.max_bad_steps", "8", "the source takes it"),
        ("exp1.1", "run.tokens", "500000000000.0", "its description says 350B"),
        ("exp1.6-9e18-d768", "run.model.layers", "8", "the paper shows 64"),
    ],
)
def test_where_the_study_is_followed_its_source_is_named(name: str, path: str, value: str, source: str):
    found_value, found_origin = shown(name)[path]
    assert found_value == value
    assert found_origin.startswith("recipe: ")
    assert source in found_origin


def test_a_choice_for_one_value_is_not_said_of_another():
    scratch, weights = (shown(f"sft-cvss-method1-{start}") for start in ("scratch", "soda-p"))
    assert scratch["run.init.kind"] == ('"scratch"', "default")
    assert scratch["run.init.rope_and_epsilon_of"][1] == scratch["run.init.source"][1] == "default"
    assert scratch["run.init.vocabulary_init"][1] == "recipe: from scratch: haliax's"
    assert weights["run.init.kind"][1].startswith("recipe: published weights are read")
    assert weights["run.init.vocabulary_init"] == ('"unit_logits"', "not used: the weights are read")
    assert weights["run.init.source"][1] == "recipe"
    assert "in its own vocabulary" in shown("sft-cvss-method1-soda-600m-warm")["run.init.source"][1]


def test_the_document_holds_the_study_and_the_origins():
    out = CliRunner().invoke(main, ["show", "exp1.4-text-5", "--json"], catch_exceptions=False).stdout
    found = json.loads(out)
    assert found["origins"]["run.data.mixture"] == "mixture text_5"
    assert "5 %" in found["experiment"]["reported"]
