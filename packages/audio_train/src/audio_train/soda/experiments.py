"""Every experiment of the study, for the entry-point group `audio_train.recipes`."""

from dataclasses import replace

from audio_train.recipes.experiment import Experiment
from audio_train.soda import (
    cvss,
    exp1_1,
    exp1_2,
    exp1_4,
    exp1_7,
    exp2_1,
    grammar_loss,
    initialization,
    isoflop,
    isoflop_miniature,
)
from audio_train.soda.checkpoints import CHECKPOINTS
from audio_train.soda.mixtures import WEIGHTS

_SMOKE_DATA = "audio-train soda make-smoke-data --out {data} --for {name}"
_SMOKE_WEIGHTS = {checkpoint.repository: checkpoint.recipe or name for name, checkpoint in CHECKPOINTS.items()}

EXPERIMENTS: tuple[Experiment, ...] = tuple(
    replace(experiment, mixtures=WEIGHTS, smoke_data=_SMOKE_DATA, smoke_weights=_SMOKE_WEIGHTS)
    for experiment in (
        exp1_1.EXPERIMENT,
        exp1_2.EXPERIMENT,
        exp1_2.SWEEP,
        exp1_1.ANNEALS,
        exp1_4.EXPERIMENT,
        isoflop.EXPERIMENT,
        exp1_7.EXPERIMENT,
        exp1_4.PILOT,
        exp2_1.EXPERIMENT,
        exp2_1.ANNEALS,
        exp2_1.WARM,
        exp2_1.WARM_KEPT,
        cvss.SFT,
        cvss.FINETUNE,
        exp1_1.COOLDOWN,
        isoflop_miniature.EXPERIMENT,
        grammar_loss.EXPERIMENT,
        initialization.EXPERIMENT,
    )
)
"""All experiments of the study in its order, then those of this project."""
