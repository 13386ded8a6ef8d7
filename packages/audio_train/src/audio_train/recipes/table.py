"""Every recipe with its size and cost, as rows for `audio-train recipes`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from audio_train.config import NamedModel
from audio_train.recipes.experiment import Experiment
from audio_train.resolved import resolve


@dataclass(frozen=True)
class Row:
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


def rows(experiments: Iterable[Experiment]) -> Iterator[Row]:
    """Rows of experiments, in their order."""
    for experiment in experiments:
        for name, run in experiment.runs.items():
            vocabulary = experiment.vocabulary_of(name)
            resolved = None if vocabulary is None else resolve(run, vocabulary)
            model = run.model
            yield Row(
                name=name,
                experiment=experiment.name,
                question=experiment.question,
                source=experiment.source_of(name),
                reported=experiment.reported_of(name),
                model=model.size if isinstance(model, NamedModel) else f"d{model.embed}-L{model.layers}",
                num_parameters=resolved and resolved.model.num_parameters,
                mixture=experiment.mixture_name(run.data.mixture[0].weights) if len(run.data.mixture) == 1 else None,
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


def lines(experiments: Iterable[Experiment]) -> Iterator[str]:
    """Lines of the table for a terminal."""
    for experiment in experiments:
        yield f"{experiment.name}: {experiment.question}"
        for row in rows([experiment]):
            size, tokens, flops = map(count, (row.num_parameters, row.num_tokens, row.training_flops))
            mark = "" if row.active else " (defined, but not launched by the source)"
            yield f"  {row.name:<36} {size:>6} parameters {tokens:>6} tokens {flops:>8} FLOPs{mark}"
            yield f"      reported: {row.reported}"
