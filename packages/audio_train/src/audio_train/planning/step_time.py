"""How long a step may take on TPUs that are not here, and the utilisation that comes to: an estimate, no measurement.

What the compiler says of one block is taken as it is, but for matrix products, which it counts at the peak, and for
attention, whose kernel it does not count. Both run at `PRODUCT_EFFICIENCY` here.
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
"""Share of the peak at which matrix products run."""

DIAGONAL_BLOCKS = 1 / 8
"""What blocks on the diagonal, half of which is masked, add to causal attention in rows of 4,096 tokens."""

CONVENTION = (
    "MFU is three forward passes of model FLOPs over the time at the bfloat16 peak; what is computed again is no FLOPs"
)


@dataclass(frozen=True)
class BlockCost:
    """One block, forward and backward with the run's rematerialisation, as compiled for one chip.

    Attributes:
        tokens: tokens that pass through it.
        flops: operations of its matrix products, those that are computed again included.
        seconds: the compiler's estimate of its time, products at the peak and without the attention kernel.
    """

    tokens: int
    flops: float
    seconds: float


@dataclass(frozen=True)
class StepTime:
    """Estimated seconds of one step on each device, by part.

    Attributes:
        blocks: all blocks but for attention, forward and backward.
        attention: scores and weighted values, forward and backward.
        head: output layer and loss.
        update: reading gradients, and reading and writing weights and moments.
        exchange: weights fetched and gradients summed, where weights are cut over `fsdp`; it goes on behind the rest.
        forward_seconds: what three forward passes of model FLOPs take at the peak, by how attention is counted.
    """

    blocks: float
    attention: float
    head: float
    update: float
    exchange: float
    forward_seconds: Mapping[str, float]

    @property
    def seconds(self) -> float:
        """Of the step: its parts one after another, or the exchange where that takes longer."""
        return max(self.blocks + self.attention + self.head + self.update, self.exchange)

    @property
    def mfu(self) -> dict[str, float]:
        """Model FLOPs utilisation, by how attention is counted."""
        return {name: at_peak / self.seconds for name, at_peak in self.forward_seconds.items()}

    def to_json(self) -> dict[str, Any]:
        """Every figure, and by what convention."""
        parts = {name: getattr(self, name) for name in ("blocks", "attention", "head", "update", "exchange")}
        return {"seconds": self.seconds, "seconds_by_part": parts, "mfu": self.mfu, "convention": CONVENTION}

    def line(self) -> str:
        """The figures for a reader."""
        shares = ", ".join(
            f"{name} {1e3 * getattr(self, name):.3g}" for name in ("blocks", "attention", "head", "update")
        )
        return (
            f"estimated MFU        {self.mfu['full_attention']:.1%} (full attention), "
            f"{self.mfu['causal_attention']:.1%} (causal): {1e3 * self.seconds:.4g} ms a step ({shares}), "
            f"behind it {1e3 * self.exchange:.3g} ms of exchange; {CONVENTION}"
        )


def step_time(
    resolved: ResolvedRun, mesh_config: MeshConfig, accelerator: Accelerator, block: BlockCost
) -> StepTime | None:
    """Estimate the time of a run's step.

    Each of `layers` blocks takes what the compiler says, with its products at `PRODUCT_EFFICIENCY` of the peak. So does
    attention: one pass forward, two and a half backward, one more where it is computed again. The head takes four
    products over the whole vocabulary, as its logits are computed again. The update moves ten float32 numbers a weight,
    the mean of the cautious mask being a pass of its own.

    Args:
        resolved: the run.
        mesh_config: with every axis given.
        accelerator: the devices, TPUs.
        block: what the compiler says of a block.

    Returns:
        The estimate; None for what it knows nothing of: heads and features cut over `tensor`, and the grammar loss.
    """
    if mesh_config.tensor > 1 or resolved.token_sets is not None:
        return None
    model, data = resolved.model, resolved.run.data
    devices = math.prod((mesh_config.replica, mesh_config.data or 1, mesh_config.fsdp))
    tokens = data.tokens_per_step / devices
    peak, products = accelerator.peak_flops, PRODUCT_EFFICIENCY * accelerator.peak_flops
    one_block = block.seconds - block.flops / peak + block.flops / products
    filled = min(1.0, model.head_dim / accelerator.matrix_unit)  # narrower heads leave the rest of the unit idle
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
    """Operations of a token's attention in one block, forward and backward, over the blocks a causal mask leaves."""
    passes = 3.5 if model.remat in ("none", "dots") else 4.5
    return passes * 4 * model.query_dim * (seq_len + 1) / 2 * (1 + DIAGONAL_BLOCKS)
