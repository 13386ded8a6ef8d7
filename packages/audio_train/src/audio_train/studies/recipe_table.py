"""Every recipe with its size and price, as rows for `audio-train recipes` and for the page in the docs."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from audio_train.config import NamedModel
from audio_train.recipes import STUDIES
from audio_train.recipes.catalogue import PRETRAINING_CHOICES
from audio_train.recipes.checkpoints import CHECKPOINTS, EXPORTS
from audio_train.recipes.study import Study, mixture_name
from audio_train.recipes.tokenization import CHOICES, TOKENIZATIONS
from audio_train.resolved import resolve
from audio_train.studies import scale


@dataclass(frozen=True)
class Row:
    """A recipe as published.

    Attributes:
        name: of the recipe.
        study: of the study it belongs to.
        question: that study's.
        source: where it is described, and what it is called there.
        reported: published result, or "unknown".
        model: name of its size, or width and layers.
        num_parameters: all parameters; None where the vocabulary is that of the user's data.
        mixture: name of the mixture, or of its only corpus; None for stages.
        num_steps: updates.
        num_tokens: tokens read.
        training_flops: floating-point operations of forward and backward pass.
        start: what it begins with.
        active: whether the source starts the run, and not only defines it.
    """

    name: str
    study: str
    question: str
    source: str
    reported: str
    model: str
    num_parameters: int | None
    mixture: str | None
    num_steps: int | None
    num_tokens: int | None
    training_flops: float | None
    start: str
    active: bool


def rows(studies: Iterable[Study] = STUDIES) -> Iterator[Row]:
    """The rows of studies, in their order."""
    for study in studies:
        for name, run in study.runs.items():
            vocabulary = study.vocabulary_of(name)
            resolved = None if vocabulary is None else resolve(run, vocabulary)
            model = run.model
            yield Row(
                name=name,
                study=study.name,
                question=study.question,
                source=study.source_of(name),
                reported=study.reported_of(name),
                model=model.size if isinstance(model, NamedModel) else f"d{model.embed}-L{model.layers}",
                num_parameters=resolved and resolved.model.num_parameters,
                mixture=mixture_name(run.data.mixture[0].weights) if len(run.data.mixture) == 1 else None,
                num_steps=resolved.num_steps if resolved else run.steps,
                num_tokens=resolved and resolved.num_tokens,
                training_flops=resolved and resolved.training_flops,
                start=run.start.source or run.start.kind,
                active=name not in study.inactive,
            )


def document() -> dict[str, Any]:
    """Everything that has a name, as JSON: runs, tokenizations, starting checkpoints and exports."""
    checkpoints = CHECKPOINTS.values()
    return {
        "recipes": [asdict(row) for row in rows()],
        "tokenizations": [{**asdict(recipe), "commands": recipe.commands} for recipe in TOKENIZATIONS.values()],
        "checkpoints": [
            {"name": c.name, "repository": c.repository, "revision": c.revision, "recipe": c.recipe, "note": c.note}
            for c in checkpoints
        ],
        "exports": [{**asdict(export), "command": export.command} for export in EXPORTS],
    }


def count(number: int | float | None) -> str:
    """A number of parameters, tokens or operations in three digits, such as "737M", "500B" or "5.84e20"."""
    if number is None:
        return "-"
    if number >= 1e15:
        return f"{number:.2e}".replace("e+", "e")
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:g}"


def lines() -> Iterator[str]:
    """The table for a terminal."""
    for study in STUDIES:
        yield f"{study.name}: {study.question}"
        for row in rows([study]):
            size, tokens, flops = map(count, (row.num_parameters, row.num_tokens, row.training_flops))
            mark = "" if row.active else " (defined, not started by the source)"
            yield f"  {row.name:<36} {size:>6} parameters {tokens:>6} tokens {flops:>8} FLOPs{mark}"
            yield f"      reported: {row.reported}"


_INTRODUCTION = """# The study

Every experiment of the study as a recipe: `audio-train recipes` lists them, `audio-train show NAME` prints one with
where each of its numbers comes from, `audio-train run NAME --data DATA --out RUN` trains it. This page is written by
`UPDATE_GOLDEN=1 uv run pytest tests/recipes`.

**Names.** A run is named by its experiment's number, then by what tells it from its siblings, joined by hyphens, in
lower case; sizes, mixtures and corpora go by the names they have elsewhere, `_` and `/` becoming `-`.

**Figures.** Parameters are all of them, both vocabulary matrices included where they are not tied. FLOPs are three
forward passes by Levanter's formula (`utils/flop_utils.py`: full attention, both vocabulary matrices apart), but with
heads as wide as they are, where Levanter takes them for width / heads: 1.57e22 instead of 1.32e22 for `exp2.1-4b`, and
the same wherever heads fill the width. It is not `6 N D`. "unknown" means that no result was published. *Inactive*
runs are defined by the source, which does not start them. *Choices* say which way was taken where the source disagrees
with itself or leaves something open, where the source has it, and where this project differs; those that many runs
share come first.

