"""The share of plain text in speech data: fourteen shares at four sizes, and a pilot with another text corpus."""

from audio_train.config import LearningRateRule, ModelShape, NamedModel, TrainRun
from audio_train.recipes.experiment import Experiment, runs_by_name
from audio_train.soda.catalogue import (
    BASE_LEARNING_RATE,
    MARIN_MIMI,
    PRETRAINING_CHOICES,
    pretraining,
    run_name,
    windows,
)
from audio_train.soda.mixtures import MIXTURES

# The study trained the last; the others are selectable in its script.
_SIZES = ("30m", "50m", "75m", "150m")
_PERCENTS = tuple(name.removeprefix("text_") for name in MIXTURES if name.startswith("text_"))
_PILOT_PERCENTS = tuple(name.removeprefix("dclm_") for name in MIXTURES if name.startswith("dclm_"))
_RULE = LearningRateRule("batch", BASE_LEARNING_RATE)
_CHOICES = {
    **PRETRAINING_CHOICES,
    "data.reshuffle_each_epoch": "one order for all epochs, as in the source, which draws it by a linear congruence "
    "here and by a Feistel network elsewhere",
}


def _run(size: str, percent: str) -> TrainRun:
    parts = ("text", percent) if size == _SIZES[-1] else ("text", percent, size)
    data = windows(f"text_{percent}", batch_size=128)
    return pretraining(run_name("exp1.4", *parts), NamedModel(size, tied=True), data, _RULE, tokens=10e9)


_RUNS = {(size, percent): _run(size, percent) for size in reversed(_SIZES) for percent in _PERCENTS}

EXPERIMENT = Experiment(
    name="exp1.4",
    question="How much text can be mixed in before speech suffers, and how much does text gain by it?",
    source="Marin `experiments/audio/exp1699_nemotron_sweep.py` (Exp 1.4)",
    runs=runs_by_name(*_RUNS.values()),
    reported={
        _RUNS[_SIZES[-1], "2.5"].name: "text gains most between 0 and 2.5 %",
        _RUNS[_SIZES[-1], "5"].name: "audio loss is about flat up to 5 % and worse beyond: chosen for the main mixture",
    },
    vocabulary=MARIN_MIMI,
    choices=_CHOICES,
    inactive=frozenset(run.name for (size, _), run in _RUNS.items() if size != _SIZES[-1]),
)

_PILOT = {
    percent: pretraining(
        run_name("exp1978", "dclm", percent),
        ModelShape(embed=512, mlp=1792, layers=6, heads=8, kv_heads=8, head_dim=64, tied=False),
        windows(f"dclm_{percent}", batch_size=512),
        _RULE,
        tokens=100e9,
    )
    for percent in _PILOT_PERCENTS
}

PILOT = Experiment(
    name="exp1978",
    question="Does text alone help beside speech interleaved with its transcripts?",
    source="Marin `experiments/audio/exp1978_unimodal_mix.py` (exp1978)",
    runs=runs_by_name(*_PILOT.values()),
    vocabulary=MARIN_MIMI,
    aliases={run.name: f"exp1978_unimodal_mix_{p}-{100 - int(p)}" for p, run in _PILOT.items()},
    choices={
        **_CHOICES,
        "model.layers": "6, as `experiments/qwen3.py` had its 150M model when the script was written (branch "
        "`exp-audio-unimodal-mix`, d237cae3); the 150M model of the other runs has 20",
    },
)
