"""Read losses from files, and write the tables and figures of a fit."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from audio_data import InputError, read_bytes, write_output
from audio_train.figures import SVG_MARK, Series, line_figure
from audio_train.isoflop.fit import IsoflopFit, Measurement, Prediction
from audio_train.isoflop.parametric import ParametricFit

COLUMNS = ("budget_flops", "num_parameters", "num_tokens", "loss")


def read_measurements(path: Path) -> list[Measurement]:
    """Read losses from a CSV file with the columns `budget_flops`, `num_parameters`, `num_tokens` and `loss`.

    Args:
        path: The file; other columns are ignored.

    Raises:
        InputError: The file or a column is missing, or a cell is not a number above 0.
    """
    if not path.is_file():
        raise InputError(
            f"`{path}` must be a CSV file with the columns {', '.join(COLUMNS)}, got no file; give another path."
        )
    try:
        # Spreadsheets write a byte order mark before the first name.
        reader = csv.DictReader(io.StringIO(read_bytes(path).decode("utf-8-sig"), newline=""))
        if missing := set(COLUMNS) - set(reader.fieldnames or ()):
            raise InputError(
                f"`{path}` must have the columns {', '.join(COLUMNS)}; missing: {', '.join(sorted(missing))}."
            )
        return [_measurement(row, f"{path} line {number}") for number, row in enumerate(reader, start=2)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"`{path}` must be CSV in UTF-8 ({error}); write it again.") from error


def _measurement(row: Mapping[str, str | None], where: str) -> Measurement:
    try:
        return Measurement(*(float(row[column] or "") for column in COLUMNS))
    except ValueError as error:
        raise InputError(f"`{where}`: {error}; every cell of {', '.join(COLUMNS)} must be a number above 0.") from error


def fit_json(fit: IsoflopFit, parametric: ParametricFit | None, predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Convert a fit to JSON."""
    return {
        "optima": [asdict(optimum) for optimum in fit.optima],
        "laws": {name: asdict(law) for name, law in fit.laws.items()},
        "parametric": parametric and {**asdict(parametric), "allocation_exponent": parametric.allocation_exponent},
        "predictions": [{**_plain(prediction), "intervals": dict(prediction.intervals)} for prediction in predictions],
    }


def _plain(prediction: Prediction) -> dict[str, Any]:
    return {name: value for name, value in vars(prediction).items() if name != "intervals"}


def write_figures(fit: IsoflopFit, folder: Path) -> list[Path]:
    """Write `curves.svg`, the parabolas, and `laws.svg`, the best models over the budget.

    Args:
        fit: The fit.
        folder: Folder to write; created if it does not exist.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"curves.svg": curves_figure(fit), "laws.svg": laws_figure(fit)}
    for name, svg in figures.items():
        write_output(folder / name, svg.encode(), SVG_MARK)
    return [folder / name for name in figures]


def curves_figure(fit: IsoflopFit) -> str:
    """Draw losses over parameters, with the parabola and the minimum of each budget."""
    series = []
    for i, optimum in enumerate(fit.optima):
        points = [m for m in fit.measurements if m.budget_flops == optimum.budget_flops]
        sizes = [point.num_parameters for point in points]
        xs = np.geomspace(min(sizes), max(sizes), 40)
        ys = np.polyval(optimum.coefficients, np.log(xs))
        series += [
            Series("", xs.tolist(), ys.tolist(), "line", i),
            Series(f"{optimum.budget_flops:.2g} FLOPs", sizes, [point.loss for point in points], "points", i),
            Series("", [optimum.num_parameters], [optimum.loss], "stars", i),
        ]
    return line_figure("Loss at equal compute", "parameters", "loss, nats a token", series)


def laws_figure(fit: IsoflopFit) -> str:
    """Draw the best parameters and tokens over the budget, with their power laws."""
    budgets = [optimum.budget_flops for optimum in fit.optima]
    line = np.geomspace(min(budgets), max(budgets) * 3, 20).tolist()
    series = []
    for i, (name, label) in enumerate({"num_parameters": "parameters", "num_tokens": "tokens"}.items()):
        law = fit.laws[name]
        series += [
            Series("", line, [law(budget) for budget in line], "line", i),
            Series(f"{label} ~ C^{law.exponent:.3f}", budgets, [getattr(o, name) for o in fit.optima], "points", i),
        ]
    return line_figure("The best model of a budget", "budget C, FLOPs", "parameters, tokens", series, log_y=True)


def lines(fit: IsoflopFit, parametric: ParametricFit | None, predictions: Sequence[Prediction]) -> list[str]:
    """Lines of a fit for a terminal."""
    text = [
        f"budget {o.budget_flops:.3g}: best {o.num_parameters:.3g} parameters, {o.num_tokens:.3g} tokens, "
        f"loss {o.loss:.4f}"
        for o in fit.optima
    ]
    for name, law in fit.laws.items():
        low, high = law.exponent_interval
        text.append(f"{name} = {law.coefficient:.4g} C^{law.exponent:.4f}  (exponent {low:.4f} to {high:.4f})")
    if parametric is not None:
        low, high = parametric.allocation_interval
        text.append(
            f"loss = {parametric.floor:.4f} + {parametric.parameter_term:.4g} / N^{parametric.parameter_exponent:.4f} "
            f"+ {parametric.token_term:.4g} / D^{parametric.token_exponent:.4f}, error {parametric.rms_error:.4f}; "
            f"N* ~ C^{parametric.allocation_exponent:.4f} ({low:.4f} to {high:.4f})"
        )
    for p in predictions:
        low, high = p.intervals["loss"]
        text.append(
            f"for {p.budget_flops:.3g} FLOPs: {p.num_parameters:.3g} parameters (width {p.embed}, {p.layers} layers), "
            f"{p.num_tokens:.3g} tokens, loss {p.loss:.4f} ({low:.4f} to {high:.4f})"
        )
    return text


def measurement_of(run_dir: Path) -> Measurement:
    """Read a measurement from a finished run: its last held-out loss over all targets.

    The budget is the compute of the run rounded to two digits; runs of one budget differ by less than 1 %.

    Args:
        run_dir: Folder of the run.

    Raises:
        InputError: The folder holds no run, or the run has no held-out loss.
    """
    from audio_train.run_folder.folder import require_run
    from audio_train.run_folder.summary import summarize_run

    resolved, summary = require_run(run_dir), summarize_run(run_dir, run_dir.name)
    if "all" not in summary.nll:
        raise InputError(
            f"run `{run_dir}` must have a held-out loss, got none; set `intervals.evaluation`, or finish the run."
        )
    budget = float(f"{resolved.training_flops:.2g}")
    return Measurement(budget, float(summary.num_parameters), float(summary.num_tokens), summary.nll["all"])


def write_measurements(path: Path, measurements: Mapping[str, Measurement]) -> None:
    """Write losses for `read_measurements`, with a column `run` for their names."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(["run", *COLUMNS])
    writer.writerows([name, *(getattr(m, column) for column in COLUMNS)] for name, m in measurements.items())
    write_output(path, file.getvalue().encode(), ",".join(["run", *COLUMNS]).encode())
