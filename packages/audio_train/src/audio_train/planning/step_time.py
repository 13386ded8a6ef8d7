"""Estimate the time of a step on TPU, and its MFU, from the compiled cost of one block.

The compiler's estimate for a block counts matrix products at peak speed and does not count the attention kernel. Both
are set to `PRODUCT_EFFICIENCY` of the peak here. This is an estimate, not a measurement.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audio_model import Qwen3xConfig
from audio_train.hardware import Accelerator
from audio_train.resolved import ResolvedRun
from audio_train.sharding.collectives import fsdp_bytes
from audio_train.sharding.mesh import MeshConfig

PRODUCT_EFFICIENCY = 0.8
"""Assumed efficiency of matrix products, as a share of the peak."""

DIAGONAL_BLOCKS = 1 / 8
"""Extra cost of causal attention in rows of 4,096 tokens, because half of each diagonal block is masked."""

CONVENTION = (
    "MFU is the time of three forward passes of model FLOPs at the bfloat16 peak over the step time; recomputation "
    "does not count"
)


@dataclass(frozen=True)
class BlockCost:
    """Compiled cost of one block on one chip: forward and backward, with the run's rematerialisation.

    Attributes:
        tokens: Tokens in the block's input.
        flops: FLOPs of its matrix products, including recomputation.
        seconds: The compiler's estimate of the time, with products at the peak and without the attention kernel.
    """

    tokens: int
    flops: float
    seconds: float


@dataclass(frozen=True)
class StepTime:
    """Estimated seconds of one step on each device, by part.

    Attributes:
        blocks: All blocks without attention, forward and backward.
        attention: Scores and weighted values, forward and backward.
        head: Output layer and loss.
        update: Memory traffic of the optimizer: gradients, weights and moments.
        exchange: All-gather of weights and reduce-scatter of gradients over `fsdp`; it overlaps with computation.
        forward_seconds: Time of three forward passes of model FLOPs at the peak, by how attention is counted.
    """

    blocks: float
    attention: float
    head: float
    update: float
    exchange: float
    forward_seconds: Mapping[str, float]

    @property
    def seconds(self) -> float:
        """Time of the step: the sum of its parts, or the exchange if that takes longer."""
        return max(self.blocks + self.attention + self.head + self.update, self.exchange)

    @property
    def mfu(self) -> dict[str, float]:
        """Model FLOPs utilisation, by how attention is counted."""
        return {name: at_peak / self.seconds for name, at_peak in self.forward_seconds.items()}

    def to_json(self) -> dict[str, Any]:
        """Every figure, and the convention."""
        parts = {name: getattr(self, name) for name in ("blocks", "attention", "head", "update", "exchange")}
        return {"seconds": self.seconds, "seconds_by_part": parts, "mfu": self.mfu, "convention": CONVENTION}

    def line(self) -> str:
        """Return the figures as a line of text."""
        shares = ", ".join(
            f"{name} {1e3 * getattr(self, name):.3g}" for name in ("blocks", "attention", "head", "update")
        )
        return (
            f"estimated MFU        {self.mfu['full_attention']:.1%} (full attention), "
            f"{self.mfu['causal_attention']:.1%} (causal): {1e3 * self.seconds:.4g} ms a step ({shares}), "
            f"with {1e3 * self.exchange:.3g} ms of overlapping communication; {CONVENTION}"
        )


def step_time(
    resolved: ResolvedRun, mesh_config: MeshConfig, accelerator: Accelerator, block: BlockCost
) -> StepTime | None:
    """Estimate the time of a run's step.

    Each block takes the compiler's time, with its products at `PRODUCT_EFFICIENCY` of the peak. Attention counts one
    forward pass, 2.5 for the backward pass, and one more if it is recomputed, at the same efficiency. The head is four
    products over the whole vocabulary, because its logits are recomputed. The update moves ten float32 numbers per
    weight, because the mean of the cautious mask is a separate pass.

    Args:
        resolved: The run.
        mesh_config: Devices along every axis.
        accelerator: Kind of the devices, a TPU.
        block: Compiled cost of a block.

    Returns:
        The estimate; None for the `tensor` axis and the grammar loss, which it does not model.
    """
    if mesh_config.tensor > 1 or resolved.token_sets is not None:
        return None
    model, data = resolved.model, resolved.run.data
    devices = math.prod((mesh_config.replica, mesh_config.data or 1, mesh_config.fsdp))
    tokens = data.tokens_per_step / devices
    peak, products = accelerator.peak_flops, PRODUCT_EFFICIENCY * accelerator.peak_flops
    one_block = block.seconds - block.flops / peak + block.flops / products
    filled = min(1.0, model.head_dim / accelerator.matrix_unit)  # narrower heads leave part of the unit idle
    held = model.num_parameters / mesh_config.fsdp
    forward = {
        "full_attention": model.forward_flops_per_token(data.seq_len),
        "causal_attention": model.causal_forward_flops_per_token(data.seq_len),
    }
    return StepTime(
        blocks=model.layers * one_block * tokens / block.tokens,
        attention=model.layers * tokens * _attention_flops(model, data.seq_len) / (products * filled),
        head=tokens * 4 * 2 * model.embedding_parameters / products,
        update=10 * 4 * held / accelerator.memory_bandwidth,
        exchange=fsdp_bytes(model, 2, mesh_config.fsdp) * mesh_config.microbatches / accelerator.exchange_bandwidth,
        forward_seconds={name: 3 * flops * tokens / peak for name, flops in forward.items()},
    )


def _attention_flops(model: Qwen3xConfig, seq_len: int) -> float:
    """FLOPs per token of attention in one block, forward and backward, with a causal mask."""
    passes = 3.5 if model.remat in ("none", "dots") else 4.5
    return passes * 4 * model.query_dim * (seq_len + 1) / 2 * (1 + DIAGONAL_BLOCKS)
