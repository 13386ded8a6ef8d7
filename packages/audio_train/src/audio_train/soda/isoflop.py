"""The study's isoFLOP grid, and the runs of its sweep and of the wider target models.

The grid gives model, batch size, steps and learning rate for every width and compute budget.

Source: `isoflop_audio_sweep.py` and `isoflop_audio_target.py` of Marin's audio experiments.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from audio_model import Qwen3xConfig, grid_config
from audio_train.config import LearningRateRule, LossSpec, ModelShape, OptimizerSpec, TrainRun
from audio_train.optimization.schedules import learning_rate
from audio_train.recipes.experiment import Experiment, runs_by_name
from audio_train.soda.catalogue import (
    FROM_SCRATCH,
    MARIN_MIMI,
    PRETRAINING_CHOICES,
    WARMUP_STABLE_DECAY,
    intervals,
    run_name,
    windows,
)
from audio_train.soda.tokenization import MARIN_DOCUMENTS

GRID_SEQ_LEN = 4096
MAX_GRID_LEARNING_RATE = 0.01
MAX_GRID_STEPS = 400_000
MIN_GRID_BATCH = 8

BUDGETS_FLOPS = (1e18, 3e18, 6e18, 1e19, 3e19, 6e19, 1e20)
"""Budgets of the sweep, counting the forward pass only; the paper reports three times these values."""
TARGET_WIDTHS = {3e19: (2048,), 6e19: (2048, 2304), 1e20: (2048, 2304, 2816, 3072)}
"""Target widths beyond the sweep, by budget counting the forward pass only."""
ISOFLOP_RULE = LearningRateRule("isoflop", 0.33)

V5P_CORES = (8, 16, 32, 128, 256, 512)
V5P_CHIP_BYTES = 95 * 2**30
V5P_CORES_PER_CHIP = 2


@dataclass(frozen=True)
class IsoflopPoint:
    """One model of an isoFLOP budget.

    Attributes:
        budget_flops: The budget, counting the forward pass only.
        model: The model's configuration.
        batch_size: Rows of 4,096 tokens in a step.
        steps: Steps that spend the budget.
        learning_rate: Peak learning rate.
        beta2: Decay of the second moment.
        is_target: Whether it is a target, beyond the sweep.
    """

    budget_flops: float
    model: Qwen3xConfig
    batch_size: int
    steps: int
    learning_rate: float
    beta2: float
    is_target: bool = False

    @property
    def label(self) -> str:
        """Budget, as in the paper, and width, such as "1.8e19-d512"."""
        return f"{self.training_budget_flops:.2g}-d{self.model.embed}".replace("e+", "e")

    @property
    def tokens(self) -> int:
        """Tokens that the run reads."""
        return self.steps * self.batch_size * GRID_SEQ_LEN

    @property
    def training_budget_flops(self) -> float:
        """Budget that counts the backward pass as twice the forward pass, as in the paper."""
        return 3 * self.budget_flops

    @property
    def v5p_cores(self) -> int:
        """Cores of the smallest TPU v5p slice with enough memory by the formula of the sweep.

        Twice the sum of 12 bytes a parameter and, for each token of a batch, `embed * layers + 2 * vocab_size` bytes.

        Source: `pick_v5p_type` of `isoflop_audio_sweep.py`. Changed: parameters are counted exactly.
        """
        model = self.model
        activations = self.batch_size * GRID_SEQ_LEN * (model.embed * model.layers + 2 * model.vocab_size)
        num_chips = math.ceil(2 * (12 * model.num_parameters + activations) / V5P_CHIP_BYTES)
        return next(cores for cores in V5P_CORES if cores >= num_chips * V5P_CORES_PER_CHIP)

    @property
    def in_sweep(self) -> bool:
        """Whether batch size, steps and spent budget of the point are within the limits of the sweep."""
        spent = self.steps * self.batch_size * GRID_SEQ_LEN * self.model.forward_flops_per_token(GRID_SEQ_LEN)
        close = abs(spent - self.budget_flops) <= 0.01 * self.budget_flops
        return self.batch_size >= MIN_GRID_BATCH and self.steps < MAX_GRID_STEPS and close


def isoflop_point(budget_flops: float, embed: int, vocab_size: int) -> IsoflopPoint:
    """Compute batch size, steps, learning rate and beta2 of a width at a budget.

    The batch size is the power of two at or above budget / (F S 2^16), where F is forward FLOPs per token and S the row
    length, halved until the learning rate is at most 0.01.

    Args:
        budget_flops: Forward FLOPs to spend.
        embed: Width of the model, a multiple of 128.
        vocab_size: Number of token ids.

    Returns:
        The point, even if it is outside the limits of the sweep.

    Source: `isoflop_audio_sweep.py` of Marin's audio experiments. Its budgets leave out the backward pass.
    """
    model = grid_config(embed, vocab_size)
    flops_per_row = model.forward_flops_per_token(GRID_SEQ_LEN) * GRID_SEQ_LEN
    batch_size = 2 ** math.ceil(math.log2(budget_flops / (flops_per_row * 65536)))
    while learning_rate(ISOFLOP_RULE, batch_size=batch_size, width=embed) > MAX_GRID_LEARNING_RATE:
        batch_size //= 2
    return IsoflopPoint(
        budget_flops=budget_flops,
        model=model,
        batch_size=batch_size,
        steps=round(budget_flops / (flops_per_row * batch_size)) if batch_size else 0,
        learning_rate=learning_rate(ISOFLOP_RULE, batch_size=batch_size, width=embed),
        beta2=0.98 ** (batch_size / 128),
    )


def isoflop_sweep(budget_flops: float, vocab_size: int) -> list[IsoflopPoint]:
    """Points of the sweep at a budget: widths 128 to 2,048, in steps of 128 up to 9e18 forward FLOPs, else of 256.

    Args:
        budget_flops: Forward FLOPs to spend.
        vocab_size: Number of token ids.

    Returns:
        Points within the limits, narrowest first.
    """
    widths = range(128, 2049, 128 if budget_flops <= 9e18 else 256)
    points = [isoflop_point(budget_flops, width, vocab_size) for width in widths]
    return [point for point in points if point.in_sweep]


def isoflop_grid(vocab_size: int) -> list[IsoflopPoint]:
    """All points of the grid: sweep and targets, ordered by budget and width.

    Args:
        vocab_size: Number of token ids.
    """
    points: list[IsoflopPoint] = []
    for budget in BUDGETS_FLOPS:
        targets = (isoflop_point(budget, width, vocab_size) for width in TARGET_WIDTHS.get(budget, ()))
        points += [*isoflop_sweep(budget, vocab_size), *(replace(point, is_target=True) for point in targets)]
    return points


def grid_rows(vocab_size: int) -> list[dict[str, Any]]:
    """All points of the grid as JSON, with budgets in both conventions.

    Args:
        vocab_size: Number of token ids.
    """
    return [_row(point) for point in isoflop_grid(vocab_size)]


def _row(point: IsoflopPoint) -> dict[str, Any]:
    model = point.model
    return {
        "recipe": f"exp1.6-{point.label}",
        "budget_forward_flops": point.budget_flops,
        "budget_training_flops": point.training_budget_flops,
        "kind": "target" if point.is_target else "sweep",
        "embed": model.embed,
        "layers": model.layers,
        "heads": model.heads,
        "batch_size": point.batch_size,
        "steps": point.steps,
        "learning_rate": point.learning_rate,
        "beta2": point.beta2,
        "num_parameters": model.num_parameters,
        "num_body_parameters": model.body_parameters,
        "num_tokens": point.tokens,
        "spent_forward_flops": model.forward_flops_per_token(GRID_SEQ_LEN) * point.tokens,
        "tpu": f"v5p-{point.v5p_cores}",
    }


def _run(point: IsoflopPoint) -> TrainRun:
    model = point.model
    return TrainRun(
        name=run_name("exp1.6", point.label),
        model=ModelShape(
            embed=model.embed,
            mlp=model.mlp,
            layers=model.layers,
            heads=model.heads,
            kv_heads=model.kv_heads,
            head_dim=model.head_dim,
            tied=model.tied,
        ),
        data=windows("soda", batch_size=point.batch_size),
        optimizer=OptimizerSpec(
            name="cautious_adamc",
            learning_rate=ISOFLOP_RULE,
            beta1=0.95,
            beta2=point.beta2,
            epsilon=1e-15,
            weight_decay=0.1,
            cautious_mean="stacked",
        ),
        schedule=WARMUP_STABLE_DECAY,
        loss=LossSpec(kind="full"),
        steps=point.steps,
        init=FROM_SCRATCH,
        precision="bfloat16",
        remat="full",
        intervals=intervals(point.batch_size),
    )


_GRID = isoflop_grid(MARIN_MIMI.size)
POINTS = {_run(point).name: point for point in _GRID}
"""Grid point of each run."""

_RUNS = runs_by_name(*map(_run, _GRID))
_OPTIMAL = "named by the authors as near the optimum of its budget"

EXPERIMENT = Experiment(
    name="exp1.6",
    question="How should a budget of compute be split between parameters and tokens?",
    source="Marin `experiments/audio/isoflop_audio_sweep.py`, `isoflop_audio_target.py`, the isoFLOP sweep",
    runs=_RUNS,
    reported={
        "exp1.6-9e19-d1408": f"ASR WER 15.5, TTS WER 10.2, TTS similarity .504; {_OPTIMAL}",
        "exp1.6-1.8e20-d1664": f"ASR WER 11.9, TTS WER 9.5, TTS similarity .525; {_OPTIMAL}",
    },
    vocabulary=MARIN_MIMI,
    aliases={
        name: f"{'target' if point.is_target else 'discrete-audio-isoflop'}, budget {point.budget_flops:.0e} without "
        f"the backward pass, d{point.model.embed}-L{point.model.layers}-B{point.batch_size}"
        for name, point in POINTS.items()
    },
    derived=dict.fromkeys(
        ("model", "data.batch_size", "optimizer.beta2", "steps"),
        "the budget and the width; take another point of `audio-train soda grid`",
    ),
    choices={
        **PRETRAINING_CHOICES,
        "model": "66 points, 59 of the sweep and 7 targets; the paper shows 64 and does not say which two are missing",
        "steps": "from the budget, which the source counts without the backward pass; names carry the paper's budget, "
        "three times that",
        "data.batch_size": "the power of two at or above budget / (row's FLOPs x 65,536), halved until the learning "
        "rate is at most 0.01",
        "optimizer.beta2": "0.98 to the power of batch/128",
        "loss.z_loss_weight": "the sweep has none, unlike the study's other runs",
        "data.mixture": f"the main mixture, with its 5 % of text; {MARIN_DOCUMENTS}",
    },
)
