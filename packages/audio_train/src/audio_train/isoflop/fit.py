"""Scaling laws from losses at equal compute: the best model size of each budget, and its growth with the budget.

For each budget a parabola in the logarithm of the parameters is fitted to the losses; its minimum is the best model.
Straight lines through these minima on logarithmic axes are the power laws

    N* = k_N C^a,   D* = k_D C^b,   L* = k_L C^c

of parameters, tokens and loss over the budget C. Intervals come from a bootstrap over the residuals of the parabolas
and of the lines.

Source: the second approach of Hoffmann et al. (arXiv 2203.15556). Changed:
tokens at the minimum come from a parabola through the runs' own tokens instead of C / 6N, as 6N counts no attention.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
from jaxtyping import Float64

from audio_data import InputError
from audio_model import grid_config

MIN_POINTS = 3
MIN_BUDGETS = 2
LAWS = ("num_parameters", "num_tokens", "loss")

Vector = Float64[np.ndarray, " points"]
Line = Float64[np.ndarray, " 2"]
Lines = Float64[np.ndarray, "samples 2"]


@dataclass(frozen=True)
class Measurement:
    """One trained model.

    Attributes:
        budget_flops: Budget in FLOPs, in any convention that all measurements share.
        num_parameters: Number of parameters, in any convention that all measurements share.
        num_tokens: Number of training tokens.
        loss: Held-out loss in nats per token.
    """

    budget_flops: float
    num_parameters: float
    num_tokens: float
    loss: float

    def __post_init__(self) -> None:
        for name in ("budget_flops", "num_parameters", "num_tokens", "loss"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise InputError(f"`{name}` of a measurement must be a number above 0, got {value!r}.")


@dataclass(frozen=True)
class Optimum:
    """The minimum of a budget's parabola.

    Attributes:
        budget_flops: The budget.
        num_parameters: Number of parameters of the best model.
        num_tokens: Number of its training tokens.
        loss: Its loss.
        coefficients: Coefficients of the parabola of the loss over log parameters, highest power first.
    """

    budget_flops: float
    num_parameters: float
    num_tokens: float
    loss: float
    coefficients: tuple[float, float, float]


@dataclass(frozen=True)
class PowerLaw:
    """`y = coefficient * x ** exponent`, with 95 % intervals.

    Attributes:
        coefficient: Value at x = 1.
        exponent: Slope on logarithmic axes.
        exponent_interval: 95 % bootstrap interval of the exponent.
    """

    coefficient: float
    exponent: float
    exponent_interval: tuple[float, float]

    def __call__(self, x: float) -> float:
        """Evaluate the law."""
        return self.coefficient * x**self.exponent


@dataclass(frozen=True)
class Prediction:
    """The best model for a budget, according to the power laws.

    Attributes:
        budget_flops: The budget.
        num_parameters: Number of parameters.
        num_tokens: Number of training tokens.
        loss: Expected loss.
        intervals: 95 % bootstrap intervals of these three numbers.
        embed: Width of the grid model of the nearest size.
        layers: Layers of that model.
    """

    budget_flops: float
    num_parameters: float
    num_tokens: float
    loss: float
    intervals: Mapping[str, tuple[float, float]]
    embed: int
    layers: int


@dataclass(frozen=True)
class IsoflopFit:
    """Optima of every budget and the power laws through them.

    Attributes:
        measurements: The measurements.
        optima: Optimum of each budget, smallest budget first.
        laws: Power laws of `num_parameters`, `num_tokens` and `loss` over the budget.
        samples: Bootstrap samples of each law: intercept and slope of its line on logarithmic axes.
    """

    measurements: tuple[Measurement, ...]
    optima: tuple[Optimum, ...]
    laws: Mapping[str, PowerLaw]
    samples: Mapping[str, Lines]

    def predict(self, budget_flops: float, vocab_size: int) -> Prediction:
        """Predict the best model for a budget.

        Args:
            budget_flops: Budget, in the convention of the measurements.
            vocab_size: Number of token ids of the grid model.
        """
        values = {name: law(budget_flops) for name, law in self.laws.items()}
        lines = {name: s[:, 0] + s[:, 1] * np.log(budget_flops) for name, s in self.samples.items()}
        intervals = {name: _interval(np.exp(line)) for name, line in lines.items()}
        nearest = min(
            (grid_config(width, vocab_size) for width in range(128, 16385, 128)),
            key=lambda model: abs(np.log(model.num_parameters / values["num_parameters"])),
        )
        return Prediction(budget_flops, **values, intervals=intervals, embed=nearest.embed, layers=nearest.layers)


@dataclass(frozen=True)
class _Parabola:
    """A budget's losses and tokens over log parameters."""

    budget_flops: float
    log_parameters: Vector
    log_tokens: Vector
    losses: Vector

    @cached_property
    def coefficients(self) -> Float64[np.ndarray, " 3"]:
        return np.polyfit(self.log_parameters, self.losses, 2)

    @property
    def fitted(self) -> Vector:
        return np.polyval(self.coefficients, self.log_parameters)

    @property
    def residuals(self) -> Vector:
        """Residuals of the parabola, scaled for its three degrees of freedom."""
        count = len(self.losses)
        return (self.losses - self.fitted) * np.sqrt(count / max(count - 3, 1))

    def with_losses(self, losses: Vector) -> "_Parabola":
        return _Parabola(self.budget_flops, self.log_parameters, self.log_tokens, losses)

    def optimum(self) -> Optimum | None:
        """Minimum of the parabola; None if it is not between the smallest and the largest model."""
        square, linear, _ = map(float, self.coefficients)
        place = -linear / (2 * square) if square > 0 else np.inf
        if not self.log_parameters.min() <= place <= self.log_parameters.max():
            return None
        tokens = np.polyval(np.polyfit(self.log_parameters, self.log_tokens, 2), place)
        loss = float(np.polyval(self.coefficients, place))
        if loss <= 0:
            return None
        first, second, third = map(float, self.coefficients)
        return Optimum(self.budget_flops, float(np.exp(place)), float(np.exp(tokens)), loss, (first, second, third))


