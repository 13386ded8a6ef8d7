"""Numbers of learning rates: the peak by batch size and model width, and the lengths of the parts of a schedule.

The peak learning rate follows one of these rules:

| rule | peak learning rate |
|---|---|
| `inverse_sqrt_width` | base sqrt(batch/256) sqrt(1024/width) |
| `sqrt_width` | base sqrt(batch/256) sqrt(width/1024) |
| `batch` | base sqrt(batch/256) |
| `isoflop` | base sqrt(batch) / width |

A schedule is a linear warm-up, a constant learning rate, and a linear or cosine decay (`warmup_stable_decay`). Here are
its numbers, which recipes need; this module imports no JAX, so listing recipes is quick.
"""

import math

from audio_data import InputError
from audio_train.config import LearningRateRule, ScheduleSpec


def learning_rate(rule: LearningRateRule, *, batch_size: int, width: int) -> float:
    """Compute the peak learning rate of a rule.

    Args:
        rule: Name, base and optional width of the rule.
        batch_size: Rows in a step.
        width: Width of the model's residual stream.

    Returns:
        The peak learning rate.
    """
    width = rule.width or width
    by_batch = math.sqrt(batch_size / 256)
    factors = {
        "inverse_sqrt_width": by_batch * math.sqrt(1024 / width),
        "sqrt_width": by_batch * math.sqrt(width / 1024),
        "batch": by_batch,
        "isoflop": math.sqrt(batch_size) / width,
    }
    return rule.base * factors[rule.rule]


def step_counts(spec: ScheduleSpec, num_steps: int) -> tuple[int, int, int]:
    """Lengths of a schedule in whole steps.

    A length above 1 is a number of steps, any other a fraction of `num_steps` truncated to an integer. With
    `on_overlap="skip_warmup"` the decay starts at `max(0, num_steps - decay)`, even inside the warm-up.

    Args:
        spec: The schedule.
        num_steps: Steps of the run, including those of a run that it continues.

    Returns:
        Warm-up steps, the first step of the decay, decay steps.

    Raises:
        InputError: The warm-up or the decay is longer than the run.
    """
    warmup = _length("warmup", spec.warmup, num_steps)
    decay = num_steps - warmup if spec.decay is None else _length("decay", spec.decay, num_steps)
    if spec.on_overlap == "shorten_decay":
        decay = min(decay, num_steps - warmup)
    return warmup, num_steps - decay, decay


def anneal_peak(learning_rate: float, *, first_step: int, num_steps: int) -> float:
    """Peak of the linear decay to 0 that has a given learning rate `num_steps` before its end.

    Args:
        learning_rate: Learning rate at which the anneal begins.
        first_step: Steps of the run that the anneal continues.
        num_steps: Steps of the anneal.

    Returns:
        `learning_rate (first_step + num_steps) / num_steps`.

    Source: the anneal helper of Marin's audio experiments (`audio_defaults.py`), which ignores its own short warm-up:
    with one of W updates the learning rate there is `learning_rate N / (N - W)`, where N is the sum of both lengths.
    """
    return learning_rate * (first_step + num_steps) / num_steps


def _length(name: str, length: float, num_steps: int) -> int:
    steps = int(length) if length > 1 else int(length * num_steps)
    if steps > num_steps:
        raise InputError(f"`schedule.{name}` must be at most the run's {num_steps} steps, got {length!r}.")
    return steps
