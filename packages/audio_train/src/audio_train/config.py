"""The configuration of a training run: model, data, optimizer, schedule, loss, initial weights, intervals.

Everything here is a frozen dataclass of plain numbers and names. Building one does no I/O and touches no device, so a
recipe can be compared, printed and varied with `dataclasses.replace`. Derived numbers (steps from tokens, learning rate
from batch and width) are not stored here; `audio_train.resolved` computes them.

A field that was renamed needs an entry in `audio_train.renames`, so that files written before still open.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from audio_data import InputError, to_json

OptimizerName = Literal["cautious_adamc", "adamw", "muon"]
"""`cautious_adamc`: cautious AdamW with AdamC decay. `adamw`: plain. `muon`: for layer matrices, AdamW elsewhere."""


def _require_positive(name: str, value: int | float) -> None:
    _require(name, "above 0", value, 0 < value < math.inf)


def _require_not_negative(name: str, value: int | float) -> None:
    _require(name, "a number of at least 0", value, 0 <= value < math.inf)


def _require(name: str, expected: str, value: int | float, holds: bool) -> None:
    """Refuse a number unless its condition holds. NaN compares as false, so it meets no condition."""
    if not holds:
        raise InputError(f"`{name}` must be {expected}, got {value!r}.")


def _check_function(model: "NamedModel | ModelShape") -> None:
    """Check the numbers that change no shape, because no later step would refuse them."""
    theta = model.rope_theta
    _require("model.rope_theta", "a number above 1", theta, 1 < theta < math.inf)
    _require_positive("model.rms_epsilon", model.rms_epsilon)
    _require_positive("model.max_seq_len", model.max_seq_len)


@dataclass(frozen=True)
class NamedModel:
    """A model by the name of its size; `audio-model describe` lists them.

    Attributes:
        size: Name of the size, a key of `audio_model.named_size`.
        tied: Whether the output matrix is the embedding matrix.
        max_seq_len: Longest sequence, in tokens, the exported model declares.
        rope_theta: Base of the rotary frequencies; weights that others trained bring theirs.
        rope_scaling: `"llama3"` stretches long wavelengths as Llama-3 does, `"none"` leaves them.
        rms_epsilon: Added to the mean square in every norm.
    """

    size: str
    tied: bool = False
    max_seq_len: int = 4096
    rope_theta: float = 500_000.0
    rope_scaling: Literal["llama3", "none"] = "llama3"
    rms_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        _check_function(self)


@dataclass(frozen=True)
class ModelShape:
    """A model given by its dimensions; `vocab` comes from the data.

    Attributes:
        embed: Width of the residual stream.
        mlp: Width of the SwiGLU hidden layer.
        layers: Number of decoder layers.
        heads: Number of query heads.
        kv_heads: Number of key and value heads; divides `heads`.
        head_dim: Width of one head; even.
        tied: Whether the output matrix is the embedding matrix.
        rope_theta: Base of the rotary frequencies.
        rope_scaling: `"llama3"` stretches long wavelengths as Llama-3 does, `"none"` leaves them.
        max_seq_len: Longest sequence, in tokens, the exported model declares.
        rms_epsilon: Added to the mean square in every norm.
    """

    embed: int
    mlp: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    tied: bool = True
    rope_theta: float = 500_000.0
    rope_scaling: Literal["llama3", "none"] = "llama3"
    max_seq_len: int = 4096
    rms_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        _check_function(self)


ALL_DATASETS = "*"
"""Key of `MixtureStage.weights` that stands for every dataset of the data folder."""


@dataclass(frozen=True)
class MixtureStage:
    """Mixture weights of one part of the run, up to the next stage.

    Attributes:
        start_fraction: First step of the stage as a fraction in [0, 1) of all steps, including those of a run that is
            continued.
        weights: Relative weight of each dataset among the rows. `ALL_DATASETS` as the only key stands for every
            dataset of the data folder whose name does not begin with `heldout`, weighted by its tokens.
    """

    start_fraction: float
    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        if not 0.0 <= self.start_fraction < 1.0:
            raise InputError(f"`start_fraction` must be a fraction of the run in [0, 1), got {self.start_fraction!r}.")
        if ALL_DATASETS in self.weights and len(self.weights) > 1:
            raise InputError(
                f"`weights` must name datasets or be {ALL_DATASETS!r} alone, got {', '.join(map(repr, self.weights))}; "
                "name every dataset"
            )


@dataclass(frozen=True)
class DataSpec:
    """The rows that a step reads.

    Attributes:
        mixture: Stages of the run in order; the first starts at fraction 0.
        seq_len: Tokens in a row.
        batch_size: Rows in a step, over all devices.
        packing: `"windows"` cuts the concatenated documents of a dataset into rows; `"best_fit"` packs whole documents
            into rows and pads the rest; `"next_fit"` packs documents in stored order and keeps only the first row of
            a longer one.
        positions: Whether positions count through a row (`"continue"`) or restart with each document (`"reset"`).
        max_segments: Maximum number of documents in one packed row.
        mixture_block: Number of consecutive rows in which each dataset has its exact share of the mixture.
        reshuffle_each_epoch: Whether a dataset is read in a new random order each epoch, or always in the same one.
        remainder: How to divide the rows of a block that are left after each dataset has the integer part of its share:
            one each to the largest fractional parts (`"largest_fraction"`), or all to the dataset of the largest
            weight (`"largest_corpus"`, as Levanter does).
    """

    mixture: tuple[MixtureStage, ...]
    seq_len: int
    batch_size: int
    packing: Literal["windows", "best_fit", "next_fit"] = "windows"
    positions: Literal["continue", "reset"] = "continue"
    max_segments: int = 64
    mixture_block: int = 2048
    reshuffle_each_epoch: bool = True
    remainder: Literal["largest_fraction", "largest_corpus"] = "largest_fraction"

    def __post_init__(self) -> None:
        starts = [stage.start_fraction for stage in self.mixture]
        if not starts or starts[0] != 0.0 or starts != sorted(set(starts)):
            raise InputError(f"`mixture` stages must start at fraction 0 and then increase, got {starts!r}.")
        for name in ("seq_len", "batch_size", "max_segments", "mixture_block"):
            _require_positive(name, getattr(self, name))

    @property
    def tokens_per_step(self) -> int:
        """Tokens in a step, including padding."""
        return self.seq_len * self.batch_size


@dataclass(frozen=True)
class LearningRateRule:
    """A rule for the peak learning rate from batch size and width; see `audio_train.optimization.schedules`.

    Attributes:
        rule: `"inverse_sqrt_width"`, `"sqrt_width"`, `"batch"` or `"isoflop"`.
        base: Learning rate at batch size 256 and width 1024 (for `"isoflop"`, the constant of the rule).
        width: Width to use in the rule instead of the model's; None for the model's.
    """

    rule: Literal["inverse_sqrt_width", "sqrt_width", "batch", "isoflop"]
    base: float
    width: int | None = None

    def __post_init__(self) -> None:
        _require_positive("learning_rate.base", self.base)
        if self.width is not None:
            _require_positive("learning_rate.width", self.width)


@dataclass(frozen=True)
class OptimizerSpec:
    """The update rule.

    Attributes:
        name: The rule; see `OptimizerName`.
        learning_rate: Peak learning rate, or a rule for it. With `muon`, that of the AdamW part.
        beta1: Decay of the first moment.
        beta2: Decay of the second moment.
        epsilon: Added to the root of the second moment and, in `cautious_adamc`, to the mean of the mask.
        weight_decay: Weight decay of matrices; embeddings and norms do not decay.
        max_grad_norm: Global gradient norm to which larger gradients are clipped.
        cautious_mean: Array over which the cautious mask is averaged: that of each layer (`"layer"`), or the array in
            which all layers are stacked (`"stacked"`, as Levanter does).
        muon_learning_rate_scale: Learning rate of the Muon part divided by that of the AdamW part.
        muon_momentum: Momentum of the Muon part.
    """

    name: OptimizerName
    learning_rate: float | LearningRateRule
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    cautious_mean: Literal["layer", "stacked"] = "layer"
    muon_learning_rate_scale: float = 10.0
    muon_momentum: float = 0.95

    def __post_init__(self) -> None:
        for name in ("beta1", "beta2", "muon_momentum"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"`{name}` must be in [0, 1), got {getattr(self, name)!r}.")
        for name in ("epsilon", "max_grad_norm", "muon_learning_rate_scale"):
            _require_positive(name, getattr(self, name))
        _require_not_negative("weight_decay", self.weight_decay)
        if not isinstance(self.learning_rate, LearningRateRule):
            _require_positive("learning_rate", self.learning_rate)


@dataclass(frozen=True)
class ScheduleSpec:
    """Warm-up, constant learning rate, and decay.

    A length above 1 is a number of steps; any other is a fraction of the run, truncated to whole steps. The steps of a
    run that is continued (`InitSpec.state`) count as steps of this one, so the schedule begins where they end.

    Attributes:
        shape: Shape of the decay.
        warmup: Length of the linear warm-up from 0.
        decay: Length of the decay at the end of the run; None for all steps after the warm-up.
        min_ratio: Final learning rate divided by the peak.
        on_overlap: What to do if warm-up and decay together are longer than the run: `"shorten_decay"` starts the decay
            at the end of the warm-up; `"skip_warmup"` starts the decay inside the warm-up, as Levanter does.
    """

    shape: Literal["linear", "cosine"] = "linear"
    warmup: float = 0.1
    decay: float | None = 0.2
    min_ratio: float = 0.0
    on_overlap: Literal["shorten_decay", "skip_warmup"] = "shorten_decay"

    def __post_init__(self) -> None:
        for name in ("warmup", "decay"):
            length = getattr(self, name)
            if length is not None and not 0 <= length < math.inf:
                raise InputError(
                    f"`{name}` must be a fraction of the run or a number of steps, at least 0, got {length!r}."
                )
        if not 0.0 <= self.min_ratio <= 1.0:
            raise InputError(f"`min_ratio` must be in [0, 1], got {self.min_ratio!r}.")


@dataclass(frozen=True)
class LossSpec:
    """The training loss.

    Attributes:
        kind: `"full"` is the softmax over the whole vocabulary; `"grammar"` the softmax over the ids that the token
            grammar allows at that position (one codebook, or text and specials).
        z_loss_weight: Weight of the squared log-partition term.
        kind_weights: Weight of a target by its token kind: a kind of the vocabulary (`"text"`, `"special"`,
            `"codebook_0"`, ...) or `"audio"` for all codebooks; 1 for kinds that are not named.
    """

    kind: Literal["full", "grammar"] = "full"
    z_loss_weight: float = 0.0
    kind_weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require_not_negative("z_loss_weight", self.z_loss_weight)
        for kind, weight in self.kind_weights.items():
            _require_not_negative(f"kind_weights.{kind}", weight)


@dataclass(frozen=True)
class InitSpec:
    """The source of a run's first weights.

    The path of a model folder or checkpoint is not part of the recipe; it is given at launch (`--start PATH`). `source`
    names what that path must hold.

    Attributes:
        kind: `"scratch"` draws the weights from the run's seed; `"model"` reads a Hugging Face folder (warm start,
            fine-tuning); `"checkpoint"` reads a checkpoint of another run, which may have other data, another optimizer
            and another schedule (annealing).
        audio_embedding_init: Embedding rows of audio ids: `"random"` as all other rows, or the centroids of the codec
            (`"codebooks"`), read from `DATA/vocabulary/codebooks.safetensors`. From scratch only.
        vocabulary_init: Initialisation of the embedding and output matrices; see `audio_model.initialize`. `"haliax"`
            is that of Levanter's models. From scratch only.
        source: Name of the weights: a model on the hub, or a run with its step, such as `exp1.1@190000` (without a
            step, its newest checkpoint). If it is an existing path, nothing has to be given at launch.
        revision: Commit of the published weights, if known.
        state: What to take from a checkpoint besides its weights: nothing (`"fresh"`: zero moments, step 0, first
            batch), or the whole training state (`"continue"`: moments, update count and step). A run that continues
            begins at the checkpoint's step of its own schedule and its own mixture. Its optimizer may be another with
            the same moments (`cautious_adamc` and `adamw`).
        rope_and_epsilon_of: Which rotary base, rotary scaling and norm epsilon to use. They change no shape, but they
            change what the weights compute. `"run"`: those of the run's `model`; `"weights"`: those the weights were
            trained with, which the run's `model` must state. None refuses weights for which the two differ.
    """

    kind: Literal["scratch", "model", "checkpoint"] = "scratch"
    audio_embedding_init: Literal["random", "codebooks"] = "random"
    vocabulary_init: Literal["unit_logits", "haliax"] = "unit_logits"
    source: str | None = None
    revision: str | None = None
    state: Literal["fresh", "continue"] = "fresh"
    rope_and_epsilon_of: Literal["run", "weights"] | None = None

    def __post_init__(self) -> None:
        if (self.kind == "scratch") != (self.source is None):
            raise InputError(
                f"`init.source` must name the weights if `init.kind` is not 'scratch', and must be null if it is; got "
                f"kind={self.kind!r} and source={self.source!r}."
            )
        if self.kind != "scratch" and (self.audio_embedding_init, self.vocabulary_init) != ("random", "unit_logits"):
            raise InputError(
                "`init.audio_embedding_init` and `init.vocabulary_init` apply only to `init.kind` 'scratch', got "
                f"{self.kind!r}."
            )
        if self.kind == "scratch" and self.rope_and_epsilon_of is not None:
            raise InputError(
                f"`init.rope_and_epsilon_of` does not apply to `init.kind` 'scratch', got {self.rope_and_epsilon_of!r}."
            )
        name, at, step = (self.source or "").rpartition("@")
        if self.kind == "checkpoint" and at and not (name and step.isdigit()):
            raise InputError(f"`init.source` of a checkpoint must be RUN or RUN@STEP, got {self.source!r}.")
        if self.state == "continue" and self.step is None:
            raise InputError(
                f"`init.state` 'continue' needs a checkpoint whose step `init.source` names, as RUN@STEP; got "
                f"kind={self.kind!r} and source={self.source!r}."
            )

    @property
    def step(self) -> int | None:
        """Step of the checkpoint, if `source` names it."""
        _, at, step = (self.source or "").rpartition("@")
        return int(step) if self.kind == "checkpoint" and at else None

    @property
    def first_step(self) -> int:
        """Step at which the run begins: 0, or that of the checkpoint that it continues."""
        return (self.step or 0) if self.state == "continue" else 0


@dataclass(frozen=True)
class EvaluationSpec:
    """Periodic loss on held-out rows.

    Attributes:
        corpora: Held-out datasets of the data folder; each has the same share of the rows.
        every_steps: Steps between evaluations; the last step is always evaluated.
        num_batches: Batches per evaluation, of the shape of the training batches; the same ones each time.
    """

    corpora: tuple[str, ...]
    every_steps: int
    num_batches: int

    def __post_init__(self) -> None:
        if not self.corpora:
            raise InputError("`evaluation.corpora` must name at least one dataset, got none.")
        for name in ("every_steps", "num_batches"):
            _require_positive(name, getattr(self, name))


@dataclass(frozen=True)
class Intervals:
    """How often a run saves, logs and evaluates. This does not change what the run computes.

    Attributes:
        checkpoint_steps: Steps between checkpoints; None to save by time only.
        checkpoint_seconds: Seconds between checkpoints; None to save by steps only. The last step is always saved.
        keep_last: Number of newest checkpoints to keep.
        keep_every_steps: Steps between checkpoints that are never deleted; None for none.
        export_every_steps: Steps between exports to `RUN/exports/STEP`; None for none. The last step is always
            exported, to `RUN/export`.
        log_steps: Steps between lines of metrics.
        evaluation: Held-out evaluation, or None.
        max_bad_steps: Consecutive skipped steps (non-finite loss or gradient) after which the run stops.
        spike_deviations: Standard deviations above the recent losses at which a loss is reported as a spike, with the
            records of its batch.
    """

    checkpoint_steps: int | None = None
    checkpoint_seconds: float | None = 600.0
    keep_last: int = 2
    keep_every_steps: int | None = None
    export_every_steps: int | None = None
    log_steps: int = 1
    evaluation: EvaluationSpec | None = None
    max_bad_steps: int = 8
    spike_deviations: float = 8.0

    def __post_init__(self) -> None:
        for field_ in fields(self):
            value = getattr(self, field_.name)
            if isinstance(value, int | float):
                _require_positive(field_.name, value)


@dataclass(frozen=True)
class LowRankSpec:
    """Training of low-rank adapters in place of the weights; see `audio_model.LowRank`.

    Attributes:
        rank: Rank of the adapters.
        alpha: The product of an adapter's factors is scaled by `alpha / rank`.
        targets: Adapted matrices of every block, of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj and down_proj.
        dora: Whether the norms of the adapted weights are trained apart from their directions (DoRA).
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    dora: bool = False

    def __post_init__(self) -> None:
        _require_positive("low_rank.rank", self.rank)
        _require_positive("low_rank.alpha", self.alpha)


