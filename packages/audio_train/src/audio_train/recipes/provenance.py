"""Origin of each number of a resolved run, for `audio-train show`."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from audio_data import to_json
from audio_train.config import LearningRateRule, TrainRun
from audio_train.optimization.schedules import step_counts
from audio_train.overrides import assigned_path
from audio_train.recipes.experiment import Experiment
from audio_train.recipes.smoke_scale import Scale
from audio_train.recipes.targets import NamedRun
from audio_train.resolved import ResolvedRun

_FROM_SCRATCH = ("init.audio_embedding_init", "init.vocabulary_init")
_RULES = {
    "inverse_sqrt_width": "{base} sqrt({batch}/256) sqrt(1024/{width})",
    "sqrt_width": "{base} sqrt({batch}/256) sqrt({width}/1024)",
    "batch": "{base} sqrt({batch}/256)",
    "isoflop": "{base} sqrt({batch}) / {width}",
}


def origins(named: NamedRun, *, scale: Scale = "published", assignments: tuple[str, ...]) -> dict[str, str]:
    """Origins of the numbers of a run.

    Args:
        named: The resolved run, and its recipe.
        scale: Scale at which it was resolved.
        assignments: `path=value` of each field set by the user.

    Returns:
        A short text by path: for each given field below `run`, whether it comes from the recipe, a default, the scale
        or the user; for each derived number its formula with numbers. A path covers all paths below it.
    """
    target = named.target
    given = _given(named.resolved, target.recipe, target.experiment, scale, assignments)
    return {**given, **_derived(named.resolved)}


def _given(
    resolved: ResolvedRun, recipe: TrainRun, experiment: Experiment, scale: Scale, assignments: tuple[str, ...]
) -> dict[str, str]:
    published, defaults = dict(leaves(to_json(recipe))), _defaults()
    user = set(map(assigned_path, assignments))
    found: dict[str, str] = {}
    for path, value in leaves(resolved.run.to_json()):
        if path in _FROM_SCRATCH and resolved.run.init.kind != "scratch":
            origin = "not used: the weights are read"
        elif any(path == name or path.startswith(f"{name}.") for name in user):
            origin = "--set"
        elif published.get(path, ...) != value:
            origin = f"scale {scale}" if scale != "published" else "the scale"
        elif defaults.get(path, ...) == value and not _chosen(experiment.choices, path, value):
            origin = "default"
        else:
            origin = "recipe"
        choice = _chosen(experiment.choices, path, value) if origin == "recipe" else None
        found[f"run.{path}"] = f"{origin}: {choice}" if choice else origin
    name = experiment.mixture_name(resolved.run.data.mixture[0].weights)
    if name is not None:
        found["run.data.mixture"] = f"mixture {name}"
    return found


def _chosen(choices: Mapping[str, str], path: str, value: object) -> str | None:
    """Reason for the value at a path: the experiment's choice for the path or for one above it."""
    for key, why in choices.items():
        name, equals, chosen = key.partition("=")
        if (path == name or path.startswith(f"{name}.")) and (not equals or str(value) == chosen):
            return why
    return None


def _defaults() -> dict[str, Any]:
    """Default of every field that has one, by path."""
    found: dict[str, Any] = {}

    def visit(cls: type, prefix: str) -> None:
        hints = typing.get_type_hints(cls)
        for field in dataclasses.fields(cls):
            if field.default is not dataclasses.MISSING:
                found.update({f"{prefix}{field.name}{path}": v for path, v in _dotted(to_json(field.default))})
            elif dataclasses.is_dataclass(hints[field.name]):
                visit(typing.cast(type, hints[field.name]), f"{prefix}{field.name}.")

    visit(TrainRun, "")
    return found


def _dotted(value: Any) -> list[tuple[str, Any]]:
    return [(f".{path}" if path else "", leaf) for path, leaf in leaves(value)]


def _derived(resolved: ResolvedRun) -> dict[str, str]:
    run, data, model = resolved.run, resolved.run.data, resolved.model
    flops_per_token = model.forward_flops_per_token(data.seq_len)
    steps = f"{run.tokens:,.0f} tokens / {data.tokens_per_step:,} per step, rounded up" if run.tokens else "as given"
    first = resolved.first_step
    length = f"{resolved.num_steps:,}" if not first else f"({first:,} + {resolved.num_steps:,})"
    decay = "all steps after the warm-up" if run.schedule.decay is None else _share(run.schedule.decay, length)
    warmup, decay_start, _ = step_counts(run.schedule, resolved.last_step)
    cut = f"; the decay replaces it from step {decay_start:,} on" if decay_start < warmup else ""
    embeddings = 1 if model.tied else 2
    return {
        "derived.model": "from run.model and the size of the vocabulary",
        "derived.num_parameters": f"{model.body_parameters:,} in the body + {embeddings} x {model.vocab_size:,} x "
        f"{model.embed:,} in the vocabulary",
        "derived.num_steps": steps,
        "derived.first_step": "step of the checkpoint that the run continues" if first else "start of the run",
        "derived.num_tokens": f"{resolved.num_steps:,} steps x {data.tokens_per_step:,} tokens",
        "derived.tokens_per_step": f"{data.batch_size} rows x {data.seq_len} tokens",
        "derived.peak_learning_rate": _learning_rate(resolved),
        "derived.warmup_steps": f"{_share(run.schedule.warmup, length)}, truncated{cut}",
        "derived.decay_start_step": "all steps minus the decay",
        "derived.decay_steps": decay,
        **_mixture(resolved),
        "derived.loss_weights": "run.loss.kind_weights; 1 for other kinds",
        "derived.forward_flops_per_token": "counting full attention: see Qwen3xConfig.forward_flops_per_token",
        "derived.training_flops": f"3 x {flops_per_token:,.0f} per token x {resolved.num_tokens:,} tokens",
    }


def _share(number: float, length: str) -> str:
    return f"all {length} steps" if number == 1 else f"{number:g} of {length} steps"


def _mixture(resolved: ResolvedRun) -> dict[str, str]:
    block = resolved.run.data.mixture_block
    origins = {
        "start_step": "start_fraction of the steps",
        "weights": "weights divided by their sum",
        "rows_of_block": f"weights times the {block:,} rows of a block, in whole rows",
    }
    stages = range(len(resolved.run.data.mixture))
    return {f"derived.mixture.{stage}.{name}": origin for stage in stages for name, origin in origins.items()}


def _learning_rate(resolved: ResolvedRun) -> str:
    rule = resolved.run.optimizer.learning_rate
    if not isinstance(rule, LearningRateRule):
        return "as given"
    width = rule.width or resolved.model.embed
    formula = _RULES[rule.rule].format(base=f"{rule.base:g}", batch=resolved.run.data.batch_size, width=width)
    return f"rule {rule.rule}: {formula}"


def leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """Every number, string and empty container in a JSON value, with its path of names joined by dots."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    pairs = [pair for key, child in children for pair in leaves(child, f"{path}.{key}" if path else str(key))]
    return pairs or [(path, value)]


def origin_of(path: str, known: Mapping[str, str]) -> str | None:
    """Origin of a path, or of the nearest path above it."""
    while path:
        if path in known:
            return known[path]
        path = path.rpartition(".")[0]
    return None
