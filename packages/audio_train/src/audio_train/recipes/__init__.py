"""Every run that has a name. A recipe is a value: looking one up reads no file and touches no device."""

from audio_data import InputError
from audio_train.config import TrainRun
from audio_train.overrides import nearest
from audio_train.recipes import exp2_1, quickstart
from audio_train.recipes.study import Study as Study

STUDIES: tuple[Study, ...] = (quickstart.STUDY, exp2_1.STUDY)
"""All studies, smallest first."""


def find_recipe(name: str) -> tuple[Study, TrainRun]:
    """A run by its name, with the study it belongs to.

    Raises:
        InputError: there is no such run; the nearest names are given.
    """
    by_name = {run_name: (study, run) for study in STUDIES for run_name, run in study.runs.items()}
    if name not in by_name:
        raise InputError(f"there is no recipe `{name}`; {nearest(name, by_name)}")
    return by_name[name]
