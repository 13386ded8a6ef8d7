import pytest

from audio_train import LearningRateRule, learning_rate


@pytest.mark.parametrize(
    ("rule", "batch_size", "width", "expected"),
    [
        (LearningRateRule("inverse_sqrt_width", 0.003), 512, 2560, 0.0026833),  # 4B
        (LearningRateRule("inverse_sqrt_width", 0.003), 512, 2048, 0.0030000),  # 1.7B
        (LearningRateRule("inverse_sqrt_width", 0.003), 512, 1024, 0.0042426),  # 600M
        (LearningRateRule("inverse_sqrt_width", 0.003, width=1024), 512, 512, 0.0042426),  # 135M
        (LearningRateRule("batch", 0.003), 128, 512, 0.0021213),  # text-ratio sweep
        (LearningRateRule("sqrt_width", 0.003), 128, 512, 0.0015),  # 150M data mixes
        (LearningRateRule("sqrt_width", 0.002), 128, 2048, 0.002),  # token ablation
    ],
)
def test_rules_give_the_published_learning_rates(rule, batch_size, width, expected):
    assert learning_rate(rule, batch_size=batch_size, width=width) == pytest.approx(expected, abs=5e-8)
