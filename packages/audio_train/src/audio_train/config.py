"""What a training run is, as a value: model, data, optimizer, schedule, loss, start point, cadence.

Everything here is a frozen dataclass of plain numbers and names. Building one does no I/O and touches no device, so a
recipe is a value that can be compared, printed and varied with `dataclasses.replace`. Nothing derived is stored: steps
from tokens, learning rate from batch and width and all else that follows is computed once, by `audio_train.resolved`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

from audio_data import InputError

OptimizerName = Literal["cautious_adamc", "adamw", "muon"]
"""`cautious_adamc`: cautious AdamW with AdamC decay. `adamw`: plain. `muon`: for layer matrices, AdamW elsewhere."""


def _require_positive(name: str, value: int | float) -> None:
    _require(name, "above 0", value, 0 < value < math.inf)


def _require_not_negative(name: str, value: int | float) -> None:
    _require(name, "a number of at least 0", value, 0 <= value < math.inf)


def _require(name: str, expected: str, value: int | float, holds: bool) -> None:
    """Refuse a number. Each condition is one that NaN, which compares as false, does not meet."""
    if not holds:
        raise InputError(f"`{name}` is {expected}, got {value!r}.")


def _check_function(model: "NamedModel | ModelShape") -> None:
    """Check the numbers that change no shape, so that nothing else would refuse them."""
    theta = model.rope_theta
    _require("model.rope_theta", "a number above 1", theta, 1 < theta < math.inf)
    _require_positive("model.rms_epsilon", model.rms_epsilon)
    _require_positive("model.max_seq_len", model.max_seq_len)


@dataclass(frozen=True)
class NamedModel:
    """A model by the name of its size; `audio-model describe` lists them.

    Attributes:
        size: a name that `audio_model.named_size` knows.
        tied: whether the output matrix is the embedding matrix.
        max_seq_len: longest sequence, in tokens, the exported model declares.
        rope_theta: base of the rotary frequencies; weights that others trained bring theirs.
        rope_scaling: `"llama3"` stretches long wavelengths as Llama-3 does, `"none"` leaves them.
        rms_epsilon: added to the mean square in every norm.
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
        embed: width of the residual stream.
        mlp: width of the SwiGLU hidden layer.
        layers: number of decoder layers.
        heads: number of query heads.
        kv_heads: number of key and value heads; divides `heads`.
        head_dim: width of one head; even.
        tied: whether the output matrix is the embedding matrix.
        rope_theta: base of the rotary frequencies.
        rope_scaling: `"llama3"` stretches long wavelengths as Llama-3 does, `"none"` leaves them.
        max_seq_len: longest sequence, in tokens, the exported model declares.
        rms_epsilon: added to the mean square in every norm.
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
"""Stands for the datasets of the data folder in `MixtureStage.weights`."""


@dataclass(frozen=True)
class MixtureStage:
    """Mixture weights from a point of the run on.

    Attributes:
        start_fraction: where the stage begins, as a fraction in [0, 1) of the run's steps, those of a run that it
            continues included.
        weights: weight of each dataset among the rows, of any sum. `ALL_DATASETS` in place of a name stands for every
            dataset of the data folder whose name does not begin with `heldout`, weighted by its tokens.
    """

    start_fraction: float
    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        if not 0.0 <= self.start_fraction < 1.0:
            raise InputError(f"`start_fraction` is a fraction of the run in [0, 1), got {self.start_fraction!r}.")
        if ALL_DATASETS in self.weights and len(self.weights) > 1:
            raise InputError(
                f"`weights` must name datasets or be {ALL_DATASETS!r} alone, got {', '.join(map(repr, self.weights))}; "
                "name every dataset"
            )


