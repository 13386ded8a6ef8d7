"""A run by the words of a command line: a recipe's name, a scale, changed fields, and the data at hand."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from audio_data import Budget, InputError, open_root
from audio_train.config import TrainRun
from audio_train.overrides import override
from audio_train.recipes import Study, find_recipe
from audio_train.resolved import ResolvedRun, resolve
from audio_train.studies.scale import Scale, at_scale

# What a miniature derives as its recipe does: where an anneal begins. All else it takes from the rules of its scale.
_SHRUNK = {"start.source"}


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
    name: str,
    data_root: Path | None = None,
    assignments: tuple[str, ...] = (),
    scale: Scale = "published",
    max_quarantined: Budget | None = None,
) -> NamedRun:
    """Resolve a recipe.

    Args:
        name: of the recipe.
        data_root: folder of datasets, whose vocabulary and fingerprints count; None for the published vocabulary.
        assignments: `path=value` of each field to change, after the scale.
        scale: at which it runs.
        max_quarantined: as in `launch.run`.

    Raises:
        InputError: no such recipe or field, a field that follows from others, or the recipe takes its vocabulary from
            data and none are given.
    """
    study, recipe = find_recipe(name)
    run = run_at_scale(name, scale)
    kept = study.derived if run is recipe else {path: study.derived[path] for path in _SHRUNK & set(study.derived)}
    _check_derived(kept, name, assignments)
    run = override(run, *assignments) if assignments else run
    if data_root is not None:
        datasets = open_root(data_root, max_quarantined=max_quarantined)
        manifests = {corpus: dataset.manifest for corpus, dataset in datasets.items()}
        vocabulary = next(iter(manifests.values())).vocabulary
        return NamedRun(study, recipe, resolve(run, vocabulary, manifests))
    vocabulary = study.vocabulary_of(name)
    if vocabulary is None:
        raise InputError(f"recipe `{name}` takes its vocabulary from the data; give --data DATA.")
    return NamedRun(study, recipe, resolve(run, vocabulary))


def run_at_scale(name: str, scale: Scale) -> TrainRun:
    """A recipe at a scale; one of this project's own miniatures is the same at all.

    Raises:
        InputError: there is no such recipe.
    """
    study, recipe = find_recipe(name)
    return recipe if study.miniature else at_scale(recipe, scale, lambda other: find_recipe(other)[1])


def _check_derived(rules: Mapping[str, str], name: str, assignments: tuple[str, ...]) -> None:
    """Refuse to set a field whose value was computed from others; the rules say from what, by the field's path."""
    for path in (assignment.partition("=")[0] for assignment in assignments):
        for derived, rule in rules.items():
            if path == derived or path.startswith(f"{derived}."):
                raise InputError(f"`{path}` of `{name}` follows from {rule}.")
