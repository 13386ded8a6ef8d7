"""Every named update rule and schedule against golden traces of an implementation in float64 numpy.

The rules are written here from their equations, with nothing of the package in them. `UPDATE_GOLDEN=1` rewrites
`traces.json` from them: learning rates, gradient norms and the norm of every parameter after each step, and all
parameters after the last.
"""

import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audio_train import OptimizerSpec, ScheduleSpec, schedule
from audio_train.optimization.optimizers import initial_moments, update
from audio_train.optimization.schedules import anneal_peak

GOLDEN = Path(__file__).with_name("traces.json")
NUM_STEPS, PEAK = 12, 0.02
SHAPES = {"embedding": (5, 4), "layers/query": (3, 4, 6), "layers/mlp_norm": (3, 4), "final_norm": (4,), "head": (5, 4)}
DECAYING = ("layers/query", "head")

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A rule under a schedule, and the learning rate that has to come out for the update after t updates.

    Where `first_step` is not 0 the run is continued there, with moments of zero.
    """

    spec: OptimizerSpec
    shape: ScheduleSpec
    rate: Callable[[int], float]
    peak: float = PEAK
    first_step: int = 0


def cosine(elapsed: float, low: float = 0.0) -> float:
    return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * elapsed))


EXPERIMENT = OptimizerSpec("cautious_adamc", PEAK, 0.98, 0.98, 1e-16, weight_decay=0.5)
PLAIN = OptimizerSpec("adamw", PEAK, weight_decay=0.1, max_grad_norm=5.0)
LINEAR = ScheduleSpec(warmup=0.25, decay=0.5)
LINEAR_RATE = [PEAK * t / 3 for t in range(3)] + [PEAK] * 3 + [PEAK * (1 - t / 6) for t in range(6)]
COSINE = replace(LINEAR, shape="cosine", min_ratio=0.1)
COSINE_RATE = LINEAR_RATE[:6] + [PEAK * cosine(t / 6, 0.1) for t in range(6)]
TUNING = ScheduleSpec(shape="cosine", warmup=0.25, decay=1.0)

CASES = {
    "cautious_adamc, mean of a layer, linear": Case(EXPERIMENT, LINEAR, LINEAR_RATE.__getitem__),
    "cautious_adamc, mean of all layers, linear": Case(
        replace(EXPERIMENT, cautious_mean="stacked"), LINEAR, LINEAR_RATE.__getitem__
    ),
    "cautious_adamc, mean of a layer, cosine": Case(EXPERIMENT, COSINE, COSINE_RATE.__getitem__),
    "adamw, linear": Case(PLAIN, LINEAR, LINEAR_RATE.__getitem__),
    "adamw, cosine": Case(PLAIN, COSINE, COSINE_RATE.__getitem__),
    # A run of 48 updates and this one's 12 are 60: a warm-up of 3, which lies behind, and 57 of decay.
    "adamw, anneal": Case(
        replace(PLAIN, weight_decay=0.033),
        ScheduleSpec(warmup=0.05, decay=None),
        lambda t: 5 * PEAK * (60 - t) / 57,
        anneal_peak(PEAK, first_step=48, num_steps=NUM_STEPS),
        first_step=48,
    ),
    "adamw, fine-tuning as published": Case(
        PLAIN, replace(TUNING, on_overlap="skip_warmup"), lambda t: PEAK * cosine(t / 12)
    ),
    "adamw, fine-tuning corrected": Case(
        PLAIN, TUNING, lambda t: PEAK * t / 3 if t < 3 else PEAK * cosine((t - 3) / 9)
    ),
    "muon, linear": Case(replace(PLAIN, name="muon"), LINEAR, LINEAR_RATE.__getitem__),
}


def draw(seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32).astype(np.float64) for name, shape in SHAPES.items()}


def gradients() -> list[Arrays]:
    # A third of the elements is exactly zero, as embedding rows of unseen tokens are.
    drawn = [draw(seed) for seed in range(1, NUM_STEPS + 1)]
    return [{name: np.where(np.abs(g) < 0.43, 0.0, g) for name, g in one.items()} for one in drawn]


def clipped(gradient: Arrays, most: float) -> tuple[Arrays, float]:
    norm = math.sqrt(sum(float(np.sum(g**2)) for g in gradient.values()))
    return {name: g * min(1.0, most / norm) for name, g in gradient.items()}, norm


def orthogonalised(matrix: np.ndarray, epsilon: float) -> np.ndarray:
    """Five quintic Newton-Schulz iterations, on the side with fewer rows."""
    x = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = x / (np.linalg.norm(x) + epsilon)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T


class Reference:
    """One rule, parameter by parameter, in float64."""

    def __init__(self, case: Case):
        self.spec, self.rate, self.peak = case.spec, case.rate, case.peak
        self.first = {name: np.zeros(shape) for name, shape in SHAPES.items()}
        self.second = {name: np.zeros(shape) for name, shape in SHAPES.items()}

    def step(self, t: int, name: str, p: np.ndarray, g: np.ndarray) -> np.ndarray:
        """The parameter after update t, counted from 1."""
        if self.spec.name == "muon":
            return self._muon(t, name, p, g) if name == "layers/query" else self._nesterov_adam(t, name, p, g)
        rate, b1, b2 = self.rate(t - 1), self.spec.beta1, self.spec.beta2
        self._moments(name, g, b1, b2)
        u = self.first[name] / (1 - b1**t) / (np.sqrt(self.second[name] / (1 - b2**t)) + self.spec.epsilon)
        decay = self.spec.weight_decay if name in DECAYING else 0.0
        if self.spec.name == "cautious_adamc":
            mask = (g * u > 0).astype(np.float64)
            by_layer = self.spec.cautious_mean == "layer" and name.startswith("layers/")
            axes = tuple(range(1, p.ndim)) if by_layer else None
            u = u * mask / (mask.mean(axis=axes, keepdims=True) + self.spec.epsilon)
            decay *= rate / self.peak
        return p - rate * (u + decay * p)

    def _nesterov_adam(self, t: int, name: str, p: np.ndarray, g: np.ndarray) -> np.ndarray:
        """What Muon leaves over: AdamW with the momentum of the step to come."""
        b1, b2 = self.spec.beta1, self.spec.beta2
        self._moments(name, g, b1, b2)
        ahead = b1 * self.first[name] / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        u = ahead / (np.sqrt(self.second[name] / (1 - b2**t)) + self.spec.epsilon)
        decay = self.spec.weight_decay if name in DECAYING else 0.0
        return p - self.rate(t - 1) * (u + decay * p)

    def _muon(self, t: int, name: str, p: np.ndarray, g: np.ndarray) -> np.ndarray:
        spec, b = self.spec, self.spec.muon_momentum
        self._moments(name, g, b, 0.0)
        ahead = b * self.first[name] / (1 - b ** (t + 1)) + (1 - b) * g / (1 - b**t)
        inputs, outputs = p.shape[1:]
        u = np.stack([orthogonalised(layer, spec.epsilon) for layer in ahead]) * math.sqrt(max(1.0, outputs / inputs))
        return p - spec.muon_learning_rate_scale * self.rate(t - 1) * (u + spec.weight_decay * p)

    def _moments(self, name: str, g: np.ndarray, b1: float, b2: float) -> None:
        self.first[name] = b1 * self.first[name] + (1 - b1) * g
        self.second[name] = b2 * self.second[name] + (1 - b2) * g**2


def norms(params: Arrays) -> dict[str, float]:
    return {name: float(np.linalg.norm(np.float64(p))) for name, p in params.items()}


def reference_trace(case: Case) -> dict[str, Any]:
    rule, params, steps = Reference(case), draw(0), []
    for t, gradient in enumerate(gradients(), start=case.first_step + 1):
        gradient, norm = clipped(gradient, case.spec.max_grad_norm)
        params = {name: rule.step(t, name, p, gradient[name]) for name, p in params.items()}
        steps.append({"learning_rate": case.rate(t - 1), "grad_norm": norm, "norms": norms(params)})
    return {"steps": steps, "params": {name: p.tolist() for name, p in params.items()}}


def trained(case: Case) -> Iterator[tuple[float, Arrays]]:
    """Learning rate and parameters of each step, by the package."""
    rate = schedule(case.shape, case.peak, case.first_step + NUM_STEPS)
    params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), nested(draw(0)))
    state = jax.tree.map(
        lambda leaf: leaf + case.first_step if leaf.dtype == jnp.int32 else leaf,
        initial_moments(case.spec, rate, params),
    )
    step = jax.jit(lambda gradient, state, params: update(case.spec, rate, gradient, state, params))
    for count, gradient in enumerate(gradients(), start=case.first_step):
        params, state = step(jax.tree.map(np.float32, nested(gradient)), state, params)
        yield float(rate(count)), {**params, **{f"layers/{k}": v for k, v in params["layers"].items()}}


def nested(arrays: Arrays) -> dict[str, Any]:
    layers = {name.removeprefix("layers/"): array for name, array in arrays.items() if name.startswith("layers/")}
    return {"layers": layers, **{name: array for name, array in arrays.items() if not name.startswith("layers/")}}


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    if os.environ.get("UPDATE_GOLDEN"):
        traces = {name: reference_trace(case) for name, case in CASES.items()}
        lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(trace)}" for name, trace in traces.items())
        GOLDEN.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


def assert_close(found: Any, expected: Any, rtol: float, atol: float = 0.0) -> None:
    jax.tree.map(lambda f, e: np.testing.assert_allclose(f, e, rtol=rtol, atol=atol), found, expected)


@pytest.mark.parametrize("name", CASES)
def test_the_golden_trace_is_that_of_the_equations(golden: dict[str, Any], name: str):
    assert_close(reference_trace(CASES[name]), golden[name], rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("name", CASES)
def test_training_follows_the_golden_trace(golden: dict[str, Any], name: str):
    params: Arrays = {}
    for (rate, params), expected in zip(trained(CASES[name]), golden[name]["steps"], strict=True):
        np.testing.assert_allclose(rate, expected["learning_rate"], rtol=2e-6, atol=1e-9)
        assert_close(norms({key: params[key] for key in SHAPES}), expected["norms"], rtol=1e-5)
    for key, expected in golden[name]["params"].items():
        np.testing.assert_allclose(params[key], expected, rtol=2e-4, atol=1e-5, err_msg=key)


def test_no_two_traces_end_alike(golden: dict[str, Any]):
    ends = {json.dumps(trace["params"]["layers/query"]) for trace in golden.values()}
    assert len(ends) == len(CASES) == len(golden)
