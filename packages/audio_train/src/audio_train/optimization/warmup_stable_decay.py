"""The learning rate of a run as a function of its updates: warm-up, constant, decay.

Its numbers are pytree leaves, not constants of the compiled step. A run of another length reuses the compiled step, and
a run can be timed before its length is fixed.
"""

from dataclasses import replace
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from audio_train.config import ScheduleSpec
from audio_train.optimization.schedules import step_counts


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