@dataclass(frozen=True)
class DataSpec:
    """Which windows a step reads.

    Attributes:
        mixture: the stages of the run in order; the first starts at fraction 0.
        seq_len: tokens in a row.
        batch_size: rows in a step, over all devices.
        packing: `"windows"` cuts the concatenated stream of a corpus into rows; `"best_fit"` packs
            whole documents into rows and pads the rest; `"next_fit"` packs them in stored order and keeps the first row
            of a longer one.
        positions: whether positions run on through a row (`"continue"`) or restart with each document.
        max_segments: most documents in one packed row.
        block: rows over which the mixture's shares are exact.
        permutation: `"epoch"` reads a corpus in a new order each time, `"fixed"` in the same one.
        remainder: who gets the rows of a block that are left once each corpus has the whole part of its share: those
            with the `"largest_fraction"` of a row one each, or the `"largest_corpus"` all of them, as Levanter does.
    """

    mixture: tuple[MixtureStage, ...]
    seq_len: int
    batch_size: int
    packing: Literal["windows", "best_fit", "next_fit"] = "windows"
    positions: Literal["continue", "reset"] = "continue"
    max_segments: int = 64
    block: int = 2048
    permutation: Literal["epoch", "fixed"] = "epoch"
    remainder: Literal["largest_fraction", "largest_corpus"] = "largest_fraction"

    def __post_init__(self) -> None:
        starts = [stage.start_fraction for stage in self.mixture]
        if not starts or starts[0] != 0.0 or starts != sorted(set(starts)):
            raise InputError(f"`mixture` stages start at fraction 0 and then increase, got {starts!r}.")
        for name in ("seq_len", "batch_size", "max_segments", "block"):
            _require_positive(name, getattr(self, name))

    @property
    def tokens_per_step(self) -> int:
        """Tokens in a step, padding included."""
        return self.seq_len * self.batch_size


@dataclass(frozen=True)
class LearningRateRule:
    """A peak learning rate that follows from batch size and width; see `audio_train.optimization.scaling`.

    Attributes:
        rule: `"wider_smaller"`, `"wider_larger"`, `"batch"` or `"isoflop"`.
        base: learning rate at batch 256 and width 1024 (for `"isoflop"`, the constant of the rule).
        width: width put into the rule where it is not the model's own; None for the model's.
    """

    rule: Literal["wider_smaller", "wider_larger", "batch", "isoflop"]
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
        name: which rule; see `OptimizerName`.
        learning_rate: peak learning rate, or the rule it follows from. With `muon`, that of the AdamW part.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        epsilon: added to the root of the second moment and, in `cautious_adamc`, to the mean of the mask.
        weight_decay: coefficient of the decay of matrices; embeddings and norms do not decay.
        max_grad_norm: global gradient norm above which gradients are scaled down to it.
        cautious_mean: over what the cautious mask is averaged: each layer's own array (`"layer"`, what new recipes take
            where they say nothing) or the array in which all layers are stacked (`"stacked"`, as Levanter does).
        muon_learning_rate_scale: learning rate of the Muon part over that of the AdamW part.
        muon_momentum: momentum of the Muon part.
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
                raise InputError(f"`{name}` is in [0, 1), got {getattr(self, name)!r}.")
        for name in ("epsilon", "max_grad_norm", "muon_learning_rate_scale"):
            _require_positive(name, getattr(self, name))
        _require_not_negative("weight_decay", self.weight_decay)
        if not isinstance(self.learning_rate, LearningRateRule):
            _require_positive("learning_rate", self.learning_rate)


@dataclass(frozen=True)
class ScheduleSpec:
    """Warm-up, a constant stretch, and a decay.

    Lengths are steps where they exceed 1 and otherwise fractions of the run, truncated to whole steps. The steps of a
    run that is continued (`StartSpec.state`) count as the run's: its schedule is entered where they end.

    Attributes:
        shape: shape of the decay.
        warmup: length of the linear warm-up from 0.
        decay: length of the decay at the end of the run; None for everything after the warm-up.
        min_ratio: learning rate at the end over the peak.
        overlap: what happens where warm-up and decay together exceed the run: `"shorten_decay"` (corrected) lets the
            decay begin when the warm-up ends; `"skip_warmup"` lets the decay win, as Levanter does.
    """

    shape: Literal["linear", "cosine"] = "linear"
    warmup: float = 0.1
    decay: float | None = 0.2
    min_ratio: float = 0.0
    overlap: Literal["shorten_decay", "skip_warmup"] = "shorten_decay"

    def __post_init__(self) -> None:
        for name in ("warmup", "decay"):
            length = getattr(self, name)
            if length is not None and not 0 <= length < math.inf:
                raise InputError(f"`{name}` is a fraction of the run or a number of steps, at least 0, got {length!r}.")
        if not 0.0 <= self.min_ratio <= 1.0:
            raise InputError(f"`min_ratio` is in [0, 1], got {self.min_ratio!r}.")


