"""Every recipe with its size and cost, as rows for `audio-train recipes`."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from audio_train.config import NamedModel
from audio_train.recipes.experiment import UNKNOWN, Experiment
from audio_train.resolved import resolve


@dataclass(frozen=True)
class RecipeRow:
    """Row of a recipe as published.

    Attributes:
        name: Name of the recipe.
        experiment: Name of its experiment.
        question: Question of the experiment.
        source: Source of the recipe, with its name there.
        reported: Published result, or "unknown".
        model: Name of its size, or width and layers.
        num_parameters: All parameters; None if the vocabulary comes from the user's data.
        mixture: Name of the mixture or of its only dataset; None for several stages.
        num_steps: Steps.
        num_tokens: Tokens read.
        training_flops: FLOPs of forward and backward pass.
        init: Source of the first weights, or "scratch".
        active: Whether the source launches the run; otherwise it only defines it.
    """

    name: str
    experiment: str
    question: str
    source: str
    reported: str
    model: str
    num_parameters: int | None
    mixture: str | None
    num_steps: int | None
    num_tokens: int | None
    training_flops: float | None
    init: str
    active: bool


def rows(experiments: Iterable[Experiment], words: Sequence[str] = ()) -> Iterator[RecipeRow]:
    """Rows of experiments, in their order.

    Args:
        experiments: The experiments.
        words: List only the recipes that have each of these words, in any case, in the name of the recipe, of its
            experiment, of its model or of its mixture.
    """
    for experiment in experiments:
        for name, run in experiment.runs.items():
            model = run.model.size if isinstance(run.model, NamedModel) else f"d{run.model.embed}-L{run.model.layers}"
            stages = run.data.mixture
            mixture = experiment.mixture_name(stages[0].weights) if len(stages) == 1 else None
            described = " ".join((name, experiment.name, model, mixture or "")).lower()
            if not all(word.lower() in described for word in words):
                continue
            vocabulary = experiment.vocabulary_of(name)
            resolved = None if vocabulary is None else resolve(run, vocabulary)
            yield RecipeRow(
                name=name,
                experiment=experiment.name,
                question=experiment.question,
                source=experiment.source_of(name),
                reported=experiment.reported_of(name),
                model=model,
                num_parameters=resolved and resolved.model.num_parameters,
                mixture=mixture,
                num_steps=resolved.num_steps if resolved else run.steps,
                num_tokens=resolved and resolved.num_tokens,
                training_flops=resolved and resolved.training_flops,
                init=run.init.source or run.init.kind,
                active=name not in experiment.inactive,
            )


def count(number: int | float | None) -> str:
    """Format a number of parameters, tokens or FLOPs with three digits, such as "737M", "500B" or "5.84e20"."""
    if number is None:
        return "-"
    if number >= 1e12:
        return f"{number:.2e}".replace("e+", "e")
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:g}"


def lines(rows: Iterable[RecipeRow], width: int | None = None) -> Iterator[str]:
    """Lines of the table for a terminal: a heading for each experiment, and a line for each recipe.

    Args:
        rows: The recipes.
        width: Cells of a line; what is longer ends in an ellipsis. None for lines of any length.
    """
    for (experiment, question), found in itertools.groupby(rows, lambda row: (row.experiment, row.question)):
        yield shortened(f"{experiment}: {question}", width)
        for row in found:
            size, tokens, flops = map(count, (row.num_parameters, row.num_tokens, row.training_flops))
            remarks = [] if row.active else ["defined, but not launched by the source"]
            remarks += [] if row.reported == UNKNOWN else [f"reported: {row.reported}"]
            line = f"  {row.name:<34} {size:>5} params {tokens:>5} tokens {flops:>8} FLOPs  {'; '.join(remarks)}"
            yield shortened(line.rstrip(), width)


def overview(experiments: Iterable[Experiment], width: int | None = None) -> Iterator[str]:
    """One line for each experiment: the number of its recipes, its name and its question.

    Args:
        experiments: The experiments.
        width: As of `lines`.
    """
    for experiment in experiments:
        yield shortened(f"{len(experiment.runs):>4}  {experiment.name:<24}  {experiment.question}", width)


def shortened(line: str, width: int | None) -> str:
    """Return a line of at most a number of cells, whose end is an ellipsis if something is left out."""
    return line if width is None or len(line) <= width else line[: width - 1] + "…"
