"""Losses of finished runs: held-out losses on a given dataset and softmax, and statistics of the training loss.

During training a run is evaluated on the datasets of its `intervals.evaluation`. `heldout_losses` evaluates finished
runs on the same rows of one dataset, with the packing and row length of the run. `measured` gives the first training
loss, or its largest rise.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from audio_data import BatchLoader, Mixture, TokenBatch, TokenDataset
from audio_model import load_model
from audio_train.config import LossSpec
from audio_train.run_folder.folder import EXPORT_FOLDER, METRICS_FILE, require_run
from audio_train.run_folder.summary import mean_by_group
from audio_train.tracking.metrics import read_metrics
from audio_train.training.step import Batch, evaluation_step, objective

Softmax = Literal["full", "allowed"]
"""Ids of the softmax: the whole vocabulary, or those that the grammar allows at the position."""

BATCH_ROWS = 2
MAX_ROWS = 64
_SEED = 0

_LOSS_KIND: dict[Softmax, Literal["full", "grammar"]] = {"full": "full", "allowed": "grammar"}
_evaluate = jax.jit(evaluation_step)


@dataclass(frozen=True)
class HeldoutLosses:
    """Losses on one dataset by token kind.

    Attributes:
        nll: Mean negative log-likelihood by kind, in nats per token; kinds that do not occur are left out.
        targets: Number of predicted tokens by kind.
    """

    nll: Mapping[str, float]
    targets: Mapping[str, int]


def heldout_losses(run_dir: Path, data_root: Path, corpus: str, softmax: Softmax = "full") -> HeldoutLosses:
    """Score a finished run.

    Args:
        run_dir: Folder of the run.
        data_root: Folder of the datasets.
        corpus: Name of the dataset; at most `MAX_ROWS` rows of it are read, each once, and the same for every run.
        softmax: Ids of the softmax, independent of the run's training loss.

    Raises:
        InputError: The folder holds no finished run, or the dataset does not exist or is smaller than a batch.
    """
    resolved = require_run(run_dir)
    scored = objective(replace(resolved, run=replace(resolved.run, loss=LossSpec(kind=_LOSS_KIND[softmax]))))
    model = load_model(run_dir / EXPORT_FOLDER)
    loader = BatchLoader(
        {corpus: TokenDataset.open(data_root / corpus)},
        Mixture.constant("heldout", {corpus: 1.0}),
        seq_len=resolved.run.data.seq_len,
        batch_size=BATCH_ROWS,
        seed=_SEED,
        packing=resolved.packing,
    )
    num_batches = max(1, min(MAX_ROWS // BATCH_ROWS, int(1 / loader.epochs_at(1)[corpus])))
    sums = [_evaluate(model, _on_device(loader.batch(index)), scored) for index in range(num_batches)]
    nll = np.sum([np.asarray(part.nll, np.float64) for part in sums], axis=0)
    targets = np.sum([np.asarray(part.num_targets, np.int64) for part in sums], axis=0)
    kinds = [(kind, i) for i, kind in enumerate(resolved.vocabulary.kinds) if targets[i]]
    return HeldoutLosses(
        {kind: float(nll[i] / targets[i]) for kind, i in kinds}, {kind: int(targets[i]) for kind, i in kinds}
    )


def _on_device(batch: TokenBatch) -> Batch:
    return Batch(*map(jnp.asarray, (batch.tokens, batch.segment_ids, batch.positions, batch.loss_mask)))


WINDOW = 16
"""Steps over which `largest_rise` averages, so that single batches have little effect."""


def first(losses: Sequence[float]) -> float:
    """Return the first loss, before any update."""
    return losses[0]


def largest_rise(losses: Sequence[float]) -> float:
    """Largest rise of the loss above an earlier minimum, in means over 16 steps that do not overlap; at least 0.

    Args:
        losses: One loss per step.
    """
    if len(losses) < 2 * WINDOW:
        return 0.0
    means = np.convolve(losses, np.full(WINDOW, 1 / WINDOW), mode="valid")
    lowest_before = np.minimum.accumulate(means)[:-WINDOW]
    return max(0.0, float(np.max(means[WINDOW:] - lowest_before)))


MEASURES: Mapping[str, Callable[[Sequence[float]], float]] = MappingProxyType(
    {"first": first, "largest_rise": largest_rise}
)
"""Statistics by the name in a `CurveColumn`."""


def measured(run_dir: Path, group: str, measure: str) -> float | None:
    """Statistic of a run's training losses.

    Args:
        run_dir: Folder of the run.
        group: Group of token kinds, a key of `audio_train.run_folder.summary.TOKEN_GROUPS`, or `"all"`.
        measure: Key of `MEASURES`.

    Returns:
        The statistic in nats per token; None if no step had such a token.
    """
    lines = (line for line in read_metrics(run_dir / METRICS_FILE) if "nll" in line)
    losses = [mean_by_group(line["nll"], line["targets"]).get(group) for line in lines]
    known = [loss for loss in losses if loss is not None]
    return MEASURES[measure](known) if known else None
