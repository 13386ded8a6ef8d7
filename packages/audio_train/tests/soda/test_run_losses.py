"""Held-out losses of finished runs against those of the run itself and of a plain softmax over its logits."""

from pathlib import Path
from typing import Literal

import jax
import numpy as np
import pytest

from audio_data import BatchLoader, InputError, Mixture, TokenDataset
from audio_model import load_model
from audio_train import ResolvedRun
from audio_train.resolved import token_kinds
from audio_train.soda import run_losses
from audio_train.soda.run_losses import heldout_losses


def plain_losses(run_dir: Path, data_root: Path, toy: ResolvedRun, *, allowed: bool) -> dict[str, float]:
    """The same by whole logits, in float64, one token after another."""
    model, vocabulary = load_model(run_dir / "export"), toy.vocabulary
    loader = BatchLoader(
        {"short": TokenDataset.open(data_root / "short")},
        Mixture.constant("heldout", {"short": 1.0}),
        seq_len=toy.run.data.seq_len,
        batch_size=2,
        seed=0,
        packing=toy.packing,
    )
    sets = [np.concatenate([np.arange(*part) for part in ranges]) for ranges in vocabulary.allowed_sets]
    kinds, found = token_kinds(vocabulary), {}
    for index in range(int(1 / loader.epochs_at(1)["short"])):
        batch = loader.batch(index)
        hidden = model(*jax.device_put((batch.tokens, batch.segment_ids, batch.positions)))
        logits = np.asarray(hidden, np.float64) @ np.asarray(model.head_matrix, np.float64).T
        for row, place in zip(*np.nonzero(batch.loss_mask), strict=True):
            target = int(batch.tokens[row, place + 1])
            (ids,) = [s for s in sets if target in s] if allowed else [np.arange(vocabulary.size)]
            loss = np.logaddexp.reduce(logits[row, place, ids]) - logits[row, place, target]
            found.setdefault(vocabulary.kinds[kinds[target]], []).append(loss)
    return {kind: float(np.mean(losses)) for kind, losses in found.items()}


@pytest.mark.parametrize("softmax", [pytest.param("full", marks=pytest.mark.long), "allowed"])
def test_losses_are_those_of_a_plain_softmax(
    finished: Path, data_root: Path, toy: ResolvedRun, softmax: Literal["full", "allowed"]
):
    found = heldout_losses(finished, data_root, "short", softmax)
    assert found.nll == pytest.approx(plain_losses(finished, data_root, toy, allowed=softmax == "allowed"), rel=1e-4)
    assert set(found.targets) == set(found.nll)


def test_fewer_ids_compete_inside_the_allowed_sets(finished: Path, data_root: Path):
    full, allowed = (heldout_losses(finished, data_root, "short", softmax) for softmax in ("full", "allowed"))
    assert full.targets == allowed.targets
    assert all(allowed.nll[kind] < full.nll[kind] for kind in full.nll)


def test_no_window_is_read_twice(finished: Path, data_root: Path, toy: ResolvedRun, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run_losses, "MAX_ROWS", 10**6)
    read = sum(heldout_losses(finished, data_root, "short").targets.values())
    dataset = TokenDataset.open(data_root / "short")
    assert 0 < read <= dataset.manifest.num_tokens


def test_a_folder_without_a_finished_run_is_refused(tmp_path: Path, data_root: Path, finished: Path):
    with pytest.raises(InputError, match="must hold a run"):
        heldout_losses(tmp_path, data_root, "short")
    with pytest.raises(InputError, match="missing"):
        heldout_losses(finished, data_root, "missing")
