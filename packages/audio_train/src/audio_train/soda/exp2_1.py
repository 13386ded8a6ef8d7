"""The main models: cold starts of 135M to 4B, anneals of the smallest, and warm starts from a text model."""

from dataclasses import replace

from audio_train.config import LearningRateRule, NamedModel, TrainRun
from audio_train.recipes.experiment import Experiment, runs_by_name
from audio_train.soda.catalogue import (
    ANNEAL_CHOICES,
    ANNEAL_DERIVED,
    BASE_LEARNING_RATE,
    CAUTIOUS_CHOICES,
    CHOICES,
    MARIN_MIMI,
    PRETRAINING_CHOICES,
    QWEN3X_MIMI,
    annealed,
    pretraining,
    run_name,
    windows,
)
from audio_train.soda.checkpoints import CHECKPOINTS, PUBLISHED_WEIGHTS_CHOICES
from audio_train.soda.tokenization import MARIN_DOCUMENTS, QWEN3X_DOCUMENTS

# The 135M model takes the learning rate of width 1024 instead of its own 512, which the authors chose to keep it down.
_RULE_WIDTH = {"135m": 1024, "0.6b": None, "1.7b": None, "4b": None}


def _run(size: str) -> TrainRun:
    rule = LearningRateRule("inverse_sqrt_width", BASE_LEARNING_RATE, width=_RULE_WIDTH[size])
    data = windows("soda", batch_size=512)
    return pretraining(run_name("exp2.1", size), NamedModel(size, tied=False), data, rule, tokens=500e9)


_COLD = {size: _run(size) for size in _RULE_WIDTH}
_LEARNING_RATE = "divides by the root of width/1024; the 135M model takes width 1024, on purpose, to keep it down"
_EMILIA = "Emilia with its stray space before each transcript, on which the released models were trained"

EXPERIMENT = Experiment(
    name="exp2.1",
    question="How well does one decoder trained from scratch on discrete audio and text tokens do as it grows?",
    source="SODA (arXiv 2602.16687); Marin `experiments/audio/exp1699_marin_audio_all.py` (Exp 2.1)",
    runs=runs_by_name(*_COLD.values()),
    reported={
        _COLD["135m"].name: "ASR WER 28.1, TTS WER 11.2, TTS similarity .500, HellaSwag 28.7",
        _COLD["1.7b"].name: "ASR WER 7.0, TTS WER about 6.5 to 7.5, TTS similarity about .56",
        _COLD["4b"].name: "ASR WER 5.0, TTS WER 6.1, TTS similarity about .56, HellaSwag 52.6, SALMon 70.6",
    },
    vocabulary=MARIN_MIMI,
    choices={
        **PRETRAINING_CHOICES,
        "optimizer.learning_rate": _LEARNING_RATE,
        "data.mixture": f"{_EMILIA}; {MARIN_DOCUMENTS}",
    },
)

_ANNEALED = {
    name: annealed(run_name("exp2.1-135m-anneal", name), _COLD["135m"], mixture_name=mix, step=190_000, steps=50_000)
    for name, mix in {
        "mix3-v3": "mix3_v3_text",
        "mix2-v2": "mix2_v2_text",
        "mix3-v5-w0.05": "mix3_v5_w0.05_text",
    }.items()
}

ANNEALS = Experiment(
    name="exp2.1-135m-anneal",
    question="Does annealing the smallest model on cleaner speech, with its 5 % of text, improve it?",
    source="Marin `experiments/audio/exp1699_marin_audio_135m_anneal_nemo.py` (135M anneal)",
    runs=runs_by_name(*_ANNEALED.values()),
    vocabulary=MARIN_MIMI,
    derived=ANNEAL_DERIVED,
    choices=ANNEAL_CHOICES,
)

_WARM = {
    size: replace(_COLD[size], name=run_name("exp2.2", size), init=CHECKPOINTS[f"qwen3x-{size}"].init)
    for size in ("0.6b", "1.7b")
}

_WARM_CHOICES = {
    **CHOICES,
    **CAUTIOUS_CHOICES,
    **PUBLISHED_WEIGHTS_CHOICES,
    "optimizer.learning_rate": "that of the cold starts",
    "data.mixture": f"{_EMILIA}; {QWEN3X_DOCUMENTS}",
}

WARM = Experiment(
    name="exp2.2",
    question="Is a text model a better beginning than none?",
    source="SODA (arXiv 2602.16687); Marin `experiments/audio/exp1699_marin_audio_ws.py` (Exp 2.2)",
    runs=runs_by_name(*_WARM.values()),
    reported={
        _WARM["0.6b"].name: "unstable, with loss spikes: ASR WER fell to 21 and rose to 34",
        _WARM["1.7b"].name: "ASR WER 17.3 (cold start: 7.0), TTS WER about 6.5 to 7.5; text knowledge kept better",
    },
    vocabulary=QWEN3X_MIMI,
    choices=_WARM_CHOICES,
)

_KEPT = {
    size: replace(
        warm,
        name=run_name("exp2.2-weights-function", size),
        model=CHECKPOINTS[f"qwen3x-{size}"].model,
        init=replace(warm.init, rope_and_epsilon_of="weights"),
    )
    for size, warm in _WARM.items()
}

WARM_KEPT = Experiment(
    name="exp2.2-weights-function",
    question="Are warm starts unstable because their weights have to compute another function than they have learned?",
    source="this project's own twin of exp2.2",
    runs=runs_by_name(*_KEPT.values()),
    vocabulary=QWEN3X_MIMI,
    choices={
        **{key: why for key, why in _WARM_CHOICES.items() if key != "init.rope_and_epsilon_of=run"},
        "init.rope_and_epsilon_of=weights": "the weights': rotary base 1e6, no scaling and epsilon 1e-6, where "
        "exp2.2 takes the run's",
    },
)