@dataclass(frozen=True)
class LossSpec:
    """What is minimised.

    Attributes:
        kind: `"full"` is the softmax over the whole vocabulary; `"grammar"` the softmax over the ids that the stream's
            grammar allows at that position (one codebook, or text and specials).
        z_loss_weight: weight of the squared log-partition term.
        kind_weights: weight of a target by its token kind: a kind of the vocabulary (`"text"`, `"special"`,
            `"codebook_0"`, ...) or `"audio"` for all codebooks; kinds not named weigh 1.
    """

    kind: Literal["full", "grammar"] = "full"
    z_loss_weight: float = 0.0
    kind_weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require_not_negative("z_loss_weight", self.z_loss_weight)
        for kind, weight in self.kind_weights.items():
            _require_not_negative(f"kind_weights.{kind}", weight)


@dataclass(frozen=True)
class StartSpec:
    """Where the weights come from.

    The place of a model folder or checkpoint is no part of the experiment and is given at launch (`--start PATH`);
    `source` says what has to lie there.

    Attributes:
        kind: `"scratch"` draws them from the run's seed; `"model"` reads a Hugging Face folder (warm start,
            fine-tuning); `"checkpoint"` reads a checkpoint of another run, whose data, update rule and schedule need
            not be this one's (annealing).
        audio_rows: how embedding rows of audio ids begin: `"random"` as all others, or from the codec's own
            `"codebooks"`, read from `DATA/vocabulary/codebooks.safetensors`. Only from scratch.
        initialization: how the vocabulary matrices begin; see `audio_model.initialize`. `"haliax"` is that of
            Levanter's models, `"unit_logits"` what new recipes take where they say nothing. Only from scratch.
        source: what the weights are called: a model's name on the hub, or a run's with the steps taken, such as
            `exp1.1@190000` (without them, its newest checkpoint). Where it is a path that exists, nothing need be
            given at launch.
        revision: commit of the published weights, where it is known.
        state: what else is taken from a checkpoint: nothing (`"fresh"`: zero moments, step 0, the first batch), or
            the whole training state (`"continue"`: moments, update count and step). A run that continues goes on at
            the checkpoint's step of its own schedule and at that batch of its own mixture. Its
            update rule may be another with the same moments (`cautious_adamc` and `adamw`).
        function: whose rotary base, rotary scaling and norm epsilon hold, which change no shape and yet what weights
            compute. `"run"`: those of the run's `model`, whatever the weights were trained with;
            `"weights"`: those of the weights, which the run's `model` has to state. Where nothing is said (None) and
            the two differ, the start is refused.
    """

    kind: Literal["scratch", "model", "checkpoint"] = "scratch"
    audio_rows: Literal["random", "codebooks"] = "random"
    initialization: Literal["unit_logits", "haliax"] = "unit_logits"
    source: str | None = None
    revision: str | None = None
    state: Literal["fresh", "continue"] = "fresh"
    function: Literal["run", "weights"] | None = None

    def __post_init__(self) -> None:
        if (self.kind == "scratch") != (self.source is None):
            raise InputError(
                f"`start.source` names the weights of a start that is not from scratch, got kind={self.kind!r} and "
                f"source={self.source!r}."
            )
        if self.kind != "scratch" and (self.audio_rows, self.initialization) != ("random", "unit_logits"):
            raise InputError(
                f"`start.audio_rows` and `start.initialization` are of a start from scratch, got {self.kind!r}."
            )
        if self.kind == "scratch" and self.function is not None:
            raise InputError(f"`start.function` is of a start with weights, got {self.function!r} from scratch.")
        name, at, step = (self.source or "").rpartition("@")
        if self.kind == "checkpoint" and at and not (name and step.isdigit()):
            raise InputError(f"`start.source` of a checkpoint is RUN or RUN@STEP, got {self.source!r}.")
        if self.state == "continue" and self.step is None:
            raise InputError(
                f"`start.state` 'continue' goes on from a checkpoint whose step `start.source` names, as RUN@STEP, got "
                f"kind={self.kind!r} and source={self.source!r}."
            )

    @property
    def step(self) -> int | None:
        """Steps that the checkpoint has taken, where `source` says."""
        _, at, step = (self.source or "").rpartition("@")
        return int(step) if self.kind == "checkpoint" and at else None

    @property
    def first_step(self) -> int:
        """Steps that count as taken before the run's first: those of the run that it continues."""
        return (self.step or 0) if self.state == "continue" else 0


