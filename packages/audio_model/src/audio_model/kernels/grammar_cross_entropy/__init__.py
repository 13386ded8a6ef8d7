"""Linear layer and softmax cross-entropy inside the set of ids that a grammar allows."""

from functools import partial
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int

from audio_model.errors import InputError
from audio_model.kernels import tiled_softmax
from audio_model.kernels.dispatch import dispatch
from audio_model.kernels.grammar_cross_entropy.reference import reference_grammar_cross_entropy
from audio_model.kernels.grammar_cross_entropy.sets import TokenSets as TokenSets
from audio_model.kernels.grammar_cross_entropy.xla import xla_grammar_cross_entropy


def grammar_cross_entropy(
    hidden: Float[Array, "tokens embed"],
    head: Float[Array, "vocab embed"],
    targets: Int[Array, " tokens"],
    sets: TokenSets,
    *,
    mask: Bool[Array, " tokens"] | None = None,
    implementation: Literal["reference", "xla"] | None = None,
    block_rows: int = 128,
    block_columns: int | None = None,
) -> tuple[Float32[Array, " tokens"], Float32[Array, " tokens"]]:
    """Cross-entropy of every token among the ids of its target's set.

    Exact inside the set; how likely the sets are against one another is neither learnt nor scored, so
    a model trained on this alone must be sampled under a grammar. Both results are differentiable.

    Args:
        hidden: Hidden states; products take operands of their dtype.
        head: Output rows; cast to `hidden`'s dtype.
        targets: Expected ids; where counted, each must belong to a set.
        sets: Disjoint sets of ids; static.
        mask: Positions that count; the others cost nothing, give 0 and get no gradient. None counts all.
        implementation: Which one to run; None takes "xla".
        block_rows: Tokens of a tile of logits ("xla").
        block_columns: Most ids of a tile of logits ("xla"); None for what runs fast here.

    Returns:
        Loss and logsumexp of every token in float32; not a number where a counted target is in no set.

    Raises:
        InputError: If `implementation` is unknown, a block size is below 1 or a set leaves the vocabulary.
    """
    counted = jnp.ones(targets.shape, bool) if mask is None else mask
    block_columns = tiled_softmax.default_columns() if block_columns is None else block_columns
    if block_rows < 1 or block_columns < 1:
        raise InputError(f"`block_rows` and `block_columns` must be at least 1, got {block_rows!r}, {block_columns!r}")
    xla = partial(xla_grammar_cross_entropy, block_rows=block_rows, block_columns=block_columns)
    implementations = {"reference": reference_grammar_cross_entropy, "xla": xla}
    chosen = dispatch("grammar_cross_entropy", implementations, implementation, "xla")
    return chosen(hidden, head, targets, counted, sets)
