"""Fit the loss as a function of parameters and tokens to all runs at once.

    L(N, D) = E + A / N^alpha + B / D^beta

For given exponents the other three numbers follow by linear least squares. The exponents are searched on a grid, then
on finer grids around the best point.

Source: the third approach of Hoffmann et al. (arXiv 2203.15556). Changed: squared errors of the loss itself, by
variable projection, in place of a Huber loss on logarithms.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from audio_data import InputError
from audio_train.isoflop.fit import Measurement

MIN_POINTS = 6
_EXPONENTS = (0.02, 1.5)
_GRID = 25
_ZOOMS = 12

Vector = Float64[np.ndarray, " points"]
Pair = Float64[np.ndarray, " 2"]
Triple = Float64[np.ndarray, " 3"]
Interval = tuple[float, float]


@dataclass(frozen=True)
class ParametricFit:
    """The five numbers of the formula.

    Attributes:
        floor: E, the loss for infinite data and parameters, in nats per token.
        parameter_term: A.
        parameter_exponent: Alpha.
        token_term: B.
        token_exponent: Beta.
        parameter_exponent_interval: 95 % bootstrap interval of alpha.
        token_exponent_interval: 95 % bootstrap interval of beta.
        allocation_interval: 95 % bootstrap interval of `allocation_exponent`.
        rms_error: Root mean squared error, in nats per token.
    """

    floor: float
    parameter_term: float
    parameter_exponent: float
    token_term: float
    token_exponent: float
    parameter_exponent_interval: Interval
    token_exponent_interval: Interval
    allocation_interval: Interval
    rms_error: float

    @property
    def allocation_exponent(self) -> float:
        """Exponent of the best size over compute, beta / (alpha + beta), for compute proportional to N D."""
        return self.token_exponent / (self.parameter_exponent + self.token_exponent)

    def __call__(self, num_parameters: float, num_tokens: float) -> float:
        """Loss of a model with a number of parameters after a number of tokens."""
        by_size = self.parameter_term / num_parameters**self.parameter_exponent
        return self.floor + by_size + self.token_term / num_tokens**self.token_exponent


def fit_parametric(measurements: Iterable[Measurement], *, num_samples: int = 100, seed: int = 0) -> ParametricFit:
    """Fit the formula.

    Args:
        measurements: At least six measurements, of several sizes and several lengths.
        num_samples: Number of bootstrap samples over residuals.
        seed: Seed of the bootstrap.

    Raises:
        InputError: There are too few measurements, or the losses do not decrease with both parameters and tokens.
    """
    points = list(measurements)
    if len(points) < MIN_POINTS:
        raise InputError(f"the formula needs at least {MIN_POINTS} measurements, got {len(points)}; measure more.")
    sizes = np.array([point.num_parameters for point in points], np.float64)
    tokens = np.array([point.num_tokens for point in points], np.float64)
    losses = np.array([point.loss for point in points], np.float64)
    solved = _solve(sizes, tokens, losses)
    if solved is None:
        raise InputError(
            "the losses must decrease with both parameters and tokens to fit the formula; measure more sizes and "
            "lengths."
        )
    exponents, terms = solved
    fitted = _design(sizes, tokens, exponents) @ terms
    residuals, rng = losses - fitted, np.random.default_rng(seed)
    redrawn = (_solve(sizes, tokens, fitted + rng.choice(residuals, len(losses))) for _ in range(num_samples))
    samples = np.stack([exponents, *(found[0] for found in redrawn if found is not None)])
    alpha, beta = map(float, exponents)
    return ParametricFit(
        floor=float(terms[0]),
        parameter_term=float(terms[1] * sizes.min() ** alpha),
        parameter_exponent=alpha,
        token_term=float(terms[2] * tokens.min() ** beta),
        token_exponent=beta,
        parameter_exponent_interval=_interval(samples[:, 0]),
        token_exponent_interval=_interval(samples[:, 1]),
        allocation_interval=_interval(samples[:, 1] / samples.sum(axis=1)),
        rms_error=float(np.sqrt(np.mean(residuals**2))),
    )


def _design(
    sizes: Vector, tokens: Vector, exponents: Float64[np.ndarray, "*grid 2"]
) -> Float64[np.ndarray, "*grid points 3"]:
    """Columns of the linear problem for each pair of exponents: `[*grid, points, 3]`.

    They are relative to the smallest size and length, which keeps the problem well conditioned.
    """
    alpha, beta = exponents[..., :1], exponents[..., 1:]
    by_size, by_length = (sizes / sizes.min()) ** -alpha, (tokens / tokens.min()) ** -beta
    return np.stack([np.ones_like(by_size), by_size, by_length], axis=-1)


def _solve(sizes: Vector, tokens: Vector, losses: Vector) -> tuple[Pair, Triple] | None:
    """Exponents and positive terms with the least squared error; None if no fit has positive terms."""
    low, high = np.log(_EXPONENTS)
    center, width = np.full(2, (low + high) / 2), (high - low) / 2
    best_error, best = np.inf, (center, np.zeros(3))
    for _ in range(_ZOOMS):
        steps = np.linspace(-width, width, _GRID)
        places = np.clip(center + np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2), low, high)
        design = _design(sizes, tokens, np.exp(places))
        terms = np.linalg.pinv(design) @ losses
        errors = np.sum((np.einsum("gpt,gt->gp", design, terms) - losses) ** 2, axis=1)
        errors[~((terms[:, 1:] > 0).all(axis=1) & (terms[:, 0] >= 0))] = np.inf
        found = int(np.argmin(errors))
        if errors[found] < best_error:
            best_error, best = errors[found], (places[found], terms[found])
        if not np.isfinite(best_error):
            return None
        center, width = best[0], width * 0.4
    return np.exp(best[0]), best[1]


def _interval(values: Float64[np.ndarray, " samples"]) -> Interval:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
