import jax
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_data import InputError
from audio_train import LearningRateRule, ScheduleSpec, learning_rate, schedule
from audio_train.optimization.schedules import step_counts


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


PEAK = 0.003


def joined_pieces(spec: ScheduleSpec, num_steps: int) -> optax.Schedule:
    """The study's construction: warm-up, constant and decay joined at boundaries that may go backwards."""
    warmup, decay = int(spec.warmup * num_steps), int((spec.decay or 0) * num_steps)
    last = PEAK * spec.min_ratio
    falling = {
        "linear": optax.linear_schedule(PEAK, last, max(decay, 1)),
        "cosine": optax.cosine_decay_schedule(PEAK, max(decay, 1), spec.min_ratio),
    }[spec.shape]
    pieces = [optax.linear_schedule(0.0, PEAK, max(warmup, 1)), optax.constant_schedule(PEAK), falling]
    return optax.join_schedules(pieces, [warmup, num_steps - decay])


def values(spec: ScheduleSpec, num_steps: int) -> np.ndarray:
    # One shape for all lengths, so that nothing is compiled twice.
    return np.asarray(schedule(spec, PEAK, num_steps)(np.arange(1000)))[:num_steps]


def test_the_published_runs_have_the_published_boundaries():
    assert step_counts(ScheduleSpec(warmup=0.1, decay=0.2), 238_419) == (23_841, 190_736, 47_683)


@settings(max_examples=20, deadline=None)
@given(
    shape=st.sampled_from(["linear", "cosine"]),
    warmup=st.sampled_from([0.0, 0.05, 0.1, 0.3]),
    decay=st.sampled_from([0.1, 0.2, 0.7]),
    min_ratio=st.sampled_from([0.0, 0.1]),
    num_steps=st.integers(20, 200),
)
def test_values_equal_joined_optax_pieces(shape, warmup, decay, min_ratio, num_steps):
    spec = ScheduleSpec(shape=shape, warmup=warmup, decay=decay, min_ratio=min_ratio)
    with jax.numpy_dtype_promotion("standard"):
        expected = np.asarray(joined_pieces(spec, num_steps)(np.arange(200)))[:num_steps]
    np.testing.assert_allclose(values(spec, num_steps), expected, rtol=2e-6, atol=1e-9)


def test_a_decay_over_the_whole_run_skips_the_warmup_only_by_name():
    faithful = ScheduleSpec(shape="cosine", warmup=0.03, decay=1.0, min_ratio=0.1, on_overlap="skip_warmup")
    corrected = ScheduleSpec(shape="cosine", warmup=0.03, decay=1.0, min_ratio=0.1)
    progress = np.arange(1000) / 1000
    cosine = PEAK * (0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * progress)))
    np.testing.assert_allclose(values(faithful, 1000), cosine, rtol=1e-5)
    rising = values(corrected, 1000)
    np.testing.assert_allclose(rising[:30], PEAK * np.arange(30) / 30, rtol=1e-5)
    assert rising.argmax() == 30


def test_lengths_above_one_are_steps():
    assert step_counts(ScheduleSpec(warmup=10.0, decay=25.0), 100) == (10, 75, 25)


@pytest.mark.parametrize("shape", ["linear", "cosine"])
@pytest.mark.parametrize("decay", [1, 2, 3])
def test_the_shortest_decays_end_at_the_last_value(shape, decay: int):
    """One step, two and three: at `step` the share of the decay is what lies before it."""
    found = schedule(ScheduleSpec(shape=shape, warmup=0.0, decay=decay / 10, min_ratio=0.25), PEAK, 10)
    values = [float(found(step)) for step in range(10 - decay, 11)]
    shares = np.arange(decay + 1) / decay
    left = 1 - shares if shape == "linear" else (1 + np.cos(np.pi * shares)) / 2
    np.testing.assert_allclose(values, PEAK * (0.25 + 0.75 * left), rtol=1e-6)


def test_no_decay_length_means_all_that_follows_the_warmup():
    assert step_counts(ScheduleSpec(warmup=0.1, decay=None), 100) == (10, 10, 90)


def test_a_warmup_longer_than_the_run_is_refused():
    with pytest.raises(InputError, match=r"schedule\.warmup.*100 steps"):
        step_counts(ScheduleSpec(warmup=101.0), 100)


def test_another_length_does_not_compile_again():
    traces = []

    @jax.jit
    def rate(schedule, step):
        traces.append(step)
        return schedule(step)

    for num_steps in (100, 200):
        rate(schedule(ScheduleSpec(), PEAK, num_steps), 5)
    assert len(traces) == 1
