"""A cooldown mixture that the study defines, but no script of it uses."""

from audio_train.recipes.experiment import Experiment, runs_by_name
from audio_train.soda.catalogue import ANNEAL_CHOICES, ANNEAL_DERIVED, MARIN_MIMI, annealed
from audio_train.soda.exp1_1 import RUN as FIRST_RUN

_RUN = annealed("cooldown-exp1", FIRST_RUN, mixture_name="cooldown_exp1", step=190_000, steps=50_000)

EXPERIMENT = Experiment(
    name="cooldown",
    question="Would small clean corpora at the end of training help?",
    source="Marin `experiments/audio/data_mixes.py`, `cooldown_mix_exp1` (cooldown_mix_exp1)",
    runs=runs_by_name(_RUN),
    vocabulary=MARIN_MIMI,
    aliases={_RUN.name: "cooldown_mix_exp1(1)"},
    derived=ANNEAL_DERIVED,
    choices={
        **ANNEAL_CHOICES,
        "init.source": "no script of the source uses the mixture; here it anneals the first run as its siblings do",
    },
    inactive=frozenset({_RUN.name}),
)