def fit_isoflop(measurements: Iterable[Measurement], *, num_samples: int = 1000, seed: int = 0) -> IsoflopFit:
    """Fit power laws to the best models of several budgets.

    Args:
        measurements: Losses of at least three sizes for each of at least two budgets.
        num_samples: Number of bootstrap samples.
        seed: Seed of the bootstrap.

    Returns:
        The fit.

    Raises:
        InputError: There are too few budgets or sizes, or the losses of a budget have no minimum between its sizes.
    """
    measurements = tuple(measurements)
    parabolas = _parabolas(measurements)
    optima = [_require_optimum(parabola) for parabola in parabolas]
    samples = _bootstrap(parabolas, optima, num_samples, np.random.default_rng(seed))
    laws = {name: _law(optima, name, samples[name]) for name in LAWS}
    return IsoflopFit(measurements, tuple(optima), MappingProxyType(laws), MappingProxyType(samples))


def _parabolas(measurements: Sequence[Measurement]) -> list[_Parabola]:
    budgets = sorted({measurement.budget_flops for measurement in measurements})
    if len(budgets) < MIN_BUDGETS:
        raise InputError(f"a power law takes at least {MIN_BUDGETS} budgets, got {len(budgets)}; measure another.")
    parabolas = []
    for budget in budgets:
        points = sorted((m for m in measurements if m.budget_flops == budget), key=lambda m: m.num_parameters)
        num_sizes = len({point.num_parameters for point in points})
        if num_sizes < MIN_POINTS:
            raise InputError(
                f"budget {budget:g}: a parabola takes at least {MIN_POINTS} sizes, got {num_sizes}; train other sizes, "
                "or leave the budget out."
            )
        columns = (np.log([p.num_parameters for p in points]), np.log([p.num_tokens for p in points]))
        parabolas.append(_Parabola(budget, *columns, np.array([p.loss for p in points], np.float64)))
    return parabolas


def _require_optimum(parabola: _Parabola) -> Optimum:
    optimum = parabola.optimum()
    if optimum is not None:
        return optimum
    low, high = np.exp([parabola.log_parameters.min(), parabola.log_parameters.max()])
    best = np.exp(parabola.log_parameters[np.argmin(parabola.losses)])
    raise InputError(
        f"budget {parabola.budget_flops:g}: the losses have no minimum between the smallest model ({low:.3g} "
        f"parameters) and the largest ({high:.3g}); the best measured has {best:.3g}: train models beyond it, or leave "
        "the budget out."
    )


def _line(optima: Sequence[Optimum], name: str) -> tuple[Vector, Vector, Line]:
    """Log budget, log optimum, and intercept and slope of the line through them."""
    x = np.log([optimum.budget_flops for optimum in optima])
    y = np.log([getattr(optimum, name) for optimum in optima])
    slope, intercept = np.polyfit(x, y, 1)
    return x, y, np.array([intercept, slope])


def _law(optima: Sequence[Optimum], name: str, samples: Lines) -> PowerLaw:
    intercept, slope = _line(optima, name)[2]
    return PowerLaw(float(np.exp(intercept)), float(slope), _interval(samples[:, 1]))


def _bootstrap(
    parabolas: Sequence[_Parabola], optima: Sequence[Optimum], num_samples: int, rng: np.random.Generator
) -> dict[str, Lines]:
    """Lines through the minima of resampled losses: fitted values plus residuals of all budgets."""
    residuals = np.concatenate([parabola.residuals for parabola in parabolas])
    lines: dict[str, list[Line]] = {name: [] for name in LAWS}
    for _ in range(num_samples):
        drawn = [p.with_losses(p.fitted + rng.choice(residuals, len(p.losses))).optimum() for p in parabolas]
        found = [optimum for optimum in drawn if optimum is not None]
        if len(found) < MIN_BUDGETS:
            continue
        for name in LAWS:
            lines[name].append(_redrawn_line(found, optima, name, rng))
    if len(lines["loss"]) < num_samples / 2:
        raise InputError(
            "the losses are too noisy for an interval: in most bootstrap samples fewer than two budgets have a minimum "
            "between their sizes; measure more sizes."
        )
    return {name: np.stack(found) for name, found in lines.items()}


def _redrawn_line(found: Sequence[Optimum], optima: Sequence[Optimum], name: str, rng: np.random.Generator) -> Line:
    """Line through resampled minima, to which the residuals of the measured line are added."""
    x, y, (intercept, slope) = _line(optima, name)
    strays = (y - intercept - slope * x) * np.sqrt(len(x) / max(len(x) - 2, 1))
    x, y, _ = _line(found, name)
    slope, intercept = np.polyfit(x, y + rng.choice(strays, len(y)), 1)
    return np.array([intercept, slope])


def _interval(values: Float64[np.ndarray, " samples"]) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
