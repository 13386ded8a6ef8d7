"""Learning rates: the peak by batch size and model width, and its schedule over a run.

The peak learning rate follows one of these rules:

| rule | peak learning rate |
|---|---|
| `inverse_sqrt_width` | base sqrt(batch/256) sqrt(1024/width) |
| `sqrt_width` | base sqrt(batch/256) sqrt(width/1024) |
| `batch` | base sqrt(batch/256) |
| `isoflop` | base sqrt(batch) / width |

A schedule is a linear warm-up, a constant learning rate, and a linear or cosine decay. Its numbers are pytree leaves,
not constants of the compiled step. A run of another length reuses the compiled step, and a run can be timed before its
length is fixed.
"""

import math
from dataclasses import replace
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

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


class WarmupStableDecay(eqx.Module):
    """Learning rate as a function of the number of previous updates.

    It rises linearly from 0 over `warmup_steps`, stays at `peak`, and falls from `decay_start` over `decay_steps` to
    `min_ratio * peak`. A decay that starts inside the warm-up overrides it.

    Attributes:
        peak: Highest learning rate.
        warmup_steps: Updates of the warm-up.
        decay_start: First update of the decay.
        decay_steps: Updates of the decay.
        min_ratio: Final learning rate divided by `peak`.
        shape: Shape of the decay, `"linear"` or `"cosine"`.

    Source: Levanter's learning-rate schedule ( `optim/config.py`, `lr_scheduler`): warm-up, constant and decay
    joined at step boundaries; the last part whose boundary has been reached applies.
    """

    peak: Float[Array | np.ndarray, ""]
    warmup_steps: Int[Array | np.ndarray, ""]
    decay_start: Int[Array | np.ndarray, ""]
    decay_steps: Int[Array | np.ndarray, ""]
    min_ratio: Float[Array | np.ndarray, ""]
    shape: Literal["linear", "cosine"] = eqx.field(static=True, default="linear")

    def __call__(self, count: ArrayLike) -> Float[Array, "..."]:
        """Float32 learning rate of the update that follows `count` updates."""
        step = jnp.asarray(count, jnp.float32)
        warm = step / jnp.maximum(jnp.float32(1), jnp.float32(self.warmup_steps))
        elapsed = (step - jnp.float32(self.decay_start)) / jnp.maximum(jnp.float32(1), jnp.float32(self.decay_steps))
        elapsed = jnp.clip(elapsed, 0.0, 1.0)
        remaining = 1 - elapsed if self.shape == "linear" else 0.5 * (1 + jnp.cos(jnp.pi * elapsed))
        decayed = self.min_ratio + (1 - self.min_ratio) * remaining
        before_decay = jnp.where(step < jnp.float32(self.warmup_steps), warm, 1.0)
        return jnp.asarray(self.peak) * jnp.where(step >= jnp.float32(self.decay_start), decayed, before_decay)

    def scaled(self, factor: float) -> "WarmupStableDecay":
        """Return the same schedule with the peak multiplied by `factor`."""
        return replace(self, peak=jnp.asarray(self.peak) * factor)


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


def schedule(spec: ScheduleSpec, peak: float, num_steps: int) -> WarmupStableDecay:
    """Build the schedule of a run of `num_steps` steps with the peak learning rate `peak`.

    Raises:
        InputError: The warm-up or the decay is longer than the run.
    """
    warmup, decay_start, decay = step_counts(spec, num_steps)
    return WarmupStableDecay(
        peak=np.asarray(peak, np.float32),
        warmup_steps=np.asarray(warmup, np.int32),
        decay_start=np.asarray(decay_start, np.int32),
        decay_steps=np.asarray(decay, np.int32),
        min_ratio=np.asarray(spec.min_ratio, np.float32),
        shape=spec.shape,
    )


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