@dataclass(frozen=True)
class Evaluation:
    """Periodic loss on held-out rows.

    Attributes:
        corpora: held-out corpora under the data root; they take equal shares.
        every_steps: steps between evaluations; the last step is always evaluated.
        num_batches: batches of the run's own shape per evaluation, the same ones each time.
    """

    corpora: tuple[str, ...]
    every_steps: int
    num_batches: int

    def __post_init__(self) -> None:
        if not self.corpora:
            raise InputError("`evaluation.corpora` names at least one corpus, got none.")
        for name in ("every_steps", "num_batches"):
            _require_positive(name, getattr(self, name))


@dataclass(frozen=True)
class Cadence:
    """When a run saves, logs and evaluates. It does not change what the run computes.

    Attributes:
        checkpoint_steps: steps between checkpoints; None for none by steps.
        checkpoint_seconds: seconds between checkpoints; None for none by time. The last step is always saved.
        keep_last: newest checkpoints kept.
        keep_every_steps: checkpoints of these steps are kept for good, and made where none is due; None for none.
        export_every_steps: steps between exports to `RUN/exports/STEP`; None for none. The last step is always
            exported, to `RUN/export`.
        log_steps: steps between lines of metrics.
        evaluation: held-out evaluation, or None.
        max_bad_steps: consecutive steps with a non-finite loss or gradient, each skipped, after which the run stops.
        spike_deviations: a loss so many deviations above the losses before it is reported with the batch's records.
    """

    checkpoint_steps: int | None = None
    checkpoint_seconds: float | None = 600.0
    keep_last: int = 2
    keep_every_steps: int | None = None
    export_every_steps: int | None = None
    log_steps: int = 1
    evaluation: Evaluation | None = None
    max_bad_steps: int = 8
    spike_deviations: float = 8.0

    def __post_init__(self) -> None:
        for field_ in fields(self):
            value = getattr(self, field_.name)
            if isinstance(value, int | float):
                _require_positive(field_.name, value)


@dataclass(frozen=True)
class TrainRun:
    """One training run, complete: the value a recipe holds.

    Attributes:
        name: the run's name.
        model: by name or by shape.
        data: mixture, row length, batch and packing.
        optimizer: update rule.
        schedule: learning rate over the run.
        loss: what is minimised.
        steps: length in steps, without those of a run that it continues; exactly one of `steps` and `tokens` is given.
        tokens: length in tokens, rounded up to whole steps.
        start: where the weights come from.
        precision: dtype of the forward and backward pass; parameters, moments and the loss are float32.
        remat: what the backward pass computes again instead of keeping it; see `Qwen3xConfig.remat`. It does not
            change what is computed and is no part of the run's identity.
        seed: drives initialisation and the order of the data.
        cadence: when to save, log and evaluate; no part of the run's identity.
    """

    name: str
    model: NamedModel | ModelShape
    data: DataSpec
    optimizer: OptimizerSpec
    schedule: ScheduleSpec = ScheduleSpec()
    loss: LossSpec = LossSpec()
    steps: int | None = None
    tokens: float | None = None
    start: StartSpec = StartSpec()
    precision: Literal["float32", "bfloat16"] = "float32"
    remat: Literal["none", "dots", "full", "offload"] = "dots"
    seed: int = 0
    cadence: Cadence = Cadence()

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.tokens is None):
            raise InputError(
                f"exactly one of `steps` and `tokens` is given, got steps={self.steps!r} and tokens={self.tokens!r}; "
                "set the other to null."
            )
        _require_positive("steps" if self.tokens is None else "tokens", self.steps or self.tokens or 0)
