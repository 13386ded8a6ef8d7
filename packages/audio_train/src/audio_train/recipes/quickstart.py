"""The quickstart's run: a 5M-parameter model that learns speech recognition and synthesis in minutes on two CPU cores.

Five choices differ from common recipes because they learn faster at this size: text tokens have a larger weight than
the many audio tokens, documents with two codebooks precede those with eight, the softmax is over the ids that the
grammar allows, Muon, and packed whole documents.
"""

from audio_train.config import (
    DataSpec,
    InitSpec,
    Intervals,
    LossSpec,
    MixtureStage,
    ModelShape,
    OptimizerSpec,
    ScheduleSpec,
    TrainRun,
)
from audio_train.recipes.experiment import Experiment, runs_by_name

# Recognition of all voices and synthesis of one voice have the same number of rows.
ASR_SHARE = 0.5

RUN = TrainRun(
    name="quickstart",
    model=ModelShape(
        embed=192,
        mlp=512,
        layers=4,
        heads=3,
        kv_heads=3,
        head_dim=64,
        tied=True,
        rope_theta=10_000.0,
        rope_scaling="none",
        max_seq_len=512,
    ),
    data=DataSpec(
        mixture=(
            MixtureStage(0.0, {"asr-2book": ASR_SHARE, "tts-2book": 1 - ASR_SHARE}),
            MixtureStage(0.35, {"asr": ASR_SHARE, "tts": 1 - ASR_SHARE}),
        ),
        seq_len=512,
        batch_size=4,
        packing="best_fit",
        positions="reset",
        mixture_block=20,
    ),
    optimizer=OptimizerSpec(
        name="muon",
        learning_rate=2e-3,
        beta1=0.9,
        beta2=0.95,
        weight_decay=0.05,
        max_grad_norm=1.0,
        muon_learning_rate_scale=10.0,
    ),
    schedule=ScheduleSpec(shape="linear", warmup=0.05, decay=0.3, min_ratio=0.0),
    loss=LossSpec(kind="grammar", kind_weights={"text": 8.0}),
    steps=2000,
    init=InitSpec(audio_embedding_init="codebooks"),
    intervals=Intervals(checkpoint_seconds=60.0, keep_last=2),
)

EXPERIMENTS = (
    Experiment(
        name="quickstart",
        question="How well does a model recognise and synthesise speech after a few minutes on two CPU cores?",
        source="audio_train.recipes.quickstart",
        runs=runs_by_name(RUN),
    ),
)
