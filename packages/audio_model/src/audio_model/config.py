"""The shape of a Qwen3x decoder: every named size, exact parameter counts, floating-point operations."""

import dataclasses
import difflib
import math
from typing import Literal, get_args

from audio_model.errors import InputError

Remat = Literal["none", "dots", "full", "offload"]

_LARGEST_ID = 2**31 - 1
_LARGEST_FLOAT = float(2**127)
_SMALLEST_FLOAT = 2.0**-126

LIMITS = {
    "vocab_size": _LARGEST_ID,
    "embed": 2**18,
    "mlp": 2**20,
    "layers": 4096,
    "heads": 2**12,
    "kv_heads": 2**12,
    "head_dim": 2**12,
    "max_seq_len": _LARGEST_ID,
}
"""Largest value of each count of a `Qwen3xConfig`: far above any model, and refused before anything is allocated."""


@dataclasses.dataclass(frozen=True)
class RopeScaling:
    """Llama-3's stretching of rotary wavelengths.

    Wavelengths longer than `original_max_position / low_frequency_factor` tokens are stretched by
    `factor`, those shorter than `original_max_position / high_frequency_factor` are kept, and those
    between are interpolated.

    Attributes:
        factor: Stretch of the long wavelengths, above 0.
        low_frequency_factor: Sets the wavelength above which all are stretched.
        high_frequency_factor: Sets the wavelength below which none is; above `low_frequency_factor`.
        original_max_position: Context length, in tokens, of the model being stretched.

    Source: Llama 3.1 (`rope_type: llama3` of Hugging Face transformers).
    """

    factor: float = 8.0
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    original_max_position: int = 8192

    def __post_init__(self) -> None:
        if not (0 < self.factor <= _LARGEST_FLOAT and 0 < self.original_max_position <= _LARGEST_ID):
            raise InputError(
                "`factor` and `original_max_position` of the rope scaling must be above 0 and finite, "
                f"got {self.factor!r:.40} and {self.original_max_position!r:.40}"
            )
        if not 0 < self.low_frequency_factor < self.high_frequency_factor <= _LARGEST_FLOAT:
            raise InputError(
                "`low_frequency_factor` must lie above 0 and below `high_frequency_factor`, and both be finite, "
                f"got {self.low_frequency_factor!r:.40} and {self.high_frequency_factor!r:.40}"
            )


@dataclasses.dataclass(frozen=True)
class RopeConfig:
    """Rotary position embedding.

    Attributes:
        theta: Base of the geometric series of wavelengths, above 1.
        scaling: Llama-3 stretching, or None for plain rotary embedding.
    """

    theta: float = 500_000.0
    scaling: RopeScaling | None = RopeScaling()

    def __post_init__(self) -> None:
        if not 1 < self.theta <= _LARGEST_FLOAT:
            raise InputError(f"`theta` of the rotary embedding must be above 1 and finite, got {self.theta!r:.40}")


