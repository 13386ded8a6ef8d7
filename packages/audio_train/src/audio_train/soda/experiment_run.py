"""Train all runs of an experiment in one folder, and write a report with a table and figures.

OUT/runs/<name>    the runs
OUT/report.md      the table
OUT/report.json    the same numbers
OUT/*.svg          held-out losses as bars
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from audio_data import InputError, write_output
from audio_train.command_lines import Command, find_programs, run_command
from audio_train.figures import SVG_MARK, bar_figure
from audio_train.recipes import Experiment, find_experiment
from audio_train.recipes.smoke_scale import Scale
from audio_train.recipes.targets import find_target
from audio_train.run_folder.folder import CHECKPOINTS_FOLDER, EXPORT_FOLDER
from audio_train.run_folder.summary import TOKEN_GROUPS, RunSummary, summarize_run
from audio_train.soda.smoke_data import base_of, generate

_MODEL = Path(EXPORT_FOLDER) / "config.json"

CAVEAT = """Losses are on held-out documents of each run's own datasets, in its own layouts: rows are comparable only if
their datasets are the same. At smoke scale a run reads a few hundred thousand tokens of a few synthetic voices, models
are a thousand times smaller than the study's, and there is one seed. The results show that every step works and the
direction of large effects; the numbers do not carry over."""


@dataclass(frozen=True)
class SeededRun:
    """One run of an experiment.

    Attributes:
        recipe: Name of its recipe.
        seed: Its seed.
    """

    recipe: str
    seed: int = 0

    def folder(self, out_dir: Path) -> Path:
        """Folder of the run."""
        return out_dir / "runs" / (f"{self.recipe}-seed{self.seed}" if self.seed else self.recipe)

    def words(self, data_root: Path, out_dir: Path, scale: Scale) -> tuple[str, ...]:
        """Command line that trains it. A run that starts from a checkpoint of another takes it from the same folder."""
        folders = ("--data", str(data_root), "--out", str(self.folder(out_dir)))
        seed = ("--set", f"seed={self.seed}") if self.seed else ()
        init = find_target(self.recipe).at_scale(scale).init
        beside = SeededRun(base_of(init), self.seed).folder(out_dir) / CHECKPOINTS_FOLDER / str(init.step)
        begin = ("--start", str(beside)) if base_of(init) and beside.is_dir() else ()
        return ("audio-train", "run", self.recipe, "--scale", scale, *folders, *seed, *begin)


def run_experiment(
    name: str, data_root: Path, out_dir: Path, *, scale: Scale, only: Sequence[str] = (), to_stderr: bool = False
) -> dict[str, Any]:
    """Train all runs of an experiment and write its report. Finished runs are kept, stopped ones are resumed.

    Args:
        name: Name of the experiment.
        data_root: Folder of the datasets; missing ones are made at smoke scale.
        out_dir: Folder of the experiment.
        scale: Scale of the runs.
        only: Names of the runs to train; all if empty.
        to_stderr: Whether to send all messages to standard error.

    Returns:
        The content of `report.json`.

    Raises:
        InputError: The experiment or a run is unknown, or the data are missing.
    """
    experiment = find_experiment(name)
    if unknown := sorted(set(only) - set(experiment.runs)):
        raise InputError(f"experiment `{name}` has no run {unknown[0]!r}; it has {', '.join(experiment.runs)}.")
    names = [run for run in experiment.runs if not only or run in only]
    members = [SeededRun(run) for run in names]
    train(
        members, data_root, out_dir, scale="smoke" if experiment.fixed_size else scale, name=name, to_stderr=to_stderr
    )
    return write_report(experiment, out_dir, [summarize_run(out_dir / "runs" / run, run) for run in names], scale)


def train(
    members: Sequence[SeededRun], data_root: Path, out_dir: Path, *, scale: Scale, name: str, to_stderr: bool = False
) -> None:
    """Train runs one after another, each with `audio-train run`; finished runs are kept.

    Args:
        members: The runs, each after the one from whose checkpoint it starts.
        data_root: Folder of the datasets; missing ones are made at smoke scale.
        out_dir: Folder with the subfolder `runs`.
        scale: Scale of the runs.
        name: Name of the experiment, for messages.
        to_stderr: Whether to send all messages to standard error.
    """
    waiting = [member for member in members if not is_finished(member.folder(out_dir))]
    if len(waiting) < len(members):
        num_finished = len(members) - len(waiting)
        click.echo(f"{name}: {num_finished} of {len(members)} runs are finished; continuing with the others", err=True)
    if scale == "smoke" and waiting:
        recipes = list(dict.fromkeys(member.recipe for member in waiting))
        generate(data_root, recipes, at_hand={member.recipe for member in members}, to_stderr=to_stderr)
    for member in waiting:
        model = member.folder(out_dir) / _MODEL
        command = Command(member.recipe, member.words(data_root, out_dir, scale), makes=model)
        click.secho(f"$ {command}", fg="cyan", err=to_stderr)
        program = find_programs(("audio-train",))["audio-train"]
        run_command(command, program, to_stderr=to_stderr, name=name)


def is_finished(run_dir: Path) -> bool:
    """Whether a run's folder holds the exported model of its last step."""
    return (run_dir / _MODEL).exists()


