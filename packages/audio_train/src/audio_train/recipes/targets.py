"""Resolve the run of a command line: recipe, scale, mixture, changed fields and datasets.

`TARGET` names a recipe in one of four forms: a registered name, `FILE.py:NAME`, `MODULE:NAME`, or the `resolved.json`
of another run.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from audio_data import (
    Budget,
    InputError,
    Manifest,
    TokenDataset,
    Vocabulary,
    cut_documents,
    load_object,
    names_object,
    open_root,
    read_json,
)
from audio_train.config import ALL_DATASETS, DataSpec, MixtureStage, TrainRun
from audio_train.overrides import assigned_path, override
from audio_train.recipes import find_recipe
from audio_train.recipes.experiment import Experiment
from audio_train.recipes.smoke_scale import HELDOUT_FOLDER, Scale, at_scale
from audio_train.resolved import ResolvedRun, resolve

# At smoke scale only the first step of an anneal is derived; other fields follow from the rules of the scale.
_SMOKE_DERIVED = {"init.source"}
_ROW_FIELDS = {"data", "data.seq_len", "data.batch_size"}
_ROW_MULTIPLE = 128
_REMEDY = "give a registered name, FILE.py:NAME, MODULE:NAME or a resolved.json; `audio-train recipes` lists the names"
_EXAMPLE = "`audio-train new` writes an example"


@dataclass(frozen=True)
class Target:
    """A recipe and its experiment.

    Attributes:
        name: `TARGET`, as given.
        experiment: Experiment of the recipe. A recipe from a file has one of its own.
        recipe: The recipe as published.
    """

    name: str
    experiment: Experiment
    recipe: TrainRun

    def at_scale(self, scale: Scale) -> TrainRun:
        """Return the recipe at a scale; that of an experiment of fixed size is the same at all scales."""
        if self.experiment.fixed_size:
            return self.recipe
        return at_scale(self.recipe, scale, lambda other: find_recipe(other)[1])


@dataclass(frozen=True)
class NamedRun:
    """A resolved run and its recipe.

    Attributes:
        target: The recipe as published, and its experiment.
        resolved: The run at a scale, with changed fields.
    """

    target: Target
    resolved: ResolvedRun


def find_target(name: str) -> Target:
    """Find the recipe that a command line names.

    Args:
        name: `TARGET`, see the module.

    Raises:
        InputError: The recipe, file, module or object does not exist, the object is not a `TrainRun`, or the file has
            a syntax error.
    """
    if name.endswith(".json"):
        saved = ResolvedRun.from_json(read_json(Path(name), remedy=_REMEDY))
        return _own(name, saved.run, saved.vocabulary)
    if names_object(name):
        return _own(name, load_object(name, TrainRun, what="recipe", remedy=_REMEDY, example=_EXAMPLE).value)
    experiment, recipe = find_recipe(name)
    return Target(name, experiment, recipe)


def _own(name: str, run: TrainRun, vocabulary: Vocabulary | None = None) -> Target:
    runs = MappingProxyType({name: run})
    return Target(name, Experiment(run.name, "", name, runs, vocabulary=vocabulary), run)


def named_run(
    name: str,
    data_root: Path | None = None,
    assignments: tuple[str, ...] = (),
    scale: Scale = "published",
    max_quarantined: Budget | None = None,
    mixture: Mapping[str, float] | None = None,
    starting: Callable[[TrainRun], TrainRun] | None = None,
) -> NamedRun:
    """Resolve a recipe.

    Args:
        name: `TARGET`, see the module.
        data_root: Folder of the datasets, for vocabulary and fingerprints; None for the published vocabulary.
        assignments: `path=value` of each field to change, after scaling.
        scale: Scale of the run.
        max_quarantined: The argument of `launch.run`.
        mixture: Weight of each dataset, instead of the recipe's mixture; None keeps that.
        starting: Function that returns the recipe with the start that the user gave, before fields are changed.

    Raises:
        InputError: A recipe, field or dataset does not exist, a derived field is set, or the recipe takes its
            vocabulary from data and none are given.
    """
    target = find_target(name)
    experiment, run = target.experiment, target.at_scale(scale)
    derived = experiment.derived
    kept = derived if run is target.recipe else {path: derived[path] for path in _SMOKE_DERIVED & set(derived)}
    _check_derived(kept, name, assignments)
    if mixture is not None:
        run = replace(run, data=replace(run.data, mixture=(MixtureStage(0.0, mixture),)))
    run = run if starting is None else starting(run)
    run = override(run, *assignments) if assignments else run
    if data_root is not None:
        stated = {assigned_path(assignment) for assignment in assignments}
        fits_rows = experiment.fits_rows and stated.isdisjoint(_ROW_FIELDS)
        return NamedRun(target, _resolved(run, data_root, max_quarantined, fits_rows))
    vocabulary = experiment.vocabulary_of(name)
    if vocabulary is None:
        raise InputError(f"`--data` must be given for recipe `{name}`, which takes its vocabulary from the data.")
    return NamedRun(target, resolve(run, vocabulary))


def resolved_for(
    run: TrainRun | str,
    data_root: Path,
    max_quarantined: Budget | None = None,
    starting: Callable[[TrainRun], TrainRun] | None = None,
) -> ResolvedRun:
    """Resolve a run for the datasets in a folder.

    Args:
        run: The run, or `TARGET` of it.
        data_root: Folder of the datasets.
        max_quarantined: The argument of `launch.run`.
        starting: As for `named_run`.

    Raises:
        InputError: A dataset of the run is missing, or the datasets do not fit it.
    """
    if isinstance(run, str):
        return named_run(run, data_root, max_quarantined=max_quarantined, starting=starting).resolved
    return _resolved(run if starting is None else starting(run), data_root, max_quarantined)


def _resolved(run: TrainRun, data_root: Path, max_quarantined: Budget | None, fits_rows: bool = False) -> ResolvedRun:
    datasets = open_root(data_root, max_quarantined=max_quarantined)
    manifests = {name: dataset.manifest for name, dataset in datasets.items()}
    vocabulary = next(iter(manifests.values())).vocabulary
    run = with_datasets(run, manifests)
    return resolve(with_rows_for(run, datasets) if fits_rows else run, vocabulary, manifests)


def with_rows_for(run: TrainRun, datasets: Mapping[str, TokenDataset]) -> TrainRun:
    """Return a run whose rows hold the longest document of its datasets, within the model's context.

    A step keeps its number of tokens, as nearly as whole rows allow. A run whose rows are long enough stays as it is.

    Args:
        run: The run, with the names of its datasets.
        datasets: The datasets, by name.
    """
    data, context = run.data, run.model.max_seq_len
    names = {name for stage in data.mixture for name in stage.weights}
    longest = max(cut_documents(datasets[name], data.seq_len).longest for name in names)
    if longest <= data.seq_len or context <= data.seq_len:
        return run
    seq_len, batch_size = rows_for(min(longest, context), data)
    return replace(run, data=replace(data, seq_len=min(seq_len, context), batch_size=batch_size))


def rows_for(num_tokens: int, data: DataSpec) -> tuple[int, int]:
    """Return length and number of rows that hold documents of a length, with about as many tokens in a step as before.

    Args:
        num_tokens: Tokens of the longest document.
        data: The rows until now.

    Returns:
        Tokens in a row, a multiple of 128, and rows in a step, at least one.
    """
    seq_len = -(-num_tokens // _ROW_MULTIPLE) * _ROW_MULTIPLE
    return seq_len, max(1, round(data.tokens_per_step / seq_len))


def with_datasets(run: TrainRun, manifests: Mapping[str, Manifest]) -> TrainRun:
    """Replace `ALL_DATASETS` in a run's mixture by the available datasets, weighted by their tokens.

    Datasets whose name begins with `heldout` are left out.

    Args:
        run: The run.
        manifests: Manifest of each dataset, by name.

    Raises:
        InputError: A dataset of the run is missing, or a run takes all datasets of a folder without training tokens.
    """
    mixture = tuple(replace(stage, weights=_expanded(stage.weights, manifests)) for stage in run.data.mixture)
    missing = sorted({name for stage in mixture for name in stage.weights} - set(manifests))
    if missing:
        raise InputError(
            f"recipe `{run.name}` reads dataset `{missing[0]}`, which the data folder does not have; it has "
            f"{', '.join(sorted(manifests))}. Choose among them with --mixture "
            f"{'=1,'.join(_trainable(manifests) or sorted(manifests))}=1"
        )
    return replace(run, data=replace(run.data, mixture=mixture))


def _expanded(weights: Mapping[str, float], manifests: Mapping[str, Manifest]) -> Mapping[str, float]:
    if ALL_DATASETS not in weights:
        return weights
    tokens = {name: manifests[name].num_tokens for name in _trainable(manifests)}
    if not any(tokens.values()):
        raise InputError(
            f"the data folder must have a dataset to train on, got {', '.join(sorted(manifests))}: empty datasets and "
            f"names that begin with {HELDOUT_FOLDER!r} are left out; build one, or choose with --mixture"
        )
    return {name: count / sum(tokens.values()) for name, count in tokens.items() if count}


def _trainable(manifests: Mapping[str, Manifest]) -> list[str]:
    return [name for name in sorted(manifests) if not name.startswith(HELDOUT_FOLDER)]


def _check_derived(rules: Mapping[str, str], name: str, assignments: tuple[str, ...]) -> None:
    """Refuse to set a derived field; `rules` has the rule by the path of the field."""
    for path in map(assigned_path, assignments):
        for derived, rule in rules.items():
            if path == derived or path.startswith(f"{derived}."):
                raise InputError(f"`{path}` of `{name}` follows from {rule}.")