@dataclasses.dataclass(frozen=True)
class Qwen3xConfig:
    """Everything that fixes the shapes and the function of a decoder; hashable, so it is a static argument.

    Attributes:
        vocab_size: Rows of the embedding (and of the head), in tokens.
        embed: Width of the residual stream.
        mlp: Width of the gated feed-forward layer.
        layers: Number of decoder blocks.
        heads: Query heads.
        kv_heads: Key and value heads; divides `heads`.
        head_dim: Width of one head, even; need not be `embed / heads`.
        tied: Whether the head is the embedding.
        rope: Rotary position embedding.
        rms_epsilon: Added to the mean square inside every RMSNorm.
        max_seq_len: Longest context in tokens, for generation and for exported configurations.
        remat: What the backward pass recomputes in each block. "dots" keeps the results of matrix products
            and of attention and recomputes norms, rotations and activations, which is also the fastest on a
            CPU (15 % faster than "none"); "none" keeps everything; "full" keeps only the block's input;
            "offload" as "full", with the inputs waiting in the host's memory.
    """

    vocab_size: int
    embed: int
    mlp: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    tied: bool = False
    rope: RopeConfig = RopeConfig()
    rms_epsilon: float = 1e-5
    max_seq_len: int = 4096
    remat: Remat = "dots"

    def __post_init__(self) -> None:
        for name, largest in LIMITS.items():
            value = getattr(self, name)
            if value < 1:
                raise InputError(f"`{name}` must be at least 1, got {value!r:.40}")
            if value > largest:
                raise InputError(f"`{name}` must be at most {largest:,}, got {value!r:.40}")
        if self.heads % self.kv_heads:
            raise InputError(
                f"`kv_heads` must divide `heads` = {self.heads} so that every key head serves as many query heads, "
                f"got {self.kv_heads!r}"
            )
        if self.head_dim % 2:
            raise InputError(f"`head_dim` must be even, as rotary embedding turns pairs, got {self.head_dim!r}")
        if not _SMALLEST_FLOAT <= self.rms_epsilon < 1:
            raise InputError(
                f"`rms_epsilon` must be a float32 number above 0 and below 1, got {self.rms_epsilon!r:.40}"
            )
        if self.remat not in get_args(Remat):
            raise InputError(f"`remat` must be one of {', '.join(get_args(Remat))}, got {self.remat!r}")

    @property
    def query_dim(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def kv_dim(self) -> int:
        """Width of all key (or value) heads together."""
        return self.kv_heads * self.head_dim

    @property
    def layer_parameters(self) -> int:
        """Parameters of one block, its four norms included."""
        attention = self.embed * (2 * self.query_dim + 2 * self.kv_dim)
        norms = 2 * self.embed + 2 * self.head_dim
        return attention + 3 * self.embed * self.mlp + norms

    @property
    def embedding_parameters(self) -> int:
        """Parameters of one vocabulary matrix."""
        return self.vocab_size * self.embed

    @property
    def body_parameters(self) -> int:
        """Parameters outside the vocabulary matrices: all blocks and the final norm."""
        return self.layers * self.layer_parameters + self.embed

    @property
    def num_parameters(self) -> int:
        """All parameters; a tied head is counted once."""
        return self.body_parameters + self.embedding_parameters * (1 if self.tied else 2)

    def forward_flops_per_token(self, seq_len: int) -> float:
        """Floating-point operations of one forward pass, per token, counting full attention.

        The convention of the isoFLOP budgets: a multiply-add is two operations, every query meets all
        `seq_len` keys (no causal halving), the softmax costs three operations a score, the embedding
        look-up none, norms and activations none. Three times this is a training step.

        Args:
            seq_len: Tokens of a row.

        Returns:
            Operations per token.

        Source: `lm_flops_per_token` of Levanter (`utils/flop_utils.py`). Changed: it counts the heads as
        they are, where Levanter takes them for `embed / heads` wide. The two agree wherever
        `heads * head_dim == embed`; for the 4B model over 500 billion tokens, whose heads are 128 wide,
        three times this is 1.57e22, and Levanter's count, that of heads 80 wide, is 1.32e22.
        """
        return self._forward_flops_per_token(seq_len, keys_per_query=float(seq_len))

    def causal_forward_flops_per_token(self, seq_len: int) -> float:
        """As `forward_flops_per_token`, counting only the keys a causal query sees: half of them.

        The convention behind the utilisation figures of this project. The mean over a row is exactly
        `(seq_len + 1) / 2` keys a query.

        Args:
            seq_len: Tokens of a row.

        Returns:
            Operations per token.
        """
        return self._forward_flops_per_token(seq_len, keys_per_query=(seq_len + 1) / 2)

    def _forward_flops_per_token(self, seq_len: int, keys_per_query: float) -> float:
        if seq_len < 1:
            raise InputError(f"`seq_len` must be at least 1 token, got {seq_len!r}")
        projections = 2 * self.embed * (2 * self.query_dim + 2 * self.kv_dim)
        attention = keys_per_query * (4 * self.query_dim + 3 * self.heads)
        feed_forward = 6 * self.embed * self.mlp
        return self.layers * (projections + attention + feed_forward) + 2 * self.embedding_parameters


@dataclasses.dataclass(frozen=True)
class Size:
    """The shape of a named model without its vocabulary.

    Attributes:
        embed: Width of the residual stream.
        mlp: Width of the gated feed-forward layer.
        layers: Number of decoder blocks.
        heads: Query heads.
        kv_heads: Key and value heads.
        head_dim: Width of one head.
    """

    embed: int
    mlp: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int


SIZES: dict[str, Size] = {
    "30m": Size(192, 448, 8, 2, 2, 96),
    "50m": Size(256, 896, 12, 4, 4, 64),
    "75m": Size(336, 1024, 16, 4, 4, 84),
    "135m": Size(512, 1792, 15, 8, 8, 64),
    "150m": Size(512, 1792, 20, 8, 8, 64),
    "300m": Size(768, 2688, 22, 12, 12, 64),
    "0.6b-hd64": Size(1024, 3072, 28, 16, 8, 64),
    "0.6b": Size(1024, 3072, 28, 16, 8, 128),
    "1.7b": Size(2048, 6144, 28, 16, 8, 128),
    "4b-hd80": Size(2560, 9728, 36, 32, 8, 80),
    "4b": Size(2560, 9728, 36, 32, 8, 128),
}
"""Named sizes, as SODA (arXiv 2602.16687) trained them. A suffix tells a variant's head width."""

_OTHER_NAMES = {"600m": "0.6b"}
"""What the papers call a size that has another name in `SIZES`."""


def named_size(size: str) -> Size:
    """Return the shape of a named size.

    Args:
        size: A key of `SIZES` or a name of the papers, such as "600m", in any case.

    Returns:
        The shape.

    Raises:
        InputError: If there is no such size.
    """
    name = size.lower()
    shape = SIZES.get(_OTHER_NAMES.get(name, name))
    if shape is None:
        near = difflib.get_close_matches(name, (*SIZES, *_OTHER_NAMES), n=3, cutoff=0.3)
        nearest = f"; nearest: {', '.join(near)}" if near else ""
        raise InputError(f"`size` must be one of {', '.join((*SIZES, *_OTHER_NAMES))}, got {size!r}{nearest}")
    return shape


def named_config(size: str, vocab_size: int, *, tied: bool = False) -> Qwen3xConfig:
    """Return the configuration of a named size.

    Args:
        size: A key of `SIZES` or a name of the papers, in any case, such as "135m".
        vocab_size: Number of token ids.
        tied: Whether embedding and head are one matrix.

    Returns:
        The configuration, with Llama-3's rotary embedding, epsilon 1e-5 and a context of 4,096 tokens.

    Raises:
        InputError: If there is no such size.
    """
    return Qwen3xConfig(vocab_size=vocab_size, tied=tied, **dataclasses.asdict(named_size(size)))


def grid_config(embed: int, vocab_size: int) -> Qwen3xConfig:
    """Return the configuration of a width in the isoFLOP grid: depth and heads follow from it.

    Args:
        embed: Width of the residual stream, a multiple of 128.
        vocab_size: Number of token ids.

    Returns:
        An untied configuration with `mlp = 4 * embed` and one head for each 128 of width.

    Raises:
        InputError: If `embed` is not a positive multiple of 128.

    Source: `isoflop_audio_sweep.py` of Marin's audio experiments.
    """
    if embed < 128 or embed % 128:
        raise InputError(f"`embed` must be a positive multiple of 128, got {embed!r}")
    heads = embed // 128
    return Qwen3xConfig(
        vocab_size=vocab_size,
        embed=embed,
        mlp=4 * embed,
        layers=round(embed / (64 + 4 * math.log2(embed) - 7)),
        heads=heads,
        kv_heads=heads,
        head_dim=embed // heads,
    )
