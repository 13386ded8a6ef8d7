"""The isoFLOP sweep: models of many widths at seven budgets, and the wider target models."""

from audio_train.config import LossSpec, ModelShape, OptimizerSpec, TrainRun
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
from audio_train.soda.isoflop_grid import ISOFLOP_RULE, IsoflopPoint, isoflop_grid
from audio_train.soda.tokenization import MARIN_DOCUMENTS


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
