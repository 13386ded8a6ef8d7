"""Vocabularies, data, optimizers and schedules that several experiments share.

The name of a run is the number of its experiment and what distinguishes it from the other runs, joined by hyphens, in
lower case. Sizes, mixtures and corpora keep their names (`_` and `/` become `-`).
"""

import math
import re
from dataclasses import replace

from audio_data import Vocabulary
from audio_train.config import (
    DataSpec,
    EvaluationSpec,
    InitSpec,
    Intervals,
    LearningRateRule,
    LossSpec,
    MixtureStage,
    ModelShape,
    NamedModel,
    OptimizerSpec,
    ScheduleSpec,
    TrainRun,
)
from audio_train.optimization.schedules import anneal_peak
from audio_train.soda.mixtures import MIXTURES
from audio_train.soda.tokenization import MARIN_DOCUMENTS

MARIN_MIMI = Vocabulary(
    name="marin-mimi-8cb-16k",
    num_text=128_256,
    begin_of_text=128_000,
    end_of_text=128_001,
    text_start=128_256,
    text_end=128_257,
    audio_start=128_258,
    audio_end=128_259,
    audio_base=128_260,
    num_codebooks=8,
    codebook_size=2048,
    codec_id="mimi",
    text_tokenizer="marin-community/marin-tokenizer",
)
"""Llama-3 text ids, four more specials, eight Mimi codebooks: 144,644 ids."""

QWEN3X_MIMI = Vocabulary(
    name="qwen3x-mimi-8cb-16k",
    num_text=151_669,
    begin_of_text=151_670,
    end_of_text=151_643,
    text_start=151_671,
    text_end=151_672,
    audio_start=151_673,
    audio_end=151_674,
    audio_base=151_675,
    num_codebooks=8,
    codebook_size=2048,
    codec_id="mimi",
    text_tokenizer="potsawee/qwen3x-tokenizer",
)
"""Qwen-3 text ids, with another begin of text and four more specials, eight Mimi codebooks: 168,059 ids."""

SMALL = Vocabulary.compact(
    "compact", 385, "embedded-v1", num_codebooks=8, codebook_size=2048, text_tokenizer="sentencepiece"
)
"""Learned from the sample recordings: 129 text pieces, 256 bytes and eight codebooks: 16,775 ids."""

WARMUP_STABLE_DECAY = ScheduleSpec(shape="linear", warmup=0.1, decay=0.2, min_ratio=0.0)
"""10 % warm-up, 70 % constant, 20 % linear decay to zero."""

Z_LOSS = LossSpec(kind="full", z_loss_weight=1e-4)
"""Full softmax, with the z-loss weight of the study."""

BASE_LEARNING_RATE = 0.003

FROM_SCRATCH = InitSpec(vocabulary_init="haliax")
"""Initialisation of the study's models."""

CHOICES: dict[str, str] = {
    "data.mixture": MARIN_DOCUMENTS,
    "data.remainder": "rows that the whole part of weight x 2,048 leaves over all go to the largest corpus (Levanter "
    "`data/mixture.py`); a new recipe's go to the largest fractions",
    "intervals.evaluation": "LibriSpeech dev-clean, whose losses the paper reports, stands in for the source's text "
    "sets (Marin `default_train`: Paloma and uncheatable evaluations every 1,000 steps; no held-out speech). "
    "Its documents have no end of text, so that a row of them is one segment",
    "intervals.max_bad_steps": "a step whose loss or gradient is not finite changes nothing here; the source takes it",
}
"""Choices that every run of the study shares, with their source or the difference from it."""
CAUTIOUS_CHOICES: dict[str, str] = {
    "optimizer.cautious_mean": "over the array in which all layers of a kind of weight are stacked (Levanter "
    "`optim/cautious.py`, `scan_layers=True`); a new recipe averages over each layer by itself",
}
"""Choices of runs with the cautious optimizer."""
SCRATCH_CHOICES: dict[str, str] = {
    "init.vocabulary_init": "haliax's (`nn/embedding.py`, `nn/linear.py`): embedding of deviation 1/width, an untied "
    "head of the same draw times the root of the width; a new recipe's is `unit_logits`",
}
"""Choices of runs from scratch."""
PRETRAINING_CHOICES = CHOICES | CAUTIOUS_CHOICES | SCRATCH_CHOICES

HELDOUT = "heldout/librispeech/dev-clean"
"""Held-out dataset of the study's recipes."""
_HELDOUT_ROWS = 512


def run_name(experiment: str, *parts: str | int) -> str:
    """Name of a run from its experiment and further parts, by the rule of this module."""
    return "-".join([experiment, *(re.sub(r"[_/]+", "-", str(part)).lower() for part in parts)])


