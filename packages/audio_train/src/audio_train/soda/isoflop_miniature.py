"""An isoFLOP sweep for two CPU cores: models of several widths at three budgets, on the first codebook only.

With all eight codebooks (16,384 ids) a model reads so few tokens in a minute that the narrowest is always best. With
the 2,048 ids of the first codebook the minimum is between the sizes.
"""

from audio_train.config import DataSpec, EvaluationSpec, Intervals, LossSpec, ModelShape, OptimizerSpec, TrainRun
from audio_train.recipes.experiment import Experiment, runs_by_name
from audio_train.resolved import model_config
from audio_train.soda.catalogue import SMALL, WARMUP_STABLE_DECAY, mixture, run_name

BUDGETS_FLOPS = (2e11, 4e11, 8e11)
"""Budgets in FLOPs, forward and backward pass."""
WIDTHS = (8, 16, 24, 32, 48, 64)

_CORPUS = "yodas2-semantic/en"
_ROW_TOKENS = 256
_HEAD_DIM = 8
_HELDOUT_ROWS = 18


def _model(width: int) -> ModelShape:
    """Model with one layer per 32 and one head per 8 of the width; `mlp` is four times the width, as in the study."""
    heads = width // _HEAD_DIM
    return ModelShape(
        embed=width,
        mlp=4 * width,
        layers=max(1, width // 32),
        heads=heads,
        kv_heads=heads,
        head_dim=_HEAD_DIM,
        tied=False,
    )


def _run(budget_flops: float, width: int) -> TrainRun:
    """Run of a width at a budget, with one row per step."""
    model = _model(width)
    flops_per_token = 3 * model_config(model, SMALL).forward_flops_per_token(_ROW_TOKENS)
    steps = round(budget_flops / (flops_per_token * _ROW_TOKENS))
    return TrainRun(
        name=run_name("isoflop-miniature", f"{budget_flops:.0e}".replace("e+", "e"), f"d{width}"),
        model=model,
        data=DataSpec(mixture=mixture(_CORPUS), seq_len=_ROW_TOKENS, batch_size=1),
        optimizer=OptimizerSpec(
            name="cautious_adamc",
            learning_rate=0.01,
            beta1=0.95,
            beta2=0.98,
            epsilon=1e-15,
            weight_decay=0.1,
        ),
        schedule=WARMUP_STABLE_DECAY,
        loss=LossSpec(kind="full"),
        steps=steps,
        intervals=Intervals(
            checkpoint_seconds=60.0,
            evaluation=EvaluationSpec((f"heldout/{_CORPUS}",), every_steps=steps, num_batches=_HELDOUT_ROWS),
        ),
    )


EXPERIMENT = Experiment(
    name="isoflop-miniature",
    question="Where does the best split of a budget between parameters and tokens lie, when the budget is a minute?",
    source="this project's own miniature of `exp1.6`",
    runs=runs_by_name(*(_run(budget, width) for budget in BUDGETS_FLOPS for width in WIDTHS)),
    vocabulary=SMALL,
    derived={"model": "the width", "steps": "the budget and the width"},
    choices={
        "data.mixture": "the first codebook alone: with all eight the narrowest model is always best",
        "optimizer.learning_rate": "one for all: the rule of the study's sweep is for models a hundred times as wide",
    },
    fixed_size=True,
)
