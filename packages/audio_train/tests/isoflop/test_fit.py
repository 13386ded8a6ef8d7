"""Scaling laws recovered from losses that are drawn from a known law."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from audio_data import InputError
from audio_train import Measurement, fit_isoflop, fit_parametric
from audio_train.cli import main
from audio_train.isoflop.report import read_measurements
from audio_train.soda.isoflop import isoflop_grid

VOCAB = 144_644
FLOOR, A, ALPHA, B, BETA = 1.7, 400.0, 0.34, 410.0, 0.28


def chinchilla(num_parameters: float, num_tokens: float) -> float:
    return FLOOR + A / num_parameters**ALPHA + B / num_tokens**BETA


def drawn(noise: float, *, seed: int = 0, missing: tuple[int, ...] = ()) -> list[Measurement]:
    """The study's own grid with losses of the law above."""
    rng = np.random.default_rng(seed)
    points = []
    for index, point in enumerate(isoflop_grid(VOCAB)):
        size, tokens = float(point.model.num_parameters), float(point.tokens)
        loss = chinchilla(size, tokens) + noise * float(rng.normal())
        if index not in missing:
            points.append(Measurement(point.training_budget_flops, size, tokens, loss))
    return points


def parabolas(a: float, b: float, c: float, *, noise: float = 0.0, missing: tuple[int, ...] = ()) -> list[Measurement]:
    """Budgets whose losses are parabolas in log parameters with minima on power laws."""
    rng, points = np.random.default_rng(0), []
    for budget in np.geomspace(3e18, 3e20, 5):
        best, tokens, loss = 0.1 * budget**a, 2.0 * budget**b, 60.0 * budget**c
        for ratio in (0.25, 0.5, 1.0, 2.0, 4.0):
            value = loss + 0.1 * np.log(ratio) ** 2 + noise * rng.normal()
            points.append(Measurement(float(budget), float(best * ratio), float(tokens / ratio), float(value)))
    return [point for number, point in enumerate(points) if number not in missing]


def test_exact_power_laws_are_recovered_exactly():
    fit = fit_isoflop(parabolas(0.45, 0.55, -0.06), num_samples=20)
    exponents = {name: law.exponent for name, law in fit.laws.items()}
    assert exponents == pytest.approx({"num_parameters": 0.45, "num_tokens": 0.55, "loss": -0.06}, abs=1e-9)
    assert fit.laws["num_parameters"].coefficient == pytest.approx(0.1, rel=1e-6)
    predicted = fit.predict(3e21, VOCAB)
    assert predicted.num_parameters == pytest.approx(0.1 * 3e21**0.45, rel=1e-6)
    assert predicted.loss == pytest.approx(60 * 3e21**-0.06, rel=1e-6)


@pytest.mark.parametrize(("noise", "missing"), [(0.003, ()), (0.003, (7,)), (0.02, (3, 16))])
def test_exponents_of_a_known_law_lie_in_their_intervals(noise: float, missing: tuple[int, ...]):
    fit = fit_isoflop(parabolas(0.37, 0.58, -0.06, noise=noise, missing=missing), num_samples=300)
    for name, exponent in {"num_parameters": 0.37, "num_tokens": 0.58, "loss": -0.06}.items():
        low, high = fit.laws[name].exponent_interval
        assert low < exponent < high, name
        assert high - low < 0.2


@pytest.mark.parametrize(("noise", "missing"), [(0.0, ()), (0.003, (20,)), (0.01, (3, 40))])
def test_exponents_come_near_those_of_a_law_that_is_no_parabola(noise: float, missing: tuple[int, ...]):
    """On the study's own grid, whose budgets have other widths each."""
    fit = fit_isoflop(drawn(noise, missing=missing), num_samples=50)
    assert fit.laws["num_parameters"].exponent == pytest.approx(BETA / (ALPHA + BETA), abs=0.02)
    assert 0 < fit.laws["num_tokens"].exponent < 1
    assert fit.laws["loss"].exponent < 0


@pytest.mark.parametrize(("noise", "missing"), [(0.0, ()), (0.003, (20,))])
def test_the_formula_of_a_known_law_is_recovered(noise: float, missing: tuple[int, ...]):
    fit = fit_parametric(drawn(noise, missing=missing), num_samples=40)
    tolerance = 1e-4 if not noise else 0.02
    assert fit.parameter_exponent == pytest.approx(ALPHA, abs=tolerance)
    assert fit.token_exponent == pytest.approx(BETA, abs=tolerance)
    assert fit.floor == pytest.approx(FLOOR, abs=10 * tolerance)
    assert fit(1e9, 2e10) == pytest.approx(chinchilla(1e9, 2e10), abs=max(2 * noise, 1e-5))
    if noise:
        low, high = fit.allocation_interval
        assert low - 0.01 < BETA / (ALPHA + BETA) < high + 0.01


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (lambda m: m.budget_flops < 4e18, "at least 2 budgets, got 1"),
        (lambda m: m.budget_flops != 9e18 or m.num_parameters < 1e8, r"budget 9e\+18: .* at least 3 sizes, got 1"),
        (lambda m: m.budget_flops != 3e18 or m.num_parameters > 3e8, r"budget 3e\+18: .*at least 3 sizes, got 2"),
        (
            lambda m: m.budget_flops != 9e18 or m.num_parameters > 5e8,
            r"budget 9e\+18: the losses have no minimum between the smallest model \(5.88e\+08 parameters\)",
        ),
    ],
)
def test_a_fit_without_grounds_is_refused_with_the_reason(keep, message: str):
    with pytest.raises(InputError, match=message):
        fit_isoflop([m for m in drawn(0.0) if keep(m)], num_samples=10)


