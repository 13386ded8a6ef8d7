"""Linear layer and softmax cross-entropy in one: the door."""

from typing import Literal

from jaxtyping import Array, Float, Float32, Int

from audio_model.errors import InputError
from audio_model.kernels.linear_cross_entropy.reference import reference_linear_cross_entropy
from audio_model.kernels.linear_cross_entropy.xla import xla_linear_cross_entropy


def linear_cross_entropy(
    hidden: Float[Array, "tokens embed"],
    head: Float[Array, "vocab embed"],
    targets: Int[Array, " tokens"],
    *,
    implementation: Literal["reference", "xla"] | None = None,
    block_rows: int = 512,
    block_columns: int = 2048,
) -> tuple[Float32[Array, " tokens"], Float32[Array, " tokens"]]:
    """Cross-entropy of every token over the whole vocabulary, without holding all logits.

    Both results are differentiable, so that z-loss is `loss + weight * logsumexp ** 2`, and they come
    per token, so that callers mask, weigh and split them by kind.

    Args:
        hidden: Hidden states; products take operands of their dtype.
        head: Output rows; cast to `hidden`'s dtype.
        targets: Expected ids in [0, vocab).
        implementation: Which one to run; None takes "xla".
        block_rows: Tokens of a tile of logits ("xla").
        block_columns: Ids of a tile of logits ("xla").

    Returns:
        Loss and logsumexp of every token in float32.

    Raises:
        InputError: If `implementation` is unknown or a block size is below 1.
    """
    if implementation == "reference":
        return reference_linear_cross_entropy(hidden, head, targets)
    if implementation not in (None, "xla"):
        raise InputError(f"`implementation` must be 'reference' or 'xla', got {implementation!r}")
    if block_rows < 1 or block_columns < 1:
        raise InputError(f"`block_rows` and `block_columns` must be at least 1, got {block_rows!r}, {block_columns!r}")
    return xla_linear_cross_entropy(
        hidden, head, targets, block_rows=block_rows, block_columns=min(block_columns, head.shape[0])
    )