def write_report(
    experiment: Experiment, out_dir: Path, summaries: Sequence[RunSummary], scale: Scale
) -> dict[str, Any]:
    """Write table, numbers and figures of finished runs; returns the content of `report.json`."""
    figures = {
        f"{group}.svg": bar_figure(
            f"{experiment.name}: held-out loss, {group}",
            "nats a token",
            [(summary.name, summary.nll[group]) for summary in summaries if group in summary.nll],
        )
        for group in (*TOKEN_GROUPS, "all")
        if any(group in summary.nll for summary in summaries)
    }
    rows = [
        {**asdict(summary), "mixture": _mixture(experiment, summary), "reported": experiment.reported_of(summary.name)}
        for summary in summaries
    ]
    report = {
        "experiment": experiment.name,
        "question": experiment.question,
        "scale": scale,
        "runs": rows,
        "figures": list(figures),
    }
    out_dir.mkdir(parents=True, exist_ok=True)
    for name, svg in figures.items():
        write_output(out_dir / name, svg.encode(), SVG_MARK)
    content = json.dumps(report, ensure_ascii=False, indent=2) + "\n"
    write_output(out_dir / "report.json", content.encode(), b'"question": ')
    write_output(
        out_dir / "report.md", _page(experiment, summaries, scale, list(figures)).encode(), b"`audio-train soda run "
    )
    return report


def _page(experiment: Experiment, summaries: Sequence[RunSummary], scale: Scale, figures: Sequence[str]) -> str:
    head = ("run", "mixture", "start", "parameters", "steps", "tokens", *TOKEN_GROUPS, "all", "reported at full scale")
    table = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for summary in summaries:
        losses = [f"{summary.nll[group]:.3f}" if group in summary.nll else "-" for group in (*TOKEN_GROUPS, "all")]
        cells = (
            summary.name,
            _mixture(experiment, summary),
            summary.init,
            f"{summary.num_parameters:,}",
            f"{summary.num_steps:,}",
        )
        reported = experiment.reported_of(summary.name)
        table.append(f"| {' | '.join([*cells, f'{summary.num_tokens:,}', *losses, reported])} |")
    parts = [
        f"# {experiment.name} at scale {scale}",
        experiment.question,
        f"`audio-train soda run {experiment.name} --scale {scale} --data DATA --out OUT` writes this page. Losses in "
        "nats a token by kind: transcripts and text, specials, the first codebook, the other seven, all.",
        "\n".join(table),
        *((CAVEAT,) if scale == "smoke" else ()),
        *(f"![{name}]({name})" for name in figures),
    ]
    return "\n\n".join(parts) + "\n"


def _mixture(experiment: Experiment, summary: RunSummary) -> str:
    """Name of the first mixture of a run; "stages" if it has no name."""
    return experiment.mixture_name(experiment.runs[summary.name].data.mixture[0].weights) or "stages"


def lines(report: Mapping[str, Any]) -> list[str]:
    """Lines of a report for a terminal."""
    groups = (*TOKEN_GROUPS, "all")
    text = [f"{'run':<36} {'steps':>6} {'tokens':>9} " + " ".join(f"{group:>9}" for group in groups)]
    for row in report["runs"]:
        losses = " ".join(f"{row['nll'][group]:>9.3f}" if group in row["nll"] else f"{'-':>9}" for group in groups)
        text.append(f"{row['name']:<36} {row['num_steps']:>6} {row['num_tokens']:>9} {losses}")
    return text
