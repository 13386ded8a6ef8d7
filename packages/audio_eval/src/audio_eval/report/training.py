"""The course of training, read from a run's `metrics.jsonl`."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from audio_data import InputError, charts, file_errors, from_json, read_json, read_json_lines
from audio_data.markup import Markup, tag
from audio_eval.report.figures import NARROW, WIDE, line_chart

METRICS_NAME = "metrics.jsonl"
RESOLVED_NAME = "resolved.json"
# A line is drawn through at most this many points, each the mean over its stretch of steps.
_MAX_POINTS = 240
_LOSSES = Mapping[str, float | None]
# Fields of a logged step that are drawn or summed; a run may log further fields of any type.
_LOGGED = {
    "tokens": int | None,
    "loss": float | None,
    "nll": _LOSSES,
    "learning_rate": float | None,
    "tokens_per_second": float | None,
}
_REMEDY = "restore it from a copy, or make the report without `--run`"


@dataclasses.dataclass(frozen=True)
class Training:
    """What a run logged.

    Attributes:
        steps: One record a logged step: `step`, `loss`, `nll` by kind, rates.
        evaluations: One record an evaluation during training: `step` and `nll` by kind.
        stages: Steps at which a mixture of the data begins, with the corpora it is made of.
    """

    steps: Sequence[Mapping[str, Any]]
    evaluations: Sequence[Mapping[str, Any]] = ()
    stages: Sequence[tuple[float, str]] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a summary: steps, tokens, last losses, median speed."""
        if not self.steps:
            return {}
        last = self.steps[-1]
        speeds = sorted(record["tokens_per_second"] for record in self.steps if record.get("tokens_per_second"))
        return {
            "steps": last["step"],
            "tokens": last.get("tokens"),
            "last_loss": last.get("loss"),
            "last_nll": last.get("nll"),
            "median_tokens_per_second": speeds[len(speeds) // 2] if speeds else None,
            "last_evaluation": self.evaluations[-1]["nll"] if self.evaluations else None,
        }


def read_training(run: Path) -> Training:
    """Read the metrics of a run.

    Raises:
        InputError: The run's folder holds none, or they are damaged.
    """
    path = run / METRICS_NAME
    if not path.exists():
        raise InputError(f"`run` must be the folder of a training run, got no `{METRICS_NAME}` in `{run}`")
    records = read_json_lines(path, remedy=_REMEDY, allow_cut=True)
    steps, evaluations = [], []
    with file_errors(path, _REMEDY):
        for number, record in enumerate(records, start=1):
            name = f"record {number}"
            found = {"step": from_json(int, record.get("step"), f"{name}.step")}
            if "evaluation" in record:
                losses = from_json(Mapping[str, Any], record["evaluation"], f"{name}.evaluation").get("nll")
                evaluations.append({**found, "nll": from_json(_LOSSES, losses, f"{name}.evaluation.nll")})
            else:
                logged = {key: of for key, of in _LOGGED.items() if key in record}
                steps.append(found | {key: from_json(of, record[key], f"{name}.{key}") for key, of in logged.items()})
    return Training(steps, evaluations, _stages(run))


def _stages(run: Path) -> list[tuple[float, str]]:
    path = run / RESOLVED_NAME
    if not path.exists():
        return []
    content = read_json(path, remedy=_REMEDY)
    with file_errors(path, _REMEDY):
        derived = from_json(Mapping[str, Any], content.get("derived", {}), "derived")
        stages = from_json(list[Mapping[str, Any]], derived.get("mixture", []), "derived.mixture")
        return [
            (
                from_json(float, stage.get("start_step"), f"derived.mixture.{index}.start_step"),
                _corpora(from_json(Mapping[str, float], stage.get("weights"), f"derived.mixture.{index}.weights")),
            )
            for index, stage in enumerate(stages)
        ]


def _corpora(weights: Mapping[str, float]) -> str:
    return " + ".join(name for name, weight in weights.items() if weight > 0)


def curves(training: Training) -> list[Markup]:
    """Draw the loss by token kind, and learning rate and speed beside it."""
    if not training.steps:
        return []
    kinds = dict.fromkeys(kind for record in training.steps for kind in record.get("nll", {}) if kind != "special")
    by_kind = [
        charts.Line(
            kind.replace("_", " "),
            _smooth(training.steps, lambda record, kind=kind: record.get("nll", {}).get(kind)),
            i,
        )
        for i, kind in enumerate(kinds)
    ]
    figures = [_figure("Loss by token kind", "nats/token", by_kind, training.stages, WIDE)]
    if training.evaluations:
        held_out = [
            charts.Line(
                kind.replace("_", " "),
                _points(training.evaluations, lambda record, kind=kind: record["nll"].get(kind)),
                i,
            )
            for i, kind in enumerate(kinds)
        ]
        figures.append(_figure("Held-out loss during training", "nats/token", held_out, training.stages))
    for key, title, label in (
        ("loss", "Loss that was minimised", "weighted nats/token"),
        ("learning_rate", "Learning rate", "learning rate"),
        ("tokens_per_second", "Speed", "tokens/s"),
    ):
        line = charts.Line(title, _smooth(training.steps, lambda record, key=key: record.get(key)), 0)
        figures.append(_figure(title, label, [line], training.stages, from_zero=key != "loss"))
    return [figure for figure in figures if figure]


def _figure(
    title: str,
    y_label: str,
    series: Sequence[charts.Line],
    stages: Sequence[tuple[float, str]],
    size: tuple[int, int] = NARROW,
    *,
    from_zero: bool = False,
) -> Markup | None:
    drawn = [line for line in series if any(math.isfinite(y) for _, y in line.points)]
    if not drawn:
        return None
    chart = line_chart(drawn, x_label="step", y_label=y_label, marks=stages, size=size, from_zero=from_zero)
    return tag("div", tag("h3", title), chart)


def _points(
    records: Sequence[Mapping[str, Any]], value: Callable[[Mapping[str, Any]], float | None]
) -> list[tuple[float, float]]:
    found = ((float(record["step"]), value(record)) for record in records)
    return [(step, math.nan if number is None else float(number)) for step, number in found]


def _smooth(
    records: Sequence[Mapping[str, Any]], value: Callable[[Mapping[str, Any]], float | None]
) -> list[tuple[float, float]]:
    points = _points(records, value)
    size = -(-len(points) // _MAX_POINTS)
    smoothed = []
    for start in range(0, len(points), size):
        stretch = [(x, y) for x, y in points[start : start + size] if math.isfinite(y)]
        if stretch:
            smoothed.append((stretch[-1][0], sum(y for _, y in stretch) / len(stretch)))
        else:
            smoothed.append((points[start][0], math.nan))
    return smoothed