def mixture(name: str) -> tuple[MixtureStage, ...]:
    """Stages of a run with one mixture.

    Args:
        name: Key of `MIXTURES`, or one dataset.
    """
    weights = MIXTURES[name].weights if name in MIXTURES else {name: 1.0}
    return (MixtureStage(0.0, weights),)


def intervals(batch_size: int) -> Intervals:
    """Intervals of the study for checkpoints, exports and evaluations; anneals start from kept checkpoints.

    Args:
        batch_size: Rows in a step. An evaluation reads `HELDOUT` once: about 490 rows of 4,096 tokens.
    """
    num_batches = math.ceil(_HELDOUT_ROWS / batch_size)
    return Intervals(
        keep_every_steps=10_000,
        export_every_steps=10_000,
        evaluation=EvaluationSpec((HELDOUT,), every_steps=1000, num_batches=num_batches),
    )


def windows(mixture_name: str, batch_size: int) -> DataSpec:
    """Rows of the study: each dataset cut every 4,096 tokens, continuous positions, one order for all epochs."""
    return DataSpec(
        mixture=mixture(mixture_name),
        seq_len=4096,
        batch_size=batch_size,
        packing="windows",
        positions="continue",
        reshuffle_each_epoch=False,
        remainder="largest_corpus",
    )


def cautious_adamc(learning_rate: float | LearningRateRule) -> OptimizerSpec:
    """Optimizer of the study, except for the isoFLOP sweep and fine-tuning."""
    return OptimizerSpec(
        name="cautious_adamc",
        learning_rate=learning_rate,
        beta1=0.98,
        beta2=0.98,
        epsilon=1e-16,
        weight_decay=0.033,
        max_grad_norm=1.0,
        cautious_mean="stacked",
    )


def pretraining(
    name: str, model: NamedModel | ModelShape, data: DataSpec, learning_rate: LearningRateRule, tokens: float
) -> TrainRun:
    """Pretraining run of the study, except for the isoFLOP sweep."""
    return TrainRun(
        name=name,
        model=model,
        data=data,
        optimizer=cautious_adamc(learning_rate),
        schedule=WARMUP_STABLE_DECAY,
        loss=Z_LOSS,
        tokens=tokens,
        init=FROM_SCRATCH,
        precision="bfloat16",
        remat="offload",
        intervals=intervals(data.batch_size),
    )


def annealed(name: str, run: TrainRun, *, mixture_name: str, step: int, steps: int) -> TrainRun:
    """Anneal of a run: continue its training state on another mixture, to a learning rate of zero.

    Step, moments and update count come from the checkpoint, and the mixture is read from batch `step` on. The schedule
    is a linear decay over `step + steps` steps that begins at `step`. Its peak is chosen so that the learning rate
    there is that of the first run.

    Args:
        name: Name of the anneal.
        run: The run that it continues.
        mixture_name: Key of `MIXTURES`, or one dataset.
        step: Step of the checkpoint.
        steps: Steps of the anneal.
    """
    rule = run.optimizer.learning_rate
    assert isinstance(rule, LearningRateRule)
    return replace(
        run,
        name=name,
        data=replace(run.data, mixture=mixture(mixture_name)),
        optimizer=OptimizerSpec(
            name="adamw",
            learning_rate=replace(rule, base=anneal_peak(rule.base, first_step=step, num_steps=steps)),
            beta1=0.9,
            beta2=0.95,
            weight_decay=0.033,
        ),
        schedule=ScheduleSpec(shape="linear", warmup=0.01, decay=None, min_ratio=0.0),
        loss=LossSpec(kind="full"),
        steps=steps,
        tokens=None,
        init=InitSpec(kind="checkpoint", source=f"{run.name}@{step}", state="continue"),
    )


ANNEAL_DERIVED: dict[str, str] = dict.fromkeys(
    ("steps", "init.source"),
    "where the anneal begins and ends, as does its peak learning rate; set that too, in a recipe of your own",
)
"""Derived fields of an anneal, with their rule."""

ANNEAL_CHOICES = {
    **CHOICES,
    "optimizer.learning_rate": "the first run's, times all steps over those of the anneal, so that a line to zero over "
    "all of them passes it where the anneal begins (but for the 1 % of warm-up, which makes it 1 % higher)",
    "optimizer.name": "plain AdamW: the source's helper for anneals passes no optimizer on",
    "loss.z_loss_weight": "the source's helper leaves it out",
    "init.state": "the whole training state, as the source's trainer loads it (Levanter `main/train_lm.py`, "
    "`load_checkpoint(state, initialize_from_checkpoint_path)`): moments, update count and step go on, and the new "
    "mixture is read from that batch on; other versions of that file begin at batch 0; "
    "plain and cautious AdamW have the same moments",
}
"""Choices of anneals."""
