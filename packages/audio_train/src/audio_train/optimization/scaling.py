"""Peak learning rates from batch size and model width, by named rules.

| rule | peak learning rate |
|---|---|
| `inverse_sqrt_width` | base sqrt(batch/256) sqrt(1024/width) |
| `sqrt_width` | base sqrt(batch/256) sqrt(width/1024) |
| `batch` | base sqrt(batch/256) |
| `isoflop` | base sqrt(batch) / width |
"""

import math

from audio_train.config import LearningRateRule


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
