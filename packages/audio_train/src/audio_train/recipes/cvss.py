"""Speech-to-speech translation: every beginning, fine-tuned on CVSS with instructions or on whole documents."""

from dataclasses import replace

from audio_train.config import DataSpec, NamedModel, OptimizerSpec, ScheduleSpec, StartSpec, TrainRun
from audio_train.recipes.catalogue import EVERY_TEN_THOUSAND, MARIN_MIMI, Z_LOSS, mixture, run_name
from audio_train.recipes.checkpoints import CHECKPOINTS
from audio_train.recipes.study import Study, family

_STARTS = ("soda-600m", "soda-p", "soda-600m-warm", "qwen3x-0.6b")
_SCRATCH = "scratch"
_NUM_EPOCHS = 5

_DOCUMENTS = TrainRun(
    name="finetune-cvss",
    model=NamedModel("0.6b", tied=False),
    data=DataSpec(mixture=mixture("cvss/method1"), seq_len=2048, batch_size=64, permutation="fixed"),
    optimizer=OptimizerSpec(
        name="cautious_adamc", learning_rate=2e-5, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.01
    ),
    schedule=ScheduleSpec(shape="cosine", warmup=0.03, decay=1.0, min_ratio=0.0, overlap="skip_warmup"),
    loss=Z_LOSS,
    tokens=700e6,
    precision="bfloat16",
    remat="offload",
    cadence=EVERY_TEN_THOUSAND,
)
_INSTRUCTIONS = replace(
    _DOCUMENTS,
    name="sft-cvss",
    data=replace(_DOCUMENTS.data, packing="best_fit", max_segments=64),
    schedule=replace(_DOCUMENTS.schedule, min_ratio=0.1),
    tokens=750e6,
)


def _epochs(run: TrainRun, num_epochs: int) -> TrainRun:
    """A run over its tokens several times, each time over whole steps."""
    steps = -int(-(run.tokens or 0) // run.data.tokens_per_step)
    return replace(run, steps=num_epochs * steps, tokens=None)


def _begin(run: TrainRun, start: str, *parts: str) -> TrainRun:
    """A run from a checkpoint with its shape, or from scratch."""
    checkpoint = CHECKPOINTS.get(start)
    return replace(
        _epochs(run, _NUM_EPOCHS),
        name=run_name(run.name, *parts, start),
        model=checkpoint.model if checkpoint else run.model,
        start=checkpoint.start if checkpoint else StartSpec(),
    )


_SFT = {
    (method, start): _begin(
        replace(_INSTRUCTIONS, data=replace(_INSTRUCTIONS.data, mixture=mixture(f"cvss-sft/{method}"))), start, method
    )
    for method in ("method1", "method2")
    for start in (*_STARTS, _SCRATCH)
}
_RAW = {start: _begin(_DOCUMENTS, start) for start in (*_STARTS, _SCRATCH)}
_COMMON_CHOICES = {
    "optimizer.learning_rate": "2e-5 for every start, from scratch too",
    "schedule.overlap": "warm-up and a decay of the whole run overlap: in the source the warm-up is then left out",
}

SFT = Study(
    name="sft-cvss",
    question="Which pretraining makes the best speech translator of a 600M model?",
    source="Marin `experiments/audio/audio_sft_cvss.py` (SFT S2ST)",
    runs=family(*_SFT.values()),
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
        "data.packing": "whole documents packed, at most 64 a row; loss on the response only, as the data say",
        "data.mixture": "what instruction and response hold is inferred for method 1, our own for method 2",
        "start.source": "the warm-started model takes data in its own vocabulary; the source's call, which is not "
        "started, gives it the other",
    },
    inactive=frozenset(
        run.name for (method, start), run in _SFT.items() if method == "method2" or start == "soda-600m-warm"
    ),
)

FINETUNE = Study(
    name="finetune-cvss",
    question="Does fine-tuning on whole translation documents, without instructions, do as well?",
    source="Marin `experiments/audio/audio_finetune_cvss.py` (SFT S2ST)",
    runs=family(*_RAW.values()),
    vocabulary=MARIN_MIMI,
    vocabularies={run.name: CHECKPOINTS[start].vocabulary for start, run in _RAW.items() if start in CHECKPOINTS},
    choices=_COMMON_CHOICES,
)
