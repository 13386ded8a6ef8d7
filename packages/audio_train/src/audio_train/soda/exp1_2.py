"""Data mixtures for 150M models: mixtures, single corpora, and the weight of YODAS2."""

from audio_train.config import LearningRateRule, NamedModel, TrainRun
from audio_train.recipes.experiment import Experiment, runs_by_name
from audio_train.soda.catalogue import (
    BASE_LEARNING_RATE,
    MARIN_MIMI,
    PRETRAINING_CHOICES,
    pretraining,
    run_name,
    windows,
)

# Mixture or dataset by the name in the source. The names of the second seven runs contain "3B".
_MIXES_BY_ALIAS = {
    "yodas": "yodas2/en",
    "emilia": "emilia_english",
    "mls_en": "mls/en",
    **{name: name for name in ("mix2_v1", "mix2_v2", "mix2_v3", "mix3_v1", "mix3_v2", "mix3_v3", "mix3_v4")},
}
_NAMED_3B = {
    "yodas": "yodas2/en",
    "emilia": "emilia_english",
    "mls_en": "mls/en",
    "peoples_speech": "peoples-speech/clean",
    "commonvoice17": "commonvoice17/en",
    "librispeech": "librispeech/train",
    "libritts": "libritts-r/train",
}
_YODAS_WEIGHTS = (1.5, 0.8, 0.6, 0.4, 0.2, 0.1, 0.05)


def _run(billions: int, mix: str, *parts: str) -> TrainRun:
    return pretraining(
        run_name("exp1.2", mix, *parts),
        NamedModel("150m", tied=True),
        windows(mix, batch_size=128),
        LearningRateRule("sqrt_width", BASE_LEARNING_RATE),
        tokens=billions * 1e9,
    )


_SWEEP = {weight: _run(10, f"mix3_v5_w{weight:g}", "10b") for weight in _YODAS_WEIGHTS}
_MIXES = {f"exp1699_data_mix_150m_{alias}": _run(3, mix) for alias, mix in _MIXES_BY_ALIAS.items()}
_SINGLE = {f"exp1699_data_mix_150m_3B_{alias}": _run(3, mix, "3b") for alias, mix in _NAMED_3B.items()}
_CHOICES = {
    **PRETRAINING_CHOICES,
    "optimizer.learning_rate": "this script multiplies by the root of width/1024, where the production runs divide",
}

EXPERIMENT = Experiment(
    name="exp1.2",
    question="Which speech, and which blend of it, teaches a small model most?",
    source="Marin `experiments/audio/exp1699_data_mix_150m.py`, `data_mixes.py` (150M data mixes)",
    runs=runs_by_name(*_MIXES.values(), *_SINGLE.values()),
    reported={
        run.name: "with MLS: ASR WER 92.6, TTS WER 35.7, therefore left out of the main mixture (which of the runs "
        "with MLS is not said)"
        for run in (*_MIXES.values(), *_SINGLE.values())
        if "mls/en" in run.data.mixture[0].weights
    },
    vocabulary=MARIN_MIMI,
    aliases={run.name: alias for alias, run in (_MIXES | _SINGLE).items()},
    choices={
        **_CHOICES,
        "tokens": "3B for all, as every stored version of the script has it, with 10B commented out; only names "
        "suggest 10B for the ten runs that are not called 3B, of which three equal a run that is called so",
    },
)

SWEEP = Experiment(
    name="exp1.2-yodas-weight",
    question="How much of the mixture should be unfiltered YODAS2?",
    source="Marin `experiments/audio/exp1699_data_mix_yodas_sweep_150m.py` (150M data mixes)",
    runs=runs_by_name(*_SWEEP.values()),
    vocabulary=MARIN_MIMI,
    aliases={run.name: f"exp1699_data_mix_150m_mix3_v5_yodas{weight:g}" for weight, run in _SWEEP.items()},
    choices=_CHOICES,
)
