"""Registered recipes: named training runs.

An installed package adds its recipes through the entry-point group `audio_train.recipes`: each entry point is an
iterable of `Experiment`. The recipes of this package are registered in the same way.
"""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from audio_data import InputError, listed, nearest, registered_objects
from audio_train.config import TrainRun
from audio_train.recipes.experiment import Experiment as Experiment

ENTRY_POINT_GROUP = "audio_train.recipes"


@cache
def experiments() -> Mapping[str, Experiment]:
    """Every registered experiment by name, those of this package first, then in the order of the entry points.

    Raises:
        InputError: An entry point cannot be loaded or has the wrong type, or two experiments or runs share a name.
    """
    found: dict[str, Experiment] = {}
    owners: dict[str, str] = {}
    for extension in registered_objects(ENTRY_POINT_GROUP, Experiment):
        experiment = extension.value
        for name in (experiment.name, *(run for run in experiment.runs if run != experiment.name)):
            if name in owners:
                raise InputError(
                    f"recipe or experiment `{name}` must have one owner, got the entry points {owners[name]} and "
                    f"{extension.origin}; uninstall one of the two packages"
                )
            owners[name] = extension.origin
        found[experiment.name] = experiment
    return MappingProxyType(found)


def find_recipe(name: str) -> tuple[Experiment, TrainRun]:
    """Find a registered run by name, and its experiment.

    Raises:
        InputError: The run does not exist; the message has the nearest names.
    """
    by_name = _recipes()
    if name not in by_name and name in experiments():
        raise InputError(f"`{name}` is an experiment; name one of its runs: {listed(experiments()[name].runs)}")
    if name not in by_name:
        raise InputError(f"there is no recipe `{name}`; {nearest(name, by_name)}")
    return by_name[name]


def recipe_names() -> list[str]:
    """Names of every registered run, in the order of the experiments."""
    return list(_recipes())


def find_runs(name: str) -> tuple[TrainRun, ...]:
    """Find the runs of a registered experiment, or one registered run, by name.

    Raises:
        InputError: Neither exists; the message has the nearest names.
    """
    by_name = _recipes()
    if name in experiments():
        return tuple(experiments()[name].runs.values())
    if name not in by_name:
        raise InputError(f"there is no recipe or experiment `{name}`; {nearest(name, [*experiments(), *by_name])}")
    return (by_name[name][1],)


def _recipes() -> dict[str, tuple[Experiment, TrainRun]]:
    """Every registered run by its name, with its experiment."""
    return {name: (e, run) for e in experiments().values() for name, run in e.runs.items()}


def find_experiment(name: str) -> Experiment:
    """Find a registered experiment by name.

    Raises:
        InputError: The experiment does not exist; the message has the nearest names.
    """
    if name not in experiments():
        raise InputError(f"there is no experiment `{name}`; {nearest(name, experiments())}")
    return experiments()[name]