def test_losses_whose_minima_come_and_go_are_too_noisy_for_an_interval():
    """Two budgets with a minimum each as measured, of which most bootstrap samples lose one."""
    rng, points = np.random.default_rng(1), []
    for budget in (3e18, 3e20):
        for ratio in (0.25, 0.5, 1.0, 2.0, 4.0):
            loss = 3 + 0.01 * np.log(ratio) ** 2 + 0.1 * rng.normal()
            points.append(Measurement(budget, 0.1 * budget**0.45 * ratio, 2 * budget**0.55 / ratio, float(loss)))
    with pytest.raises(InputError, match=r"too noisy for an interval: .* measure more sizes"):
        fit_isoflop(points, num_samples=100)


def test_the_formula_is_refused_where_losses_do_not_fall():
    with pytest.raises(InputError, match="at least 6 measurements, got 5"):
        fit_parametric(drawn(0.0)[:5])
    rising = [Measurement(m.budget_flops, m.num_parameters, m.num_tokens, 10 - m.loss) for m in drawn(0.0)]
    with pytest.raises(InputError, match="must decrease with both parameters and tokens"):
        fit_parametric(rising)


def write_losses(path: Path, measurements: list[Measurement]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["run", "budget_flops", "num_parameters", "num_tokens", "loss"])
        writer.writeheader()
        for number, m in enumerate(measurements):
            writer.writerow({"run": number, **vars(m)})
    return path


@pytest.mark.long
def test_the_command_fits_predicts_and_draws(tmp_path: Path):
    losses = write_losses(tmp_path / "losses.csv", drawn(0.003))
    assert read_measurements(losses) == drawn(0.003)
    words = ["isoflop", "fit", str(losses), "--predict", "1e21", "--vocab-size", "144644"]
    words += ["--figures", str(tmp_path / "figures")]
    said = CliRunner().invoke(main, words, catch_exceptions=False)
    assert "num_parameters = " in said.stdout
    assert "for 1e+21 FLOPs:" in said.stdout
    found = json.loads(CliRunner().invoke(main, [*words, "--no-parametric", "--json"], catch_exceptions=False).stdout)
    (predicted,) = found["predictions"]
    assert predicted["embed"] % 128 == 0
    low, high = predicted["intervals"]["num_parameters"]
    assert low < predicted["num_parameters"] < high
    curves, laws = ((tmp_path / "figures" / name).read_text() for name in ("curves.svg", "laws.svg"))
    assert curves.count("★") == 7
    assert curves.count("<circle") == 66 + 7  # runs and legend
    assert f"tokens ~ C^{found['laws']['num_tokens']['exponent']:.3f}" in laws


def test_a_prediction_needs_the_size_of_the_vocabulary(tmp_path: Path):
    losses = write_losses(tmp_path / "losses.csv", drawn(0.003))
    result = CliRunner().invoke(main, ["isoflop", "fit", str(losses), "--predict", "1e21"])
    assert result.exit_code == 2
    assert "--predict needs --vocab-size N" in result.stderr


def test_a_file_of_losses_may_come_from_a_spreadsheet(tmp_path: Path):
    losses = write_losses(tmp_path / "losses.csv", drawn(0.003))
    losses.write_bytes(b"\xef\xbb\xbf" + losses.read_bytes())
    assert read_measurements(losses) == drawn(0.003)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("budget_flops,loss\n1e18,3\n", "num_parameters"),
        ("budget_flops,num_parameters,num_tokens,loss\n1e18,1e8,1e9,x\n", "line 2"),
        ("budget_flops,num_parameters,num_tokens,loss\n1e18,1e8,1e9,-1\n", "`loss` of a measurement"),
        ("budget_flops,num_parameters,num_tokens,loss\n1e18,1e8\n", "line 2"),
        (f"budget_flops,num_parameters,num_tokens,loss\n{'1' * 200_000},1,1,1\n", "must be CSV in UTF-8"),
        ("b\udcff", "must be CSV in UTF-8"),
        ("", "missing: budget_flops, loss"),
    ],
)
def test_a_bad_file_of_losses_is_refused(tmp_path: Path, text: str, message: str):
    path = tmp_path / "losses.csv"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(InputError, match=message):
        read_measurements(path)