## Choices of all studies

Of all runs but those of this project, `optimizer.cautious_mean` where the rule is the cautious one and
`start.initialization` where a run begins from scratch:

{common}

## Miniatures

`--scale smoke` runs any recipe in minutes on two CPU cores:

```
audio-train smoke-data --out DATA --for exp1.4          the corpora, and weights to begin with
audio-train run exp1.4-text-5 --scale smoke --data DATA --out RUN
audio-train study exp1.4 --scale smoke --data DATA --out STUDY     every run of a study, and one report
```

What comparisons of miniatures show is in [miniature.md](miniature.md). `isoflop-miniature`, `grammar-loss` and
`initialization`, at the end, are this project's own and have this one size.

"""

_ISOFLOP = """## Scaling laws

`audio-train isoflop grid` lists the models of `exp1.6`, with budgets counted without the backward pass, as the source
does, and with it, as the paper labels them. `audio-train isoflop fit LOSSES.csv` fits, to losses of such runs, a
parabola in the logarithm of the parameters for each budget, power laws of the best parameters, tokens and loss through
their minima, and the formula `E + A / N^alpha + B / D^beta` to all runs at once, each with bootstrap intervals; draws
them with `--figures FOLDER`; and predicts the best model of a budget with `--predict FLOPS`. Reported: `N* ~ C^0.367`,
`D* ~ C^0.579`; prefactors are not published. The scripts define 66 runs, of which the paper shows 64.
`isoflop-miniature` is a sweep that two CPU cores train."""


def page() -> str:
    """The table for the docs."""
    common = _choices(PRETRAINING_CHOICES)
    rules = "\n\n".join(inspect.cleandoc(scale.__doc__ or "").split("\n\n")[1:])
    parts = [_INTRODUCTION.format(common="\n".join(common)) + rules, _ISOFLOP]
    for study in STUDIES:
        head = "| run | model | parameters | mixture | tokens | steps | FLOPs | start | reported |"
        table = [head, "|---|---|---|---|---|---|---|---|---|", *(_markdown(row) for row in rows([study]))]
        notes = [note for note in _choices(study.choices) if note not in common]
        choices = "\n".join(["\nChoices:\n", *notes]) if notes else ""
        parts.append(
            f"## {study.name}\n\n{study.question}\n\nSource: {study.source}.\n\n{chr(10).join(table)}\n{choices}"
        )
    parts += [_tokenizations(), _checkpoints()]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _choices(choices: Mapping[str, str]) -> list[str]:
    return [f"- `{path}`: {why}" for path, why in choices.items()]


def _markdown(row: Row) -> str:
    size, tokens, flops = map(count, (row.num_parameters, row.num_tokens, row.training_flops))
    name = f"`{row.name}`" + ("" if row.active else " *inactive*")
    steps = "-" if row.num_steps is None else f"{row.num_steps:,}"
    cells = (name, row.model, size, row.mixture or "-", tokens, steps, flops, row.start, row.reported)
    return f"| {' | '.join(cells)} |"


def _tokenizations() -> str:
    head = "| recipe | corpus | makes | layouts | grouping | begin of text, spaces | vocabulary | published as |"
    table = [
        f"| `{t.name}` | {t.corpus} | {', '.join(t.produces)} | {', '.join(t.layouts)} | {t.grouping} | "
        f"{t.begin_of_text}, {t.text_spaces} | "
        f"{t.vocabulary} | {t.repository}{'' if t.revision is None else f'@{t.revision[:7]}'} |"
        for t in TOKENIZATIONS.values()
    ]
    return "\n".join(
        [
            "## Tokenization\n",
            "How each corpus of the mixtures is made; `audio-train tokenization NAME` prints the command lines.\n",
            head,
            "|---|---|---|---|---|---|---|---|",
            *table,
            "\nChoices:\n",
            *(f"- `{field}`: {why}" for field, why in CHOICES.items()),
        ]
    )


def _checkpoints() -> str:
    starts = [
        f"| `{c.name}` | {c.repository} | {c.revision} | {c.recipe or '-'} | {c.note} |" for c in CHECKPOINTS.values()
    ]
    exports = [f"| `{e.recipe}` | {e.step:,} | {e.alias} |" for e in EXPORTS]
    return "\n".join(
        [
            "## Checkpoints\n",
            "Weights that runs begin with:\n",
            "| name | repository | revision | recipe | what it is |",
            "|---|---|---|---|---|",
            *starts,
            "\nCheckpoints that the study converted: `audio-train export RUN --step STEP` writes one of them.\n",
            "| run | step | called |",
            "|---|---|---|",
            *exports,
        ]
    )
