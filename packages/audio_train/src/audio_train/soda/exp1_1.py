"""The first run, on eight languages, its anneals, and a cooldown whose mixture no script of the source uses."""

from audio_train.config import LearningRateRule, NamedModel
from audio_train.recipes.experiment import Experiment, runs_by_name
from audio_train.soda.catalogue import (
    ANNEAL_CHOICES,
    ANNEAL_DERIVED,
    BASE_LEARNING_RATE,
    MARIN_MIMI,
    PRETRAINING_CHOICES,
    annealed,
    pretraining,
    run_name,
    windows,
)
from audio_train.soda.tokenization import MARIN_DOCUMENTS

RUN = pretraining(
    "exp1.1",
    NamedModel("0.6b-hd64", tied=False),
    windows("yodas8", batch_size=512),
    LearningRateRule("batch", BASE_LEARNING_RATE),
    tokens=500e9,
)
"""The run that `exp1.3` and the exports continue."""

EXPERIMENT = Experiment(
    name="exp1.1",
    question="Does one decoder learn from captioned videos in eight languages to hear, speak and continue speech?",
    source="Marin `experiments/audio/exp1699_marin_yodas2.py` (Exp 1.1)",
    runs=runs_by_name(RUN),
    reported={
        RUN.name: "trained well, but without semantic abilities; a better start for speech translation than the "
        "English models, as it met the source languages (no scores published)"
    },
    vocabulary=MARIN_MIMI,
    aliases={RUN.name: "exp1699_marin_yodas2 (released as WillHeld/blueberry)"},
    choices={
        **PRETRAINING_CHOICES,
        "tokens": "500B, from which the script computes its steps; its description says 350B",
        "data.mixture": "in the vocabulary of the main models; `tokenize_yodas.py` also defines these languages with "
        f"the plain Qwen3-Mimi tokenizer, which nothing starts; {MARIN_DOCUMENTS}",
        "intervals.keep_every_steps": "four of these are exported by `convert_initial_checkpoints.py`, which by the "
        "source's README converts checkpoints of Hugging Face for training",
        "data.batch_size": "as in the last stored version; two older ones have batch 2,048 and 59,605 steps",
        "optimizer.learning_rate": "as in the last stored version: by batch alone, not by width",
    },
)

# Mixture or corpus, and what the source calls the run.
_ANNEALS = {
    "mls/en": "mls_en",
    "emilia_english": "emilia_en",
    "yodas2/en": "yodas_en",
    "mix3_v1": "mix3_v1",
    "mix2_v1": "mix2_v1",
}
_ANNEALED = {
    mix: annealed(run_name("exp1.3", mix), RUN, mixture_name=mix, step=190_000, steps=50_000) for mix in _ANNEALS
}

ANNEALS = Experiment(
    name="exp1.3",
    question="Which speech should the last fifth of training read?",
    source="Marin `experiments/audio/exp1699_marin_yodas2_anneal.py`, `audio_defaults.py` (Exp 1.3)",
    runs=runs_by_name(*_ANNEALED.values()),
    vocabulary=MARIN_MIMI,
    aliases={_ANNEALED[mix].name: f"anneal of exp1699_marin_yodas2 on {alias}" for mix, alias in _ANNEALS.items()},
    derived=ANNEAL_DERIVED,
    choices=ANNEAL_CHOICES,
)

_COOLDOWN_RUN = annealed("cooldown-exp1", RUN, mixture_name="cooldown_exp1", step=190_000, steps=50_000)

COOLDOWN = Experiment(
    name="cooldown",
    question="Would small clean corpora at the end of training help?",
    source="Marin `experiments/audio/data_mixes.py`, `cooldown_mix_exp1` (cooldown_mix_exp1)",
    runs=runs_by_name(_COOLDOWN_RUN),
    vocabulary=MARIN_MIMI,
    aliases={_COOLDOWN_RUN.name: "cooldown_mix_exp1(1)"},
    derived=ANNEAL_DERIVED,
    choices={
        **ANNEAL_CHOICES,
        "init.source": "no script of the source uses the mixture; here it anneals the first run as its siblings do",
    },
    inactive=frozenset({_COOLDOWN_RUN.name}),
)
