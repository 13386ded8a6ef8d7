"""A whole study in one folder: every run, each resumable by itself, and one report with a table and a figure.

OUT/runs/<name>    the runs
OUT/report.md      the table
OUT/report.json    the same numbers
OUT/*.svg          held-out losses as bars
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from audio_data import InputError, write_output
from audio_train.command_lines import Command, find_programs, run_command
from audio_train.figures import SVG_MARK, bar_figure
from audio_train.recipes import Study, find_study
from audio_train.recipes.study import mixture_name
from audio_train.run_folder.folder import CHECKPOINTS_FOLDER, EXPORT_FOLDER, METRICS_FILE, require_run
from audio_train.studies.named_run import run_at_scale
from audio_train.studies.scale import Scale
from audio_train.studies.smoke_data import base_of, generate
from audio_train.tracking.metrics import read_metrics

GROUPS = {
    "text": ("text",),
    "special": ("special",),
    "semantic": ("codebook_0",),
    "acoustic": tuple(f"codebook_{book}" for book in range(1, 8)),
}
"""Kinds of tokens that the table puts together."""

_MODEL = Path(EXPORT_FOLDER) / "config.json"

CAVEAT = """Losses are of held-out documents of each run's own corpora, in its own layouts: rows compare where their
corpora do. At smoke scale a run sees a few hundred thousand tokens of a few synthetic voices, its models are a thousand
times smaller than the study's and one seed stands for all: what carries over is that every path works and which way
large effects point, not a single number."""


@dataclass(frozen=True)
class Member:
    """A run among others in one folder.

    Attributes:
        recipe: its name.
        seed: what it is trained from.
    """

    recipe: str
    seed: int = 0

    def folder(self, out_dir: Path) -> Path:
        """Where it lies."""
        return out_dir / "runs" / (f"{self.recipe}-seed{self.seed}" if self.seed else self.recipe)

    def words(self, data_root: Path, out_dir: Path, scale: Scale) -> tuple[str, ...]:
        """The command line that trains it; a run that begins with a checkpoint of another takes the one beside it."""
        folders = ("--data", str(data_root), "--out", str(self.folder(out_dir)))
        seed = ("--set", f"seed={self.seed}") if self.seed else ()
        start = run_at_scale(self.recipe, scale).start
        beside = Member(base_of(start), self.seed).folder(out_dir) / CHECKPOINTS_FOLDER / str(start.step)
        begin = ("--start", str(beside)) if base_of(start) and beside.is_dir() else ()
        return ("audio-train", "run", self.recipe, "--scale", scale, *folders, *seed, *begin)


@dataclass(frozen=True)
class Outcome:
    """A finished run.

    Attributes:
        name: of the run.
        mixture: name of its mixture.
        start: what it began with.
        num_parameters: of its model.
        num_steps: updates.
        num_tokens: tokens read.
        training_loss: mean of the last tenth of its steps, in nats a token.
        nll: held-out loss by group of kinds and over all, in nats a token; empty where it evaluated nothing.
    """

    name: str
    mixture: str
    start: str
    num_parameters: int
    num_steps: int
    num_tokens: int
    training_loss: float
    nll: Mapping[str, float]


def run_study(
    name: str, data_root: Path, out_dir: Path, *, scale: Scale, only: Sequence[str] = (), to_stderr: bool = False
) -> dict[str, Any]:
    """Run a study and write its report. Runs that are finished are not run again, and the others go on.

    Args:
        name: of the study.
        data_root: folder of the datasets; at smoke scale what is missing is made there.
        out_dir: folder of the study.
        scale: at which the runs run.
        only: names of the runs to take; all if empty.
        to_stderr: send all messages to standard error.

    Returns:
        The content of `report.json`.

    Raises:
        InputError: no such study or run, or the data are missing.
    """
    study = find_study(name)
    if unknown := sorted(set(only) - set(study.runs)):
        raise InputError(f"study `{name}` has no run {unknown[0]!r}; it has {', '.join(study.runs)}.")
    names = [run for run in study.runs if not only or run in only]
    members = [Member(run) for run in names]
    train(members, data_root, out_dir, scale="smoke" if study.miniature else scale, name=name, to_stderr=to_stderr)
    return write_report(study, out_dir, [outcome_of(out_dir / "runs" / run, run) for run in names], scale)


def train(
    members: Sequence[Member], data_root: Path, out_dir: Path, *, scale: Scale, name: str, to_stderr: bool = False
) -> None:
    """Train runs one after another, each by the command a user would type; those that are finished are left alone.

    Args:
        members: the runs, each after the one whose checkpoint it begins with.
        data_root: folder of the datasets; at smoke scale what is missing is made there.
        out_dir: the folder that holds `runs`.
        scale: at which they run.
        name: of the whole, for messages.
        to_stderr: send all messages to standard error.
    """
    waiting = [member for member in members if not is_finished(member.folder(out_dir))]
    if len(waiting) < len(members):
        num_finished = len(members) - len(waiting)
        click.echo(f"{name}: {num_finished} of {len(members)} runs are finished; going on with the others", err=True)
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


def outcome_of(run_dir: Path, name: str) -> Outcome:
    """What a finished run came to.

    Args:
        run_dir: its folder.
        name: of the run.

    Raises:
        InputError: the folder holds no run.
    """
    resolved, lines = require_run(run_dir), list(read_metrics(run_dir / METRICS_FILE))
    losses = [line["loss"] for line in lines if line.get("loss") is not None]
    last = losses[-max(1, len(losses) // 10) :]
    evaluations = [line["evaluation"] for line in lines if "evaluation" in line]
    return Outcome(
        name=name,
        mixture=mixture_name(resolved.run.data.mixture[0].weights) or "stages",
        start=resolved.run.start.source or resolved.run.start.kind,
        num_parameters=resolved.model.num_parameters,
        num_steps=resolved.num_steps,
        num_tokens=resolved.num_tokens,
        training_loss=math.fsum(last) / len(last),
        nll=grouped(evaluations[-1]["nll"], evaluations[-1]["targets"]) if evaluations else {},
    )


def grouped(nll: Mapping[str, float], targets: Mapping[str, int]) -> dict[str, float]:
    """Mean loss of each group of kinds, and of all, weighted by targets; groups that did not occur are left out."""
    groups = {**GROUPS, "all": tuple(nll)}
    found = {}
    for group, kinds in groups.items():
        present = [kind for kind in kinds if targets.get(kind)]
        if present:
            total = sum(targets[kind] for kind in present)
            found[group] = math.fsum(nll[kind] * targets[kind] for kind in present) / total
    return found


def write_report(study: Study, out_dir: Path, outcomes: Sequence[Outcome], scale: Scale) -> dict[str, Any]:
    """Write table, numbers and figures of finished runs; returns the content of `report.json`."""
    figures = {
        f"{group}.svg": bar_figure(
            f"{study.name}: held-out loss, {group}",
            "nats a token",
            [(outcome.name, outcome.nll[group]) for outcome in outcomes if group in outcome.nll],
        )
        for group in (*GROUPS, "all")
        if any(group in outcome.nll for outcome in outcomes)
    }
    rows = [{**asdict(outcome), "reported": study.reported_of(outcome.name)} for outcome in outcomes]
    report = {"study": study.name, "question": study.question, "scale": scale, "runs": rows, "figures": list(figures)}
    out_dir.mkdir(parents=True, exist_ok=True)
    for name, svg in figures.items():
        write_output(out_dir / name, svg.encode(), SVG_MARK)
    content = json.dumps(report, ensure_ascii=False, indent=2) + "\n"
    write_output(out_dir / "report.json", content.encode(), b'"question": ')
    write_output(out_dir / "report.md", _page(study, outcomes, scale, list(figures)).encode(), b"`audio-train study ")
    return report


def _page(study: Study, outcomes: Sequence[Outcome], scale: Scale, figures: Sequence[str]) -> str:
    head = ("run", "mixture", "start", "parameters", "steps", "tokens", *GROUPS, "all", "reported at full scale")
    table = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for outcome in outcomes:
        losses = [f"{outcome.nll[group]:.3f}" if group in outcome.nll else "-" for group in (*GROUPS, "all")]
        cells = (outcome.name, outcome.mixture, outcome.start, f"{outcome.num_parameters:,}", f"{outcome.num_steps:,}")
        reported = study.reported_of(outcome.name)
        table.append(f"| {' | '.join([*cells, f'{outcome.num_tokens:,}', *losses, reported])} |")
    parts = [
        f"# {study.name} at scale {scale}",
        study.question,
        f"`audio-train study {study.name} --scale {scale} --data DATA --out OUT` writes this page. Losses in nats a "
        "token by kind: transcripts and text, specials, the first codebook, the other seven, all.",
        "\n".join(table),
        *((CAVEAT,) if scale == "smoke" else ()),
        *(f"![{name}]({name})" for name in figures),
    ]
    return "\n\n".join(parts) + "\n"


def lines(report: Mapping[str, Any]) -> list[str]:
    """A report for a terminal."""
    groups = (*GROUPS, "all")
    text = [f"{'run':<36} {'steps':>6} {'tokens':>9} " + " ".join(f"{group:>9}" for group in groups)]
    for row in report["runs"]:
        losses = " ".join(f"{row['nll'][group]:>9.3f}" if group in row["nll"] else f"{'-':>9}" for group in groups)
        text.append(f"{row['name']:<36} {row['num_steps']:>6} {row['num_tokens']:>9} {losses}")
    return text
