"""Cold-start models of 135M to 4B parameters on 500 billion tokens of speech and 5 % text."""

from types import MappingProxyType

from audio_train.config import DataSpec, LearningRateRule, LossSpec, MixtureStage, NamedModel, TrainRun
from audio_train.recipes.catalogue import MARIN_MIMI, SODA_MIXTURE, WARMUP_STABLE_DECAY, cautious_adamc
from audio_train.recipes.study import Study

# The 135M model takes the learning rate of width 1024 instead of its own 512, which the authors chose to keep it down.
RULE_WIDTH = {"135m": 1024, "0.6b": None, "1.7b": None, "4b": None}


def _run(size: str) -> TrainRun:
    return TrainRun(
        name=f"exp2.1-{size}",
        model=NamedModel(size, tied=False),
        data=DataSpec(
            mixture=(MixtureStage(0.0, SODA_MIXTURE),),
            seq_len=4096,
            batch_size=512,
            packing="windows",
            positions="continue",
            permutation="fixed",
        ),
        optimizer=cautious_adamc(LearningRateRule("wider_smaller", base=0.003, width=RULE_WIDTH[size])),
        schedule=WARMUP_STABLE_DECAY,
        loss=LossSpec(kind="full", z_loss_weight=1e-4),
        tokens=500e9,
        precision="bfloat16",
    )


STUDY = Study(
    name="exp2.1",
    question="How well does one decoder trained from scratch on discrete audio and text tokens do as it grows?",
    source="SODA (arXiv 2602.16687); Marin `experiments/audio/exp1699_marin_audio_all.py`",
    runs=MappingProxyType({f"exp2.1-{size}": _run(size) for size in RULE_WIDTH}),
    reported=MappingProxyType(
        {
            "exp2.1-135m": "ASR WER 28.1, TTS WER 11.2, TTS similarity .500",
            "exp2.1-1.7b": "ASR WER 7.0",
            "exp2.1-4b": "ASR WER 5.0, TTS WER 6.1",
        }
    ),
    vocabulary=MARIN_MIMI,
)