@dataclass(frozen=True)
class TrainRun:
    """A training run: the value of a recipe.

    Attributes:
        name: Name of the run.
        model: Model, by the name of its size or by its shape.
        data: Mixture, row length, batch size and packing.
        optimizer: Update rule.
        schedule: Learning rate over the run.
        loss: Training loss.
        steps: Length in steps, without those of a run that is continued; exactly one of `steps` and `tokens` is given.
        tokens: Length in tokens, rounded up to whole steps.
        init: Source of the first weights.
        precision: Dtype of the forward and backward pass; parameters, moments and the loss are float32.
        remat: What the backward pass recomputes instead of storing; see `Qwen3xConfig.remat`. Not part of the
            fingerprint, because it does not change the result.
        seed: Seed of the weights and of the data order.
        intervals: How often to save, log and evaluate. Not part of the fingerprint.
        low_rank: Adapters that are trained in place of the weights, which stay as `init` gives them; None trains all
            weights, and is left out of the run's JSON and fingerprint.
    """

    name: str
    model: NamedModel | ModelShape
    data: DataSpec
    optimizer: OptimizerSpec
    schedule: ScheduleSpec = ScheduleSpec()
    loss: LossSpec = LossSpec()
    steps: int | None = None
    tokens: float | None = None
    init: InitSpec = InitSpec()
    precision: Literal["float32", "bfloat16"] = "float32"
    remat: Literal["none", "dots", "full", "offload"] = "dots"
    seed: int = 0
    intervals: Intervals = Intervals()
    low_rank: LowRankSpec | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.tokens is None):
            raise InputError(
                f"exactly one of `steps` and `tokens` must be given, got {self.steps!r} and {self.tokens!r}; "
                "set the other to null."
            )
        _require_positive("steps" if self.tokens is None else "tokens", self.steps or self.tokens or 0)

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON; a run without `low_rank` has the JSON that it had before the field was there."""
        value = to_json(self)
        return {name: value[name] for name in value if name != "low_rank" or value[name] is not None}
