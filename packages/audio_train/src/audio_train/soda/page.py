"""Generate docs/study.md."""

import inspect
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from audio_train.recipes import smoke_scale
from audio_train.recipes.table import RecipeRow, count, rows
from audio_train.soda.catalogue import PRETRAINING_CHOICES
from audio_train.soda.checkpoints import CHECKPOINTS, EXPORTS
from audio_train.soda.experiments import EXPERIMENTS
from audio_train.soda.tokenization import CHOICES, TOKENIZATIONS

_INTRODUCTION = """# The study

Every experiment of the study as a recipe: `audio-train recipes` lists them, `audio-train show NAME` prints one with
where each of its numbers comes from, `audio-train run NAME --data DATA --out RUN` trains it. This page is written by
`UPDATE_GOLDEN=1 uv run pytest tests/recipes`.

**Names.** A run is named by its experiment's number, then by what tells it from its siblings, joined by hyphens, in
lower case; sizes, mixtures and corpora go by the names they have elsewhere, `_` and `/` becoming `-`.

**Figures.** Parameters are all of them, both vocabulary matrices included where they are not tied. FLOPs are three
forward passes by Levanter's formula (`utils/flop_utils.py`: full attention; of the vocabulary matrices the head alone),
but with the model's head width, where Levanter uses width / heads: 1.57e22 instead of 1.32e22 for `exp2.1-4b`. Both
agree if heads x head width = width. It is not `6 N D`. "unknown" means that no result was published. *Inactive*
runs are defined by the source, which does not start them. *Choices* say which way was taken where the source disagrees
with itself or leaves something open, where the source has it, and where this project differs; those that many runs
share come first.

## Choices of all experiments

These hold for every run of the study unless its section says otherwise. `optimizer.cautious_mean` applies to runs
under the cautious rule, `init.vocabulary_init` to runs from scratch.

{common}

## Miniatures

`--scale smoke` runs any recipe in minutes on two CPU cores:

```
audio-train soda make-smoke-data --out DATA --for exp1.4    # the datasets, and weights to begin with
audio-train run exp1.4-text-5 --scale smoke --data DATA --out RUN
audio-train soda run exp1.4 --scale smoke --data DATA --out OUT    # every run of an experiment, and one report
```

What comparisons of miniatures show is in [miniature.md](miniature.md). `isoflop-miniature`, `grammar-loss` and
`initialization`, at the end, are this project's own and have this one size. Generated datasets do not follow the rules
of a recipe's tokenization: documents begin with one begin-of-text id, texts have no added spaces, and the groupings
`prefix` and `gap` are `recording`.

"""

_ISOFLOP = """## Scaling laws

`audio-train soda grid` lists the models of `exp1.6`, with budgets counted without the backward pass, as the source
does, and with it, as the paper labels them. `audio-train isoflop fit LOSSES.csv` fits, to losses of such runs, a
parabola in the logarithm of the parameters for each budget, power laws of the best parameters, tokens and loss through
their minima, and the formula `E + A / N^alpha + B / D^beta` to all runs at once, each with bootstrap intervals; draws
them with `--figures FOLDER`; and predicts the best model of a budget with `--predict FLOPS`. Reported: `N* ~ C^0.367`,
`D* ~ C^0.579`; prefactors are not published. The scripts define 66 runs, of which the paper shows 64.
`isoflop-miniature` is a sweep that two CPU cores train."""


def page() -> str:
    """Content of docs/study.md."""
    common = _choices(PRETRAINING_CHOICES)
    rules = "\n\n".join(inspect.cleandoc(smoke_scale.__doc__ or "").split("\n\n")[1:])
    parts = [_INTRODUCTION.format(common="\n".join(common)) + rules, _ISOFLOP]
    for experiment in EXPERIMENTS:
        head = "| run | model | parameters | mixture | tokens | steps | FLOPs | start | reported |"
        table = [head, "|---|---|---|---|---|---|---|---|---|", *(_markdown(row) for row in rows([experiment]))]
        notes = [note for note in _choices(experiment.choices) if note not in common]
        choices = "\n".join(["\nChoices:\n", *notes]) if notes else ""
        about = f"## {experiment.name}\n\n{experiment.question}\n\nSource: {experiment.source}."
        parts.append(f"{about}\n\n{chr(10).join(table)}\n{choices}")
    parts += [_tokenizations(), _checkpoints()]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _choices(choices: Mapping[str, str]) -> list[str]:
    return [f"- `{path.partition('=')[0]}`: {why}" for path, why in choices.items()]


def _markdown(row: RecipeRow) -> str:
    size, tokens, flops = map(count, (row.num_parameters, row.num_tokens, row.training_flops))
    name = f"`{row.name}`" + ("" if row.active else " *inactive*")
    steps = "-" if row.num_steps is None else f"{row.num_steps:,}"
    cells = (name, row.model, size, row.mixture or "-", tokens, steps, flops, row.init, row.reported)
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
            "How each corpus of the mixtures is made; `audio-train soda tokenization NAME` prints the command lines.\n",
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


def checkpoint_rows() -> dict[str, list[dict[str, Any]]]:
    """Return the published weights and the exports of the study, as JSON."""
    starts = [
        {"name": c.name, "repository": c.repository, "revision": c.revision, "recipe": c.recipe, "note": c.note}
        for c in CHECKPOINTS.values()
    ]
    return {"checkpoints": starts, "exports": [{**asdict(export), "command": export.command} for export in EXPORTS]}
