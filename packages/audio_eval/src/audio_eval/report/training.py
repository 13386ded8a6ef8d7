"""The course of training, read from a run's `metrics.jsonl`."""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from audio_data import InputError
from audio_eval.evaluation import read_json_lines
from audio_eval.report.figures import NARROW, WIDE, Series, line_chart
from audio_eval.report.markup import Markup, tag

METRICS_NAME = "metrics.jsonl"
RESOLVED_NAME = "resolved.json"
# A line is drawn through at most this many points, each the mean over its stretch of steps.
_MAX_POINTS = 240


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
        """Returns a summary: steps, tokens, last losses, median speed."""
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
    """Reads the metrics of a run.

    Raises:
        InputError: The run's folder holds none.
    """
    path = run / METRICS_NAME
    if not path.is_file():
        raise InputError(f"`run` must be the folder of a training run, got no `{METRICS_NAME}` in `{run}`")
    records = read_json_lines(path)
    steps = [record for record in records if "evaluation" not in record]
    evaluations = [{"step": record["step"], **record["evaluation"]} for record in records if "evaluation" in record]
    return Training(steps, evaluations, _stages(run))


def _stages(run: Path) -> list[tuple[float, str]]:
    path = run / RESOLVED_NAME
    if not path.is_file():
        return []
    stages = json.loads(path.read_text(encoding="utf-8")).get("derived", {}).get("mixture", [])
    return [(float(stage["start_step"]), _corpora(stage["weights"])) for stage in stages]


def _corpora(weights: Mapping[str, float]) -> str:
    return " + ".join(name for name, weight in weights.items() if weight > 0)


def curves(training: Training) -> list[Markup]:
    """Draws the loss by token kind, and learning rate and speed beside it."""
    if not training.steps:
        return []
    kinds = dict.fromkeys(kind for record in training.steps for kind in record.get("nll", {}) if kind != "special")
    by_kind = [
        Series(
            kind.replace("_", " "),
            _smooth(training.steps, lambda record, kind=kind: record.get("nll", {}).get(kind)),
            i,
        )
        for i, kind in enumerate(kinds)
    ]
    figures = [_figure("Loss by token kind", "nats/token", by_kind, training.stages, WIDE)]
    if training.evaluations:
        held_out = [
            Series(
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
        line = Series(title, _smooth(training.steps, lambda record, key=key: record.get(key)), 0)
        figures.append(_figure(title, label, [line], training.stages, from_zero=key != "loss"))
    return [figure for figure in figures if figure]


def _figure(
    title: str,
    y_label: str,
    series: Sequence[Series],
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
