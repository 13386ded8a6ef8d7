"""Linear layer and softmax cross-entropy in one operation."""

from functools import partial
from typing import Literal

from jaxtyping import Array, Float, Float32, Int

from audio_model.errors import InputError
from audio_model.kernels import tiled_softmax
from audio_model.kernels.dispatch import dispatch, on_one_tpu_core
from audio_model.kernels.linear_cross_entropy.pallas_tpu import pallas_tpu_linear_cross_entropy
from audio_model.kernels.linear_cross_entropy.reference import reference_linear_cross_entropy
from audio_model.kernels.linear_cross_entropy.xla import xla_linear_cross_entropy

Implementation = Literal["reference", "xla", "pallas_tpu"]


def linear_cross_entropy(
    hidden: Float[Array, "tokens embed"],
    head: Float[Array, "vocab embed"],
    targets: Int[Array, " tokens"],
    *,
    implementation: Implementation | None = None,
    block_rows: int = 1024,
    block_columns: int | None = None,
) -> tuple[Float32[Array, " tokens"], Float32[Array, " tokens"]]:
    """Cross-entropy of every token over the whole vocabulary, without holding all logits.

    Both results are differentiable, so that z-loss is `loss + weight * logsumexp ** 2`, and they come
    per token, so that callers mask, weigh and split them by kind.

    Args:
        hidden: Hidden states; products take operands of their dtype.
        head: Output rows; cast to `hidden`'s dtype.
        targets: Expected ids in [0, vocab).
        implementation: Which one to run; None takes "pallas_tpu" where the operands lie on one TPU core
            (on several, inside `shard_map`), and "xla" elsewhere.
        block_rows: Most tokens of a tile of logits ("xla").
        block_columns: Most ids of a tile of logits ("xla"); None for what runs fast here.

    Returns:
        Loss and logsumexp of every token in float32.

    Raises:
        InputError: If `implementation` is unknown or cannot run here, or a block size is below 1.
    """
    block_columns = tiled_softmax.default_columns() if block_columns is None else block_columns
    if block_rows < 1 or block_columns < 1:
        raise InputError(f"`block_rows` and `block_columns` must be at least 1, got {block_rows!r}, {block_columns!r}")
    xla = partial(xla_linear_cross_entropy, block_rows=block_rows, block_columns=min(block_columns, head.shape[0]))
    implementations = {
        "reference": reference_linear_cross_entropy,
        "xla": xla,
        "pallas_tpu": pallas_tpu_linear_cross_entropy,
    }
    default = "pallas_tpu" if on_one_tpu_core() else "xla"
    return dispatch("linear_cross_entropy", implementations, implementation, default)(hidden, head, targets)
