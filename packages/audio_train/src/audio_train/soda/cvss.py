"""Speech-to-speech translation: every initialisation, fine-tuned on CVSS with instructions or on whole documents."""

import math
from dataclasses import replace

from audio_train.config import NamedModel, OptimizerSpec, ScheduleSpec, TrainRun
from audio_train.recipes.experiment import Experiment, runs_by_name
from audio_train.soda.catalogue import (
    CAUTIOUS_CHOICES,
    CHOICES,
    FROM_SCRATCH,
    MARIN_MIMI,
    Z_LOSS,
    intervals,
    mixture,
    run_name,
    windows,
)
from audio_train.soda.checkpoints import CHECKPOINTS, PUBLISHED_WEIGHTS_CHOICES
from audio_train.soda.tokenization import CHAT_DOCUMENTS, MARIN_DOCUMENTS, QWEN3X_DOCUMENTS

_STARTS = ("soda-600m", "soda-p", "soda-600m-warm", "qwen3x-0.6b")
_SCRATCH = "scratch"
_NUM_EPOCHS = 5
# The scripts compute the number of steps for rows of this length, but rows have the model's.
_COUNTED_ROW_TOKENS = 2048
_BATCH_SIZE = 64


def _steps(tokens: float) -> int:
    return _NUM_EPOCHS * math.ceil(tokens / (_BATCH_SIZE * _COUNTED_ROW_TOKENS))


_DOCUMENTS = TrainRun(
    name="finetune-cvss",
    model=NamedModel("0.6b", tied=False),
    data=windows("cvss/method1", _BATCH_SIZE),
    optimizer=OptimizerSpec(
        name="cautious_adamc",
        learning_rate=2e-5,
        beta1=0.9,
        beta2=0.999,
        epsilon=1e-8,
        weight_decay=0.01,
        cautious_mean="stacked",
    ),
    schedule=ScheduleSpec(shape="cosine", warmup=0.03, decay=1.0, min_ratio=0.0, on_overlap="skip_warmup"),
    loss=Z_LOSS,
    steps=_steps(700e6),
    precision="bfloat16",
    remat="offload",
    intervals=intervals(_BATCH_SIZE),
)
_INSTRUCTIONS = replace(
    _DOCUMENTS,
    name="sft-cvss",
    data=replace(_DOCUMENTS.data, packing="next_fit", max_segments=64),
    schedule=replace(_DOCUMENTS.schedule, min_ratio=0.1),
    steps=_steps(750e6),
)


def _begin(run: TrainRun, start: str, *parts: str) -> TrainRun:
    """Return a run from a checkpoint with its shape, or from scratch."""
    checkpoint = CHECKPOINTS.get(start)
    return replace(
        run,
        name=run_name(run.name, *parts, start),
        model=checkpoint.run_model if checkpoint else run.model,
        init=checkpoint.init if checkpoint else FROM_SCRATCH,
    )


_SFT = {
    (method, start): _begin(
        replace(_INSTRUCTIONS, data=replace(_INSTRUCTIONS.data, mixture=mixture(f"cvss-sft/{method}"))), start, method
    )
    for method in ("method1", "method2")
    for start in (*_STARTS, _SCRATCH)
}
_RAW = {start: _begin(_DOCUMENTS, start) for start in (*_STARTS, _SCRATCH)}
_WARM = CHECKPOINTS["soda-600m-warm"].repository
_COMMON_CHOICES = {
    **CHOICES,
    **CAUTIOUS_CHOICES,
    **PUBLISHED_WEIGHTS_CHOICES,
    "data.seq_len": "the model's 4,096; the source's SEQ_LEN of 2,048 only counts steps (`train_lm` takes the model's "
    "length, as `train_seq_len` is unset)",
    "steps": "five passes counted with rows of 2,048 tokens, which with rows of 4,096 are ten",
    "init.vocabulary_init=haliax": "from scratch: haliax's",
    "optimizer.learning_rate": "2e-5 for every start, from scratch too",
    "schedule.on_overlap": "the decay spans the whole run, so there is no warm-up, as in the source",
}

SFT = Experiment(
    name="sft-cvss",
    question="Which pretraining makes the best speech translator of a 600M model?",
    source="Marin `experiments/audio/audio_sft_cvss.py` (SFT S2ST)",
    runs=runs_by_name(*_SFT.values()),
    reported={
        _SFT[
            "method1", "soda-600m"
        ].name: "clearly better than from scratch and than from Qwen3x (no numbers published)",
        _SFT["method1", "soda-p"].name: "better recognition of the sources, hence higher BLEU (no numbers published)",
    },
    vocabulary=MARIN_MIMI,
    vocabularies={run.name: CHECKPOINTS[start].vocabulary for (_, start), run in _SFT.items() if start in CHECKPOINTS},
    choices={
        **_COMMON_CHOICES,
        "data.packing": "documents in stored order, at most 64 a row; of one longer than a row the first row is kept "
        "(Levanter's GreedyPrepackedDataset, slice_strategy='left'); loss on the response only, as the data say",
        "data.mixture": "what instruction and response hold is inferred for method 1, our own for method 2; "
        f"{CHAT_DOCUMENTS}",
        f"init.source={_WARM}": "the warm-started model takes data in its own vocabulary; the source's call, which is "
        "not started, gives it the other",
    },
    inactive=frozenset(
        run.name for (method, start), run in _SFT.items() if method == "method2" or start == "soda-600m-warm"
    ),
)

FINETUNE = Experiment(
    name="finetune-cvss",
    question="Does fine-tuning on whole translation documents, without instructions, do as well?",
    source="Marin `experiments/audio/audio_finetune_cvss.py` (SFT S2ST)",
    runs=runs_by_name(*_RAW.values()),
    vocabulary=MARIN_MIMI,
    vocabularies={run.name: CHECKPOINTS[start].vocabulary for start, run in _RAW.items() if start in CHECKPOINTS},
    choices={
        **_COMMON_CHOICES,
        "data.mixture": f"{MARIN_DOCUMENTS}; from the models of the Qwen3x vocabulary, {QWEN3X_DOCUMENTS}",
    },
)
