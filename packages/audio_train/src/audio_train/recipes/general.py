"""Recipes for one's own data: all datasets of the folder, whole documents, models of 5M, 30M and 135M parameters.

The sizes are those with a vocabulary of 16,800 ids, as of the codec that ships; a larger vocabulary adds rows of the
model's width. `--start MODEL` takes the shape of a model instead. Rows become as long as the longest document of the
data, with as many tokens in a step, up to the model's context, unless `--set` states them. Learning rates and batches
of the two larger models are starting points that were not tuned.
"""

from dataclasses import replace

from audio_train.config import (
    ALL_DATASETS,
    DataSpec,
    Intervals,
    LossSpec,
    MixtureStage,
    ModelShape,
    OptimizerSpec,
    ScheduleSpec,
    TrainRun,
)
from audio_train.recipes.experiment import Experiment, runs_by_name

_SMALL = TrainRun(
    name="own-5m",
    model=ModelShape(embed=192, mlp=512, layers=4, heads=3, kv_heads=3, head_dim=64),
    data=DataSpec(
        mixture=(MixtureStage(0.0, {ALL_DATASETS: 1.0}),),
        seq_len=1024,
        batch_size=4,
        packing="best_fit",
        positions="reset",
        mixture_block=64,
    ),
    optimizer=OptimizerSpec(name="muon", learning_rate=2e-3, weight_decay=0.05),
    schedule=ScheduleSpec(warmup=0.05, decay=0.3),
    steps=4000,
    intervals=Intervals(checkpoint_seconds=300.0),
)


def _larger(name: str, model: ModelShape, rows: int, learning_rate: float, steps: int) -> TrainRun:
    """Return the recipe with another model, and with rows of 2,048 tokens."""
    return replace(
        _SMALL,
        name=name,
        model=model,
        data=replace(_SMALL.data, seq_len=2048, batch_size=rows),
        optimizer=replace(_SMALL.optimizer, learning_rate=learning_rate),
        steps=steps,
        precision="bfloat16",
    )


_MEDIUM = ModelShape(embed=512, mlp=1536, layers=6, heads=8, kv_heads=8, head_dim=64)
_LARGE = ModelShape(embed=768, mlp=2304, layers=16, heads=12, kv_heads=12, head_dim=64)
ADAPT = replace(
    _SMALL,
    name="adapt",
    optimizer=OptimizerSpec(name="adamw", learning_rate=5e-4, weight_decay=0.0),
    schedule=ScheduleSpec(warmup=0.05, decay=None),
    loss=LossSpec(),
    steps=600,
    intervals=Intervals(checkpoint_seconds=60.0, keep_last=2),
)
"""The run of `audio-train adapt`: from the weights of a model, with a learning rate that falls from the first step."""

EXPERIMENTS = (
    Experiment(
        name="own-data",
        question="Train on your own datasets: all of the folder, or those of --mixture.",
        source="audio_train.recipes.general",
        fits_rows=True,
        runs=runs_by_name(
            _SMALL,
            _larger("own-30m", _MEDIUM, rows=32, learning_rate=1e-3, steps=10_000),
            _larger("own-135m", _LARGE, rows=64, learning_rate=6e-4, steps=20_000),
            ADAPT,
        ),
    ),
)
