"""The results of a finished run as numbers: losses at its end, by groups of token kinds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from audio_train.run_folder.folder import METRICS_FILE, require_run
from audio_train.tracking.metrics import read_metrics

TOKEN_GROUPS = {
    "text": ("text",),
    "special": ("special",),
    "semantic": ("codebook_0",),
    "acoustic": tuple(f"codebook_{book}" for book in range(1, 8)),
}
"""Groups of token kinds in tables."""


@dataclass(frozen=True)
class RunSummary:
    """The results of a finished run.

    Attributes:
        name: Name of the run.
        init: Source of its first weights, or "scratch".
        num_parameters: Parameters of the model.
        num_steps: Updates.
        num_tokens: Tokens read.
        training_loss: Mean loss of the last tenth of the steps, in nats a token.
        nll: Held-out loss by group of token kinds and over all, in nats a token; empty where nothing was evaluated.
    """

    name: str
    init: str
    num_parameters: int
    num_steps: int
    num_tokens: int
    training_loss: float
    nll: Mapping[str, float]


def summarize_run(run_dir: Path, name: str) -> RunSummary:
    """Read the results of a finished run.

    Args:
        run_dir: Folder of the run.
        name: Name of the run.

    Raises:
        InputError: The folder holds no run.
    """
    resolved, lines = require_run(run_dir), list(read_metrics(run_dir / METRICS_FILE))
    losses = [line["loss"] for line in lines if line.get("loss") is not None]
    last = losses[-max(1, len(losses) // 10) :]
    evaluations = [line["evaluation"] for line in lines if "evaluation" in line]
    return RunSummary(
        name=name,
        init=resolved.run.init.source or resolved.run.init.kind,
        num_parameters=resolved.model.num_parameters,
        num_steps=resolved.num_steps,
        num_tokens=resolved.num_tokens,
        training_loss=math.fsum(last) / len(last),
        nll=mean_by_group(evaluations[-1]["nll"], evaluations[-1]["targets"]) if evaluations else {},
    )


def mean_by_group(nll: Mapping[str, float], targets: Mapping[str, int]) -> dict[str, float]:
    """Mean loss of each group of `TOKEN_GROUPS` and of "all", weighted by targets, without groups that have none.

    Args:
        nll: Mean negative log-likelihood by token kind, in nats a token.
        targets: Number of predicted tokens by token kind.
    """
    groups = {**TOKEN_GROUPS, "all": tuple(nll)}
    found = {}
    for group, kinds in groups.items():
        present = [kind for kind in kinds if targets.get(kind)]
        if present:
            total = sum(targets[kind] for kind in present)
            found[group] = math.fsum(nll[kind] * targets[kind] for kind in present) / total
    return found
