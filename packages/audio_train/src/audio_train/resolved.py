"""Derive every number of a run: steps, peak learning rate, schedule boundaries, model shape, loss weights.

A `ResolvedRun` and the datasets that it names determine every loss of the run. Its JSON is `RUN/resolved.json`, and its
fingerprint identifies the run. JAX is imported only for what is computed with it, so recipes are listed quickly.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Int32

from audio_data import InputError, Manifest, Mixture, Packing, Stage, Vocabulary, from_json, to_json
from audio_model import InputError as ModelInputError
from audio_model import Qwen3xConfig, RopeConfig, named_config
from audio_train.config import LearningRateRule, LowRankSpec, ModelShape, NamedModel, TrainRun
from audio_train.optimization.schedules import learning_rate, step_counts
from audio_train.renames import with_current_names, with_old_names

if TYPE_CHECKING:
    from audio_model import LowRank, TokenSets
    from audio_train.optimization.warmup_stable_decay import WarmupStableDecay


@dataclass(frozen=True)
class ResolvedRun:
    """A run with every derived number.

    Attributes:
        run: The run as written.
        vocabulary: Vocabulary of the data.
        model: Configuration of the model.
        num_steps: Steps of the run, without those of a run that it continues.
        peak_learning_rate: Highest learning rate.
        datasets: Fingerprint of each dataset that the run reads, by name; empty if it was resolved without data.
    """

    run: TrainRun
    vocabulary: Vocabulary
    model: Qwen3xConfig
    num_steps: int
    peak_learning_rate: float
    datasets: Mapping[str, str] = field(default_factory=dict)

    @property
    def first_step(self) -> int:
        """Step at which the run begins: 0, or that of the checkpoint that it continues."""
        return self.run.init.first_step

    @property
    def last_step(self) -> int:
        """Step at which the run ends."""
        return self.first_step + self.num_steps

    @property
    def num_tokens(self) -> int:
        """Tokens that the run reads, including padding."""
        return self.num_steps * self.run.data.tokens_per_step

    @property
    def training_flops(self) -> float:
        """FLOPs of the run: three forward passes per token, counting full attention."""
        return 3 * self.model.forward_flops_per_token(self.run.data.seq_len) * self.num_tokens

    @property
    def learning_rate(self) -> "WarmupStableDecay":
        """Learning-rate schedule of the run."""
        from audio_train.optimization.warmup_stable_decay import schedule

        return schedule(self.run.schedule, self.peak_learning_rate, self.last_step)

    @property
    def mixture(self) -> Mixture:
        """Mixture with the first step of each stage: its fraction of the run, truncated.

        If stages of a short run begin at the same step, the last one counts.
        """
        data = self.run.data
        weights = {int(stage.start_fraction * self.last_step): stage.weights for stage in data.mixture}
        stages = tuple(Stage(start, dict(weights[start])) for start in sorted(weights))
        return Mixture(
            self.run.name,
            stages,
            block_size=data.mixture_block,
            reshuffle_each_epoch=data.reshuffle_each_epoch,
            remainder=data.remainder,
        )

    @property
    def packing(self) -> Packing:
        """Rule by which documents are packed into rows."""
        data = self.run.data
        return Packing(data.packing, data.positions, max_segments=data.max_segments)

    @property
    def loss_weights(self) -> Float32[np.ndarray, " kinds"]:
        """Weight of a target by token kind, in the order of `Vocabulary.kinds`."""
        return loss_weights(self.run.loss.kind_weights, self.vocabulary)

    @property
    def token_sets(self) -> "TokenSets | None":
        """Sets of ids over which the grammar loss normalises; None for the full softmax."""
        from audio_model import TokenSets

        return TokenSets.build(self.vocabulary.allowed_sets) if self.run.loss.kind == "grammar" else None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that determines the losses: all but `intervals` and `remat`."""
        identity = self._content()
        for section, name in (("run", "intervals"), ("run", "remat")):
            del identity[section][name]
        del identity["derived"]["model"]["remat"]
        identity["run"] = with_old_names(identity["run"])
        canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def with_steps(self, num_steps: int) -> "ResolvedRun":
        """Resolve the same run with another length."""
        run = replace(self.run, steps=num_steps, tokens=None)
        return replace(resolve(run, self.vocabulary), datasets=self.datasets)

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON: every given and derived number, and the fingerprint."""
        return {"fingerprint": self.fingerprint, **self._content()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "ResolvedRun":
        """Read the JSON of `to_json`, in which fields may have old names, and derive its numbers again.

        Raises:
            InputError: The value is not a resolved run, or this version derives other numbers from the same run.
        """
        given = {name: item for name, item in value.items() if name != "derived"}
        if "run" in given:
            given["run"] = with_current_names(given["run"])
        saved = from_json(_Saved, given, "resolved run")
        try:
            resolved = resolve(saved.run, Vocabulary.from_json(saved.vocabulary))
        except ModelInputError as error:
            raise InputError(error.message) from error
        resolved = replace(resolved, datasets=dict(saved.datasets))
        if resolved.fingerprint != saved.fingerprint:
            raise InputError(
                f"the saved run must have the `fingerprint` {resolved.fingerprint[:12]!r} that this version derives, "
                f"got {saved.fingerprint[:12]!r}; if the file is not damaged, use the version that wrote it"
            )
        return resolved

    def _content(self) -> dict[str, Any]:
        warmup, decay_start, decay = step_counts(self.run.schedule, self.last_step)
        mixture = self.mixture
        flops_per_token = self.model.forward_flops_per_token(self.run.data.seq_len)
        derived = {
            "model": to_json(self.model),
            "num_parameters": self.model.num_parameters,
            "num_steps": self.num_steps,
            "first_step": self.first_step,
            "num_tokens": self.num_tokens,
            "tokens_per_step": self.run.data.tokens_per_step,
            "peak_learning_rate": self.peak_learning_rate,
            "warmup_steps": warmup,
            "decay_start_step": decay_start,
            "decay_steps": decay,
            "mixture": [
                {
                    "start_step": stage.start_step,
                    "weights": mixture.weights(index),
                    "rows_of_block": dict(zip(mixture.corpora, mixture.shares(index), strict=True)),
                }
                for index, stage in enumerate(mixture.stages)
            ],
            "loss_weights": dict(zip(self.vocabulary.kinds, self.loss_weights.tolist(), strict=True)),
            "forward_flops_per_token": flops_per_token,
            "training_flops": 3 * flops_per_token * self.num_tokens,
        }
        return {
            "run": self.run.to_json(),
            "vocabulary": self.vocabulary.to_json(),
            "datasets": dict(sorted(self.datasets.items())),
            "derived": derived,
        }


@dataclass(frozen=True)
class _Saved:
    """The parts of the JSON that `ResolvedRun.from_json` reads; all others are derived."""

    fingerprint: str
    run: TrainRun
    vocabulary: dict[str, Any]
    datasets: dict[str, str]


def resolve(run: TrainRun, vocabulary: Vocabulary, manifests: Mapping[str, Manifest] | None = None) -> ResolvedRun:
    """Derive every number of a run.

    Args:
        run: The run.
        vocabulary: Vocabulary of the data.
        manifests: Manifest of each available dataset; None resolves without data.

    Returns:
        The resolved run.

    Raises:
        InputError: A dataset of the run is missing, a weight names no token kind of the vocabulary, rows are longer
            than the model's context, the schedule is longer than the run, or a low-rank run starts from scratch.
        audio_model.InputError: The rank or a target of `low_rank` does not fit the model.
    """
    model = replace(model_config(run.model, vocabulary), remat=run.remat)
    if run.data.seq_len > model.max_seq_len:
        raise InputError(
            f"`data.seq_len` must be at most `model.max_seq_len` = {model.max_seq_len}, got {run.data.seq_len!r}: the "
            f"exported model would refuse its training rows; set model.max_seq_len={run.data.seq_len}, or shorten the "
            "rows."
        )
    if run.low_rank is not None:
        if run.init.kind == "scratch":
            raise InputError(
                "`low_rank` adapts weights that the run starts from, got init.kind='scratch'; give the weights with "
                "--start, or set low_rank=null."
            )
        low_rank_of(run.low_rank).check(model)
    num_steps = run.steps if run.steps is not None else math.ceil((run.tokens or 0) / run.data.tokens_per_step)
    peak = run.optimizer.learning_rate
    if isinstance(peak, LearningRateRule):
        peak = learning_rate(peak, batch_size=run.data.batch_size, width=model.embed)
    resolved = ResolvedRun(run, vocabulary, model, num_steps, peak)
    resolved.to_json()  # derives every number once, so a wrong run is refused here and not at its start
    return resolved if manifests is None else replace(resolved, datasets=_fingerprints(resolved, manifests))


def low_rank_of(spec: LowRankSpec) -> "LowRank":
    """Return the adapters' form for a model.

    Raises:
        audio_model.InputError: A target is unknown.
    """
    from audio_model import LowRank

    return LowRank(spec.rank, spec.alpha, spec.targets, spec.dora)


def model_config(model: NamedModel | ModelShape, vocabulary: Vocabulary) -> Qwen3xConfig:
    """Return the configuration of a model for a vocabulary."""
    rope = RopeConfig(theta=model.rope_theta, **({} if model.rope_scaling == "llama3" else {"scaling": None}))
    if isinstance(model, NamedModel):
        named = named_config(model.size, vocabulary.size, tied=model.tied)
        return replace(named, max_seq_len=model.max_seq_len, rope=rope, rms_epsilon=model.rms_epsilon)
    return Qwen3xConfig(
        vocab_size=vocabulary.size,
        embed=model.embed,
        mlp=model.mlp,
        layers=model.layers,
        heads=model.heads,
        kv_heads=model.kv_heads,
        head_dim=model.head_dim,
        tied=model.tied,
        rope=rope,
        rms_epsilon=model.rms_epsilon,
        max_seq_len=model.max_seq_len,
    )


def loss_weights(kind_weights: Mapping[str, float], vocabulary: Vocabulary) -> Float32[np.ndarray, " kinds"]:
    """Weight of a target by token kind.

    Args:
        kind_weights: Weights by kind, or `"audio"` for every codebook; the entry of a codebook overrides `"audio"`.
        vocabulary: Vocabulary of the data.

    Returns:
        One weight per kind; 1 for kinds that are not named.

    Raises:
        InputError: A name is not a kind of the vocabulary.
    """
    unknown = sorted(set(kind_weights) - {*vocabulary.kinds, "audio"})
    if unknown:
        kinds = ", ".join([*vocabulary.kinds, "audio"])
        raise InputError(f"`loss.kind_weights` must name token kinds, of {kinds}, got {unknown[0]!r}.")
    audio = kind_weights.get("audio", 1.0)
    defaults = [audio if kind.startswith("codebook_") else 1.0 for kind in vocabulary.kinds]
    return np.array([kind_weights.get(k, d) for k, d in zip(vocabulary.kinds, defaults, strict=True)], np.float32)


def token_kinds(vocabulary: Vocabulary) -> Int32[np.ndarray, " vocab"]:
    """Index into `Vocabulary.kinds` of every id; an unused id counts as special."""
    table = np.full(vocabulary.size, vocabulary.kinds.index("special"), np.int32)
    table[: vocabulary.num_text] = vocabulary.kinds.index("text")
    table[list(vocabulary.special_ids)] = vocabulary.kinds.index("special")
    for codebook in range(vocabulary.num_codebooks):
        table[slice(*vocabulary.audio_range(codebook))] = vocabulary.kinds.index(f"codebook_{codebook}")
    return table


def _fingerprints(resolved: ResolvedRun, manifests: Mapping[str, Manifest]) -> dict[str, str]:
    resolved.mixture.check_corpora(manifests)
    return {name: manifests[name].fingerprint for name in resolved.mixture.corpora}
