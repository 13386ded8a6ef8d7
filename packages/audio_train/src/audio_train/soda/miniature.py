"""The smoke-scale replication: compare runs of several seeds on the same held-out documents.

    OUT/runs/<recipe>[-seed<n>]    the runs
    OUT/scores.json                every held-out loss, measured once

Finished runs are kept, and stopped runs are resumed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import click

from audio_data import file_errors, from_json, read_json, to_json, write_json
from audio_train.isoflop import report
from audio_train.isoflop.fit import Measurement, fit_isoflop
from audio_train.isoflop.parametric import fit_parametric
from audio_train.recipes import find_experiment
from audio_train.recipes.smoke_scale import heldout_of
from audio_train.run_folder.folder import require_run
from audio_train.run_folder.summary import mean_by_group
from audio_train.soda.experiment_run import SeededRun, train
from audio_train.soda.run_losses import HeldoutLosses, Softmax, heldout_losses, measured

SWEEP = "isoflop-miniature"
SCORES_FILE = "scores.json"


@dataclass(frozen=True)
class Column:
    """One number of every run of a comparison.

    Attributes:
        label: Label in the table.
        group: Group of token kinds, a key of `audio_train.run_folder.summary.TOKEN_GROUPS`, or `"all"`.
        corpus: Dataset of the held-out documents; None for the run's only dataset.
        softmax: Ids of the softmax; `"outside"` is the mean probability, over positions, of ids that the grammar does
            not allow there (one minus a geometric mean of the rest).
    """

    label: str
    group: str
    corpus: str | None = None
    softmax: Literal["full", "allowed", "outside"] = "full"


@dataclass(frozen=True)
class CurveColumn:
    """One statistic of the training losses of every run of a comparison.

    Attributes:
        label: Label in the table.
        group: Group of token kinds, as for `Column`.
        measure: Key of `audio_train.soda.run_losses.MEASURES`.
    """

    label: str
    group: str
    measure: Literal["first", "largest_rise"]


@dataclass(frozen=True)
class RunComparison:
    """A comparison of runs.

    Attributes:
        name: Name of the section.
        title: Title of the section.
        question: The question that the runs answer.
        runs: Label of each recipe in the table, by the recipe's name; the baseline is first.
        columns: Compared numbers.
        published: Results of the study at full scale.
        carries_over: Which results can be expected at full scale, and which cannot.
        num_seeds: Default number of seeds of each run, counted from 0.
    """

    name: str
    title: str
    question: str
    runs: Mapping[str, str]
    columns: Sequence[Column | CurveColumn]
    published: str
    carries_over: str
    num_seeds: int = 2


def run_miniature(
    comparisons: Sequence[RunComparison],
    data_root: Path,
    out_dir: Path,
    *,
    sweep: bool = True,
    num_seeds: int | None = None,
    to_stderr: bool = False,
) -> dict[str, Any]:
    """Train and score all runs of comparisons, and the isoFLOP sweep.

    Args:
        comparisons: The comparisons.
        data_root: Folder of the datasets; missing ones are made.
        out_dir: Folder of the runs and scores.
        sweep: Whether to train the isoFLOP sweep too, with one seed.
        num_seeds: Number of seeds of each run, counted from 0; None for the default of the comparison.
        to_stderr: Whether to send all messages to standard error.

    Returns:
        All results as JSON; without `sweep`, only those of the comparisons.

    Raises:
        InputError: The data cannot be made, or a run cannot be evaluated.
    """
    seeds = {comparison.name: range(num_seeds or comparison.num_seeds) for comparison in comparisons}
    most = max((len(of_one) for of_one in seeds.values()), default=0)
    points = [SeededRun(recipe) for recipe in find_experiment(SWEEP).runs] if sweep else []
    wanted = [(seed, c) for seed in range(most) for c in comparisons if seed in seeds[c.name]]
    members = list(dict.fromkeys([*points, *(SeededRun(recipe, seed) for seed, c in wanted for recipe in c.runs)]))
    train(members, data_root, out_dir, scale="smoke", name="miniature", to_stderr=to_stderr)
    scores = Scores(data_root, out_dir)
    rows = {
        comparison.name: {
            recipe: _row([SeededRun(recipe, s).folder(out_dir) for s in seeds[comparison.name]], comparison, scores)
            for recipe in comparison.runs
        }
        for comparison in comparisons
    }
    if not sweep:
        return {"comparisons": rows}
    measured = [report.measurement_of(point.folder(out_dir)) for point in points]
    return {
        "num_ids": require_run(points[0].folder(out_dir)).vocabulary.size,
        "comparisons": rows,
        "sweep": [asdict(point) for point in measured],
        "fit": fit_lines(measured),
    }


def fit_lines(points: Sequence[Measurement]) -> list[str]:
    """Output of `audio-train isoflop fit` for the sweep."""
    return report.lines(fit_isoflop(points), fit_parametric(points), [])


def measurements(results: Mapping[str, Any]) -> list[Measurement]:
    """Losses of the sweep."""
    return [Measurement(**point) for point in results["sweep"]]


def _row(folders: Sequence[Path], comparison: RunComparison, scores: "Scores") -> dict[str, Any]:
    resolved = require_run(folders[0])
    return {
        "run": resolved.run.to_json(),
        "num_parameters": resolved.model.num_parameters,
        "num_steps": resolved.num_steps,
        "num_tokens": resolved.num_tokens,
        "scores": {column.label: [scores.value(folder, column) for folder in folders] for column in comparison.columns},
    }


class Scores:
    """Held-out losses of finished runs, cached in a file.

    Args:
        data_root: Folder of the datasets.
        out_dir: Folder of the file.
    """

    def __init__(self, data_root: Path, out_dir: Path):
        self._data_root = data_root
        self._path = out_dir / SCORES_FILE
        self._known: dict[str, HeldoutLosses] = {}
        if self._path.exists():
            remedy = "remove that file to evaluate the runs again"
            with file_errors(self._path, remedy):
                found = read_json(self._path, remedy=remedy)
                self._known = {key: from_json(HeldoutLosses, value, key) for key, value in found.items()}

    def value(self, run_dir: Path, column: Column | CurveColumn) -> float | None:
        """Value of a run in a column; None if it has no such token."""
        if isinstance(column, CurveColumn):
            return measured(run_dir, column.group, column.measure)
        if column.softmax == "outside":
            full, allowed = (self._mean(run_dir, column, softmax) for softmax in ("full", "allowed"))
            return None if full is None or allowed is None else -math.expm1(allowed - full)
        return self._mean(run_dir, column, column.softmax)

    def _mean(self, run_dir: Path, column: Column, softmax: Softmax) -> float | None:
        resolved = require_run(run_dir)
        (own, *_) = resolved.run.data.mixture[0].weights
        losses = self._losses(run_dir, resolved.fingerprint, heldout_of(column.corpus or own), softmax)
        return mean_by_group(losses.nll, losses.targets).get(column.group)

    def _losses(self, run_dir: Path, fingerprint: str, corpus: str, softmax: Softmax) -> HeldoutLosses:
        key = f"{fingerprint} {corpus} {softmax}"
        if key not in self._known:
            click.echo(f"evaluating {run_dir.name} on {corpus}, {softmax} softmax", err=True)
            self._known[key] = heldout_losses(run_dir, self._data_root, corpus, softmax)
            write_json(self._path, to_json(self._known))
        return self._known[key]
