"""A run by the words of a command line: a recipe's name, a scale, changed fields, and the data at hand."""

from dataclasses import dataclass
from pathlib import Path

from audio_data import InputError, open_root
from audio_train.config import TrainRun
from audio_train.overrides import override
from audio_train.recipes import Study, find_recipe
from audio_train.resolved import ResolvedRun, resolve
from audio_train.scale import Scale, at_scale


@dataclass(frozen=True)
class NamedRun:
    """A resolved run and what it was made of.

    Attributes:
        study: the study that the recipe belongs to.
        recipe: the recipe as published.
        resolved: the run at its scale, with its fields changed.
    """

    study: Study
    recipe: TrainRun
    resolved: ResolvedRun


def named_run(
    name: str, data_root: Path | None = None, assignments: tuple[str, ...] = (), scale: Scale = "published"
) -> NamedRun:
    """Resolve a recipe.

    Args:
        name: of the recipe.
        data_root: folder of datasets, whose vocabulary and fingerprints count; None for the published vocabulary.
        assignments: `path=value` of each field to change, after the scale.
        scale: at which it runs.

    Raises:
        InputError: no such recipe or field, a field that follows from others, or the recipe takes its vocabulary from
            data and none are given.
    """
    study, recipe = find_recipe(name)
    run = at_scale(recipe, scale, lambda other: find_recipe(other)[1])
    if scale == "published":
        _check_derived(study, name, assignments)
    run = override(run, *assignments) if assignments else run
    if data_root is not None:
        manifests = {corpus: dataset.manifest for corpus, dataset in open_root(data_root).items()}
        vocabulary = next(iter(manifests.values())).vocabulary
        return NamedRun(study, recipe, resolve(run, vocabulary, manifests))
    vocabulary = study.vocabulary_of(name)
    if vocabulary is None:
        raise InputError(f"recipe `{name}` takes its vocabulary from the data; give --data DATA.")
    return NamedRun(study, recipe, resolve(run, vocabulary))


def _check_derived(study: Study, name: str, assignments: tuple[str, ...]) -> None:
    """Refuse to set a field of a published run whose value its recipe computed from others."""
    for path in (assignment.partition("=")[0] for assignment in assignments):
        for derived, rule in study.derived.items():
            if path == derived or path.startswith(f"{derived}."):
                raise InputError(f"`{path}` of `{name}` follows from {rule}.")
