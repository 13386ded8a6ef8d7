"""Every run that has a name. A recipe is a value: looking one up reads no file and touches no device."""

from audio_data import InputError, nearest
from audio_train.config import TrainRun
from audio_train.recipes import (
    cooldown,
    cvss,
    exp1_1,
    exp1_2,
    exp1_4,
    exp1_6,
    exp1_7,
    exp2_1,
    grammar_loss,
    initialization,
    isoflop_miniature,
    quickstart,
)
from audio_train.recipes.study import Study as Study

STUDIES: tuple[Study, ...] = (
    quickstart.STUDY,
    exp1_1.STUDY,
    exp1_2.STUDY,
    exp1_2.SWEEP,
    exp1_1.ANNEALS,
    exp1_4.STUDY,
    exp1_6.STUDY,
    exp1_7.STUDY,
    exp1_4.PILOT,
    exp2_1.STUDY,
    exp2_1.ANNEALS,
    exp2_1.WARM,
    exp2_1.WARM_KEPT,
    cvss.SFT,
    cvss.FINETUNE,
    cooldown.STUDY,
    isoflop_miniature.STUDY,
    grammar_loss.STUDY,
    initialization.STUDY,
)
"""All studies, in the order of the experiments."""


def find_recipe(name: str) -> tuple[Study, TrainRun]:
    """A run by its name, with the study it belongs to.

    Raises:
        InputError: there is no such run; the nearest names are given.
    """
    by_name = {run_name: (study, run) for study in STUDIES for run_name, run in study.runs.items()}
    if name not in by_name:
        raise InputError(f"there is no recipe `{name}`; {nearest(name, by_name)}")
    return by_name[name]


def find_study(name: str) -> Study:
    """A study by its name.

    Raises:
        InputError: there is no such study; the nearest names are given.
    """
    by_name = {study.name: study for study in STUDIES}
    if name not in by_name:
        raise InputError(f"there is no study `{name}`; {nearest(name, by_name)}")
    return by_name[name]
