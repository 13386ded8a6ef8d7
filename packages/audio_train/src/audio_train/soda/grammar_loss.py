"""A softmax over the ids that the grammar allows, compared with one over all ids.

The study has no such loss; this is an experiment of this project, at smoke scale. All three runs read the same tokens
under one schedule. The last continues the factored run from the start of its decay, and trains the decay, a fifth of
the run, on the whole vocabulary.
"""

from dataclasses import replace

from audio_train.config import (
    DataSpec,
    EvaluationSpec,
    InitSpec,
    Intervals,
    LossSpec,
    ModelShape,
    OptimizerSpec,
    ScheduleSpec,
    TrainRun,
)
from audio_train.recipes.experiment import Experiment, runs_by_name
from audio_train.soda.catalogue import SMALL, mixture, run_name

_STEPS, _FINISH = 400, 320

FULL = TrainRun(
    name=run_name("grammar-loss", "full"),
    model=ModelShape(embed=64, mlp=192, layers=3, heads=4, kv_heads=2, head_dim=16, tied=False),
    data=DataSpec(mixture=mixture("yodas2/en"), seq_len=512, batch_size=2),
    optimizer=OptimizerSpec(
        name="cautious_adamc", learning_rate=0.01, beta1=0.95, beta2=0.98, epsilon=1e-15, weight_decay=0.033
    ),
    schedule=ScheduleSpec(shape="linear", warmup=0.1, decay=0.2),
    loss=LossSpec(kind="full"),
    steps=_STEPS,
    intervals=Intervals(
        checkpoint_seconds=60.0, evaluation=EvaluationSpec(("heldout/yodas2/en",), every_steps=_STEPS, num_batches=8)
    ),
)
"""The run over all ids: the smallest configuration with all codebooks."""

_FACTORED = replace(
    FULL,
    name=run_name("grammar-loss", "factored"),
    loss=LossSpec(kind="grammar"),
    intervals=replace(FULL.intervals, keep_every_steps=_FINISH),
)
_FINISHED = replace(
    FULL,
    name=run_name("grammar-loss", "finish"),
    steps=_STEPS - _FINISH,
    init=InitSpec(kind="checkpoint", source=f"{_FACTORED.name}@{_FINISH}", state="continue"),
)

EXPERIMENT = Experiment(
    name="grammar-loss",
    question="Does a softmax over the allowed ids alone learn as much, and what becomes of the ids it never compares?",
    source="this project's own miniature",
    runs=runs_by_name(FULL, _FACTORED, _FINISHED),
    vocabulary=SMALL,
    fixed_size=True,
    derived={"init.source": "the step at which the learning rate of the factored run begins to fall"},
)
