"""Generate docs/miniature.md: tables, differences and figures, from the results of `run_miniature`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from audio_data import InputError, from_json, read_json, write_output
from audio_train.config import TrainRun
from audio_train.figures import SVG_MARK, bar_figure
from audio_train.isoflop.fit import IsoflopFit, fit_isoflop
from audio_train.isoflop.report import curves_figure, laws_figure
from audio_train.recipes.targets import find_target
from audio_train.renames import with_current_names
from audio_train.soda.comparisons import COMPARISONS
from audio_train.soda.miniature import Column, CurveColumn, RunComparison, measurements

PAGE_FILE = "miniature.md"
FOLDER = "miniature"
RESULTS_FILE = "results.json"

_COMMAND = "audio-train soda miniature --data DATA --out RUNS --docs docs"
_INTRODUCTION = """# What the miniature shows

The study's comparisons at smoke scale: models a thousand times smaller, runs a million times shorter, on generated
speech and text ([the rules](study.md#miniatures)). This page and its figures are written by

```
{command}
```

which makes the data, trains every run, keeps what is finished, and scores all runs of a table on the same held-out
documents; `--only NAME` does so for one section, called as its figure is, and keeps the others. Losses are in nats a
token. They are means over as many seeds as a section says; ± is the largest distance of a seed from the mean.
Differences are those of the means, and are called noise where the seeds of the two runs overlap; that two or three
seeds do not overlap proves little."""

_ONE_SEED = "One seed, so that nothing here tells a difference from noise."

_SWEEP = """## Where the best size lies

Does the split of a budget between parameters and tokens have an optimum, and does it move with the budget?

The sweep `isoflop-miniature`: every budget (forward and backward pass, all ids) spent on each width, on the first
codebook of generated speech, from one seed.

{fit}

![losses at equal compute]({folder}/curves.svg)

![the best models]({folder}/laws.svg)

By hand, run by run:

```
audio-train soda run isoflop-miniature --data DATA --out SWEEP
audio-train isoflop losses SWEEP/runs/* --out losses.csv
audio-train isoflop fit losses.csv --figures FIGURES
```

**Reported at full scale:** `N* ~ C^0.367`, `D* ~ C^0.579`.

**What carries over:** {carries}"""

_SWEEP_CARRIES = """The method does: every budget has an optimum inside its sizes, it moves to larger models and more
tokens as the budget grows, and the fit finds it and says how sure it is. The setting was chosen for that: with all
eight codebooks the narrowest model was best at every such budget, with text the noise was as large as the curvature,
and a smaller budget had its best at the narrowest. So the exponents show that the fit works, and no more: with
{num_ids:,} ids nearly all parameters and operations are those of the two vocabulary matrices, which grow with the
width and not with its square, the samples are read several times over, and a factor of four in the budget is short
ground for a slope."""


def write_page(results: Mapping[str, Any], docs: Path) -> Path:
    """Write `DOCS/miniature.md`, its figures and the numbers behind them to `DOCS/miniature`; returns the page.

    Args:
        results: Results of `run_miniature`. Comparisons that they lack are kept from `DOCS`.
        docs: Folder of the page.

    Raises:
        InputError: The results lack the sweep, and `DOCS` has no earlier results.
    """
    folder = docs / FOLDER
    results = _with_earlier(results, folder / RESULTS_FILE)
    folder.mkdir(parents=True, exist_ok=True)
    for name, svg in figures(results).items():
        write_output(folder / name, svg.encode(), SVG_MARK)
    write_output(folder / RESULTS_FILE, (json.dumps(results, indent=2) + "\n").encode(), b'"comparisons": ')
    write_output(docs / PAGE_FILE, page(results).encode(), _INTRODUCTION.partition("\n")[0].encode())
    return docs / PAGE_FILE


def page(results: Mapping[str, Any]) -> str:
    """Content of the page, as Markdown."""
    parts = [_INTRODUCTION.format(command=_COMMAND)]
    parts += [_section(comparison, results["comparisons"].get(comparison.name)) for comparison in COMPARISONS]
    fit = "\n".join(["```", *results["fit"], "```"])
    carries = _SWEEP_CARRIES.format(num_ids=results["num_ids"])
    parts.append(_SWEEP.format(fit=fit, folder=FOLDER, carries=carries))
    return "\n\n".join(parts) + "\n"


def figures(results: Mapping[str, Any]) -> dict[str, str]:
    """SVG documents by file name."""
    fit = sweep_fit(results)
    rows = results["comparisons"]
    bars = {f"{c.name}.svg": _bars(c, rows[c.name]) for c in COMPARISONS if c.name in rows}
    return {**bars, "curves.svg": curves_figure(fit), "laws.svg": laws_figure(fit)}


def _with_earlier(results: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Results, with those of an earlier run that they do not replace."""
    if "sweep" in results:
        return dict(results)
    if not path.exists():
        raise InputError(f"`{path}` must exist to add results to it; run without --only first")
    earlier = read_json(path, remedy="run without --only")
    return {**earlier, "comparisons": {**earlier["comparisons"], **results["comparisons"]}}


def sweep_fit(results: Mapping[str, Any]) -> IsoflopFit:
    """Parabolas and power laws of the sweep."""
    return fit_isoflop(measurements(results))


def _section(comparison: RunComparison, rows: Mapping[str, Any] | None) -> str:
    if rows is None:
        todo = f"Not measured yet: `{_COMMAND} --only {comparison.name}`."
        return "\n\n".join([f"## {comparison.title}", comparison.question, todo])
    head = ("run", "", "parameters", "steps", *(column.label for column in comparison.columns))
    table = [f"| {' | '.join(head)} |", "|---|---|" + "---:|" * (len(head) - 2)]
    for recipe, label in comparison.runs.items():
        row = rows[recipe]
        scores = [_cell(row["scores"][column.label], column) for column in comparison.columns]
        cells = (f"`{recipe}`", label, f"{row['num_parameters']:,}", f"{row['num_steps']:,}", *scores)
        table.append(f"| {' | '.join(cells)} |")
    return "\n\n".join(
        [
            f"## {comparison.title}",
            f"{comparison.question} {_seeds(rows)}",
            *_earlier(comparison, rows),
            "\n".join(table),
            "\n".join(_differences(comparison, rows)),
            f"![{comparison.title}]({FOLDER}/{comparison.name}.svg)",
            f"**Reported at full scale:** {comparison.published}.",
            f"**What carries over:** {comparison.carries_over}",
        ]
    )


def _earlier(comparison: RunComparison, rows: Mapping[str, Any]) -> Iterator[str]:
    """Remark for recipes that have changed since they were measured."""
    changed = [recipe for recipe in comparison.runs if not _is_measured(recipe, rows[recipe])]
    if changed:
        yield (
            f"*Measured before {', '.join(f'`{recipe}`' for recipe in changed)} changed; "
            f"`{_COMMAND} --only {comparison.name}` measures anew.*"
        )


def _is_measured(recipe: str, row: Mapping[str, Any]) -> bool:
    """Whether a row was measured with the current recipe; fields that it lacks count as their defaults."""
    try:
        return from_json(TrainRun, with_current_names(row.get("run")), "run") == find_target(recipe).at_scale("smoke")
    except InputError:  # a field that no longer exists
        return False


def _seeds(rows: Mapping[str, Any]) -> str:
    num_seeds = len(next(iter(next(iter(rows.values()))["scores"].values())))
    return _ONE_SEED if num_seeds == 1 else f"{num_seeds} seeds."


def _cell(values: Sequence[float | None], column: Column | CurveColumn) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = fmean(known)
    if _is_share(column):
        return f"{mean:.2%}"
    spread = f" ± {max(abs(value - mean) for value in known):.3f}" if len(known) > 1 else ""
    return f"{mean:.3f}{spread}"


def _is_share(column: Column | CurveColumn) -> bool:
    """Whether a column has shares, not nats per token."""
    return isinstance(column, Column) and column.softmax == "outside"


def _differences(comparison: RunComparison, rows: Mapping[str, Any]) -> Iterator[str]:
    """Differences of each run from the first, in words; of three runs also of the third from the second."""
    first, *others = comparison.runs
    pairs = [(first, recipe) for recipe in others] + ([(others[0], others[1])] if len(others) == 2 else [])
    for one, other in pairs:
        found = [
            _difference(rows[one]["scores"][column.label], rows[other]["scores"][column.label], column.label)
            for column in comparison.columns
            if not _is_share(column)
        ]
        yield f"- {comparison.runs[other]} against {comparison.runs[one]}: {', '.join(filter(None, found))}"


def _difference(before: Sequence[float | None], after: Sequence[float | None], label: str) -> str | None:
    """Difference between two runs; None if one of them has no such loss."""
    first, second = ([value for value in values if value is not None] for values in (before, after))
    if not first or not second:
        return None
    apart = max(second) < min(first) or min(second) > max(first)
    return f"{label} {fmean(second) - fmean(first):+.3f}" + ("" if apart else " (noise)")


def _bars(comparison: RunComparison, rows: Mapping[str, Any]) -> str:
    """One bar for each run and loss, ordered by column."""
    bars = [
        (f"{column.label}: {label}", fmean(known))
        for column in comparison.columns
        if not _is_share(column)
        for recipe, label in comparison.runs.items()
        if (known := [value for value in rows[recipe]["scores"][column.label] if value is not None])
    ]
    return bar_figure(comparison.title, "nats a token", bars)
